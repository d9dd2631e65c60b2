"""Models on the hub that cannot be had, in one line each. Oracle: a loopback server that answers as the hub does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from unlearn_sweep.engine.hub import missing_from_hub, missing_models

ERRORS = {"none/such": ("RepoNotFound", 401), "shut/gate": ("GatedRepo", 403), "open/old": ("RevisionNotFound", 404)}


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = "/".join(self.path.split("/")[3:5])
        code, status = ERRORS.get(name, ("", 200))
        if name == "shut/gate" and not self.path.endswith("auth-check"):
            code, status = "", 200  # the page of a gated model is open to all
        body = json.dumps({"id": name, "gated": "manual" if name == "shut/gate" else False, "siblings": []}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none/such", "the model hub has no such model"),
        ("shut/gate", "is gated: request access on its page, then log in"),
        ("open/old@v7", "the model open/old has no revision v7"),
    ],
)
def test_what_the_hub_refuses_is_one_line(path: str, said: str) -> None:
    line = missing_from_hub(path)
    assert line is not None
    assert said in line
    assert line.startswith(path)
    assert "\n" not in line
    assert "hf_secret" not in line


@pytest.mark.usefixtures("hub")
def test_what_the_hub_has_is_nothing_to_say(tmp_path: Path) -> None:
    assert missing_models({"model.path": "open/new", "gold.path": str(tmp_path), "gold.tokenizer": None}) == {}


def test_a_hub_that_does_not_answer_and_one_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "switched off (HF_HUB_OFFLINE); fetch it where there is a network: hf download a/b --revision v1" in str(
        missing_from_hub("a/b@v1")
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "hf download a/b" in str(missing_from_hub("a/b"))
