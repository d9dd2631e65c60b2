"""`unlearn-sweep serve`: the report's page, live, on this machine's loopback address.

Only requests for a loopback name are answered, so that a page of another site cannot reach the server under a name of
its own (DNS rebinding). Everything that changes something needs the token that the command prints.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs, quote, unquote, urlsplit

import typer

from unlearn_sweep.sweeps.arguments import path_argument
from unlearn_sweep.sweeps.printing import print_line
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from unlearn_sweep.sweeps.serve.storage import Storage

LOOPBACK = "127.0.0.1"
MOST_BYTES = 10_000
NAMES = ("127.0.0.1", "localhost", "[::1]")
TYPES = {"csv": "text/csv", "json": "application/json", "html": "text/html"}
NO_TOKEN = "the token is missing or wrong: open the address that the command printed"


def serve(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_argument, help="A storage, or a sweep's folder.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8350,
) -> None:
    """Show the sweeps of a storage in the browser while they run, on this machine only. Ctrl-C ends it."""
    server, address = make_server(directory, port)
    print_line(f"{address}\nThe token in the address allows to stop sweeps and to enqueue settings.")
    print_line("Ctrl-C ends the server, not the sweeps.")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print_line("server ended")
    finally:
        server.server_close()


def make_server(directory: Path, port: int) -> tuple[ThreadingHTTPServer, str]:
    """Bind the server and return it with the address to open, token included.

    Raises:
        UserError: There is no sweep in `directory`, or the port is taken.
    """
    from unlearn_sweep.sweeps.serve.storage import storage_of

    storage, name = storage_of(directory)
    token = secrets.token_urlsafe(16)

    class Handler(_Handler):
        pass

    Handler.storage, Handler.token = storage, token
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise UserError(
            f"port {port} of {LOOPBACK} cannot be used: {error.strerror}", advice="Give another --port."
        ) from error
    server.daemon_threads = True
    place = f"{quote(name)}/" if name is not None else ""
    return server, f"http://{LOOPBACK}:{server.server_address[1]}/{place}?token={token}"


class _Handler(BaseHTTPRequestHandler):
    storage: Storage
    token: str
    server_version = "unlearn-sweep"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._is_here():
            return
        address = urlsplit(self.path)
        sweep, _, rest = unquote(address.path).lstrip("/").partition("/")
        if not sweep:
            self._try(lambda: self._index(parse_qs(address.query).get("token", [""])[0]), "html")
            return
        folder = self.storage.sweeps().get(sweep)
        if folder is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such sweep")
        elif rest == "":
            self._try(lambda: self.storage.page(folder), "html")
        elif rest == "live.json":
            self._try(lambda: json.dumps(_live(folder)), "json")
        elif rest in ("trials.csv", "report.json", "answers.csv"):
            self._try(lambda: self.storage.file(folder, rest) or "", rest.rpartition(".")[2])
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        if not self._is_here():
            return
        given = self.headers.get("X-Token", "").encode("latin-1", "replace")  # text outside ASCII cannot be compared
        if not secrets.compare_digest(given, self.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, NO_TOKEN)
            return
        sweep, _, rest = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        folder = self.storage.sweeps().get(sweep)
        if folder is None or rest not in ("stop", "enqueue"):
            self._refuse(HTTPStatus.NOT_FOUND, "nothing there takes this")
        elif rest == "stop":
            self._change(lambda: _stop(folder))
        elif (text := self._body()) is not None:
            self._change(lambda: _enqueue(folder, text))

    def _body(self) -> str | None:
        """Return the text of the request; refuse a long one or one without a length and return None."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a setting has at most {MOST_BYTES} bytes")
            return None
        return self.rfile.read(int(length)).decode(errors="replace")

    def _change(self, make: Callable[[], dict[str, str | int]]) -> None:
        """Send what `make` returns; a mistake of the user is an error of this request only."""
        try:
            done = make()
        except UserError as error:
            self._refuse(HTTPStatus.CONFLICT, error.text())
        except (ValueError, OSError) as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        else:
            self._send(json.dumps(done), "json")

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing for a request."""

    def _is_here(self) -> bool:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host in NAMES:
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "only loopback names are answered")
        return False

    def _try(self, make: Callable[[], str], kind: str) -> None:
        """Send what `make` returns; a folder that is gone or half written is an error of this request only."""
        try:
            text = make()
        except (ValueError, OSError) as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"cannot be read now: {error}")
        else:
            self._send(text, kind)

    def _index(self, token: str) -> str:
        from unlearn_sweep.sweeps.serve.index_page import index_page

        return index_page(self.storage.root, self.storage.sweeps(), token)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._send(json.dumps({"error": text}), "json", status)

    def _send(self, text: str, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{TYPES[kind]}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _live(folder: Path) -> dict[str, object]:
    from unlearn_sweep.sweeps.serve.storage import live_state

    return live_state(folder)


def _stop(folder: Path) -> dict[str, str | int]:
    from unlearn_sweep.sweeps.serve.storage import stop_driver

    return {"stopped": stop_driver(folder)}


def _enqueue(folder: Path, text: str) -> dict[str, str | int]:
    from unlearn_sweep.sweeps.enqueue import enqueue_setting

    done = enqueue_setting(folder, text)
    return {"setting": done.setting, "when": done.when}
