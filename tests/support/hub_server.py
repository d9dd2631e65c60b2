"""A data hub on loopback with a few small data sets: a real HTTP server that answers what `datasets` asks of one.

It knows the revisions it is given and no others. What it was asked stands in `paths`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Rows = Sequence[Mapping[str, Any]]


@dataclass
class Hub:
    """Data sets by "owner/name" and revision: configuration to split to rows. "main" is the newest."""

    sets: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Rows]]]]
    url: str = ""
    paths: list[str] = field(default_factory=list)

    def files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision; None where there is none."""
        configs = self.sets.get(repo, {}).get(revision)
        if configs is None:
            return None
        files, listed = {}, []
        for config, splits in configs.items():
            data = []
            for split, rows in splits.items():
                name = f"{config}/{split}.jsonl"
                files[name] = "".join(json.dumps(dict(row)) + "\n" for row in rows).encode()
                data.append({"split": split, "path": name})
            listed.append({"config_name": config, "data_files": data})
        files["README.md"] = f"---\nconfigs: {json.dumps(listed)}\n---\n".encode()
        return files

    def commit(self, repo: str, revision: str) -> str:
        """A commit's hash, and the revision of one."""
        return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()

    def revision(self, repo: str, named: str) -> str:
        """A revision by its name or its commit."""
        return next((own for own in self.sets.get(repo, {}) if named in (own, self.commit(repo, own))), named)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(b"", head=True)

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes, *, head: bool = False) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.paths.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:1] == ["datasets"] and parts[3:4] == ["resolve"]:
            self._file("/".join(parts[1:3]), parts[4], "/".join(parts[5:]), head=head)
        elif parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            self._about("/".join(parts[2:4]), parts[4:], body)
        else:
            self.send_error(404)

    def _file(self, repo: str, named: str, name: str, *, head: bool) -> None:
        revision = self.hub.revision(repo, named)
        content = (self.hub.files(repo, revision) or {}).get(name)
        if content is None:
            self._missing(repo, revision)
            return
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        headers = {"X-Repo-Commit": self.hub.commit(repo, revision), "ETag": etag}
        self._send(content, headers, head=head)

    def _about(self, repo: str, rest: list[str], body: bytes) -> None:
        named = rest[1] if len(rest) > 1 else "main"
        revision = self.hub.revision(repo, named)
        files = self.hub.files(repo, revision)
        if files is None:
            self._missing(repo, revision)
            return
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in files.items()
        ]
        if rest[:1] == ["tree"]:
            under = "/".join(rest[2:])
            answer: Any = [entry for entry in entries if str(entry["path"]).startswith(under)]
        elif rest[:1] == ["paths-info"]:
            wanted = json.loads(body)["paths"]
            answer = [entry for entry in entries if entry["path"] in wanted]
            answer += [
                {"type": "directory", "path": path, "oid": "0" * 40}
                for path in wanted
                if any(name.startswith(f"{path}/") for name in files)
            ]
        else:
            answer = {
                "id": repo,
                "sha": self.hub.commit(repo, revision),
                "private": False,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [{"rfilename": name} for name in files],
            }
        self._send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _missing(self, repo: str, revision: str) -> None:
        code = "RepoNotFound" if repo not in self.hub.sets else "RevisionNotFound"
        if revision in self.hub.sets.get(repo, {}):
            code = "EntryNotFound"
        self._send(b"", {"X-Error-Code": code, "X-Error-Message": code}, status=404)

    def _send(self, content: bytes, headers: Mapping[str, str], *, head: bool = False, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(sets: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Rows]]]]) -> Iterator[Hub]:
    """The hub, on a free port of loopback."""
    hub = Hub(sets)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
