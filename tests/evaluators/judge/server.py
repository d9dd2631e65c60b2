"""A chat completion endpoint on loopback that behaves as badly as it is told to. It is a real HTTP server.

Judges and writers are tested against it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is answered to one call. `stall_s` before the first byte, `drip_s` between single bytes."""

    status: int = 200
    text: str | None = "YES"
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stall_s: float = 0.0
    drip_s: float = 0.0
    usage: dict[str, Any] | None = None
    finish: str = "stop"


Behaviour = Callable[[dict[str, Any], int], Reply]
"""From the row that is judged and how often it was asked about before, to a reply."""


class Endpoint:
    """What the server saw: rows by how often, the most calls at once, the authorisation headers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.models: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.not_taken: tuple[str, ...] = ()
        self.refusals: list[str] = []
        self.url = ""

    @property
    def calls(self) -> int:
        return self.asked.total()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        row = read_row(body["messages"][-1]["content"])
        with self.lock:
            named = row["response"] if "response" in row else json.dumps(list(row.values()))
            before = self.asked[named]
            self.asked[named] += 1
            self.keys.add(handler.headers.get("Authorization"))
            self.models.add(body["model"])
            self.bodies.append(body)
            self.paths.add(handler.path)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            reply = self.refuse(body) or self.behaviour(row, before)
            time.sleep(reply.stall_s)
        finally:
            with self.lock:
                self.at_once -= 1  # before the answer leaves: its reader may call again before this thread goes on
        self._send(handler, reply)

    def refuse(self, body: dict[str, Any]) -> Reply | None:
        """As endpoints of thinking models do: one refusal for one field, in words."""
        named = next((name for name in self.not_taken if name in body), None)
        if named is None:
            return None
        self.refusals.append(named)
        said = {"error": {"message": f"Unsupported parameter: '{named}' is not supported with this model."}}
        return Reply(status=400, raw=json.dumps(said).encode())

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        message = {
            "choices": [{"message": {"role": "assistant", "content": reply.text}, "finish_reason": reply.finish}],
            "usage": reply.usage,
        }
        raw = json.dumps(message).encode() if reply.raw is None else reply.raw
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(raw)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for part in [raw[i : i + 1] for i in range(len(raw))] if reply.drip_s else [raw]:
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(reply.drip_s)


def read_row(content: str) -> dict[str, Any]:
    """What is asked about: the JSON object of a judge's row, or the words of a writer's task."""
    return json.loads(content) if content.startswith("{") else {"response": content}


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Endpoint]:
    """The endpoint, on a free port of loopback."""
    endpoint = Endpoint(behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # callers give up: that is what some tests are about
                endpoint.answer(self)

        def do_GET(self) -> None:
            endpoint.paths.add(f"GET {self.path}")
            self.send_error(500)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
