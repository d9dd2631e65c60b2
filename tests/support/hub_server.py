"""A hub on loopback with a few small data sets and models: a real HTTP server that answers what the hub's clients ask.

It knows the revisions that it is given and no others. A gated repository has a public page, and its files need a token.
What the server was asked is in `paths`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Rows = Sequence[Mapping[str, Any]]
Sets = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Rows]]]]
Models = Mapping[str, Mapping[str, Path]]


@dataclass
class Hub:
    """Data sets by "owner/name" and revision: configuration to split to rows. Models: a folder for each revision.

    "main" is the newest revision. The files of `gated` repositories need `token`.
    """

    sets: Sets = field(default_factory=dict)
    models: Models = field(default_factory=dict)
    gated: frozenset[str] = frozenset()
    token: str = ""
    url: str = ""
    paths: list[str] = field(default_factory=list)

    def revisions(self, kind: str, repo: str) -> list[str]:
        return list((self.sets if kind == "datasets" else self.models).get(repo, {}))

    def files(self, kind: str, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision; None where there is none."""
        if kind == "models":
            folder = self.models.get(repo, {}).get(revision)
            return None if folder is None else {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
        configs = self.sets.get(repo, {}).get(revision)
        return None if configs is None else _data_files(configs)

    def commit(self, repo: str, revision: str) -> str:
        """A commit's hash, and the revision of one."""
        return hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()

    def revision(self, kind: str, repo: str, named: str) -> str:
        """A revision by its name or its commit."""
        own = self.revisions(kind, repo)
        return next((known for known in own if named in (known, self.commit(repo, known))), named)


def _data_files(configs: Mapping[str, Mapping[str, Rows]]) -> dict[str, bytes]:
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
        if parts[:1] == ["api"] and parts[1:2] in (["datasets"], ["models"]) and len(parts) >= 4:
            self._about(parts[1], "/".join(parts[2:4]), parts[4:], body)
            return
        if parts in (["api", "models"], ["api", "datasets"]):
            owners = parse_qs(urlsplit(self.path).query).get("author", [])
            named = self.hub.models if parts[1] == "models" else self.hub.sets
            self._json([{"id": name} for name in named if name.partition("/")[0] in owners])
            return
        kind, parts = ("datasets", parts[1:]) if parts[:1] == ["datasets"] else ("models", parts)
        if parts[2:3] == ["resolve"]:
            self._file(kind, "/".join(parts[:2]), parts[3], "/".join(parts[4:]), head=head)
        else:
            self.send_error(404)

    def _may_read(self, repo: str) -> bool:
        return repo not in self.hub.gated or self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _file(self, kind: str, repo: str, named: str, name: str, *, head: bool) -> None:
        revision = self.hub.revision(kind, repo, named)
        content = (self.hub.files(kind, repo, revision) or {}).get(name)
        if content is None:
            self._missing(kind, repo, revision)
        elif not self._may_read(repo):
            self._refused("GatedRepo")
        else:
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(content, {"X-Repo-Commit": self.hub.commit(repo, revision), "ETag": etag}, head=head)

    def _about(self, kind: str, repo: str, rest: list[str], body: bytes) -> None:
        named = rest[1] if len(rest) > 1 else "main"
        revision = self.hub.revision(kind, repo, named)
        files = self.hub.files(kind, repo, revision)
        if rest[:1] == ["auth-check"] and self.hub.revisions(kind, repo):
            self._send(b"", {}) if self._may_read(repo) else self._refused("GatedRepo")
        elif files is None:
            self._missing(kind, repo, revision)
        elif rest[:1] == ["refs"]:
            self._json(
                {
                    "tags": [],
                    "converts": [],
                    "branches": [_branch(self.hub, kind, repo, name) for name in self.hub.revisions(kind, repo)],
                }
            )
        elif rest[:1] == ["tree"]:
            under = "/".join(rest[2:])
            self._json([entry for entry in _entries(files) if str(entry["path"]).startswith(under)])
        elif rest[:1] == ["paths-info"]:
            self._json(_paths_info(files, json.loads(body)["paths"]))
        else:
            self._json(_page(self.hub, repo, revision, files))

    def _missing(self, kind: str, repo: str, revision: str) -> None:
        known = self.hub.revisions(kind, repo)
        if not known:
            self._send(b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, status=401)
            return
        code = "EntryNotFound" if revision in known else "RevisionNotFound"
        self._send(b"", {"X-Error-Code": code, "X-Error-Message": code}, status=404)

    def _refused(self, code: str) -> None:
        self._send(b"", {"X-Error-Code": code, "X-Error-Message": "Access is restricted"}, status=403)

    def _json(self, answer: Any) -> None:
        self._send(json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: Mapping[str, str], *, head: bool = False, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _branch(hub: Hub, kind: str, repo: str, name: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/heads/{name}", "targetCommit": hub.commit(repo, name)}


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]


def _paths_info(files: Mapping[str, bytes], wanted: Sequence[str]) -> list[dict[str, Any]]:
    folders = [path for path in wanted if any(name.startswith(f"{path}/") for name in files)]
    return [entry for entry in _entries(files) if entry["path"] in wanted] + [
        {"type": "directory", "path": path, "oid": "0" * 40} for path in folders
    ]


def _page(hub: Hub, repo: str, revision: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "id": repo,
        "sha": hub.commit(repo, revision),
        "private": False,
        "gated": "manual" if repo in hub.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": name} for name in files],
    }


@contextmanager
def serving(
    sets: Sets | None = None, *, models: Models | None = None, gated: frozenset[str] = frozenset(), token: str = ""
) -> Iterator[Hub]:
    """The hub, on a free port of loopback."""
    hub = Hub(sets or {}, models or {}, gated, token)
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
