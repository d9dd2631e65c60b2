"""The live server. Oracles: replies of the real server, `status` of the same folder, and a process that is stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.sweeps.report.written_sweep import append_line, event_line, mixed_trials, trial, write_sweep
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.status import status
from unlearn_sweep.sweeps.report.table import trials_csv
from unlearn_sweep.sweeps.serve.server import make_server
from unlearn_sweep.sweeps.serve.storage import event_text
from unlearn_sweep.user_error import UserError

HOLD = """
import sys, time
from pathlib import Path
from unlearn_sweep.engine.store.driver_lock import only_driver
with only_driver(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, str]]:
    """The server's address without query, and its token."""
    server, address = make_server(directory, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    parts = urlsplit(address)
    try:
        yield f"http://{parts.netloc}{parts.path}", parts.query.removeprefix("token=")
    finally:
        server.shutdown()
        server.server_close()


def asked(address: str, *, method: str = "GET", body: str = "", **headers: str) -> tuple[int, str]:
    data = body.encode() if method == "POST" else None
    request = urllib.request.Request(address, method=method, headers=headers, data=data)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the sweep's lock, as its driver does."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait(timeout=20)


def test_the_storage_lists_its_sweeps_and_serves_each(tmp_path: Path) -> None:
    write_sweep(tmp_path / "a&b", mixed_trials(3))
    write_sweep(tmp_path / "other", [trial(0)])
    with served(tmp_path) as (address, token):
        code, index = asked(f"{address}?token={token}")
        assert code == 200
        assert f'<a href="/a%26b/?token={token}">a&amp;b</a>' in index
        assert '<a href="/other/' in index
        code, page = asked(f"{address}a%26b/")
        assert (code, '"number":0,' in page, "connect-src 'self'" in page) == (200, True, True)
        assert asked(f"{address}a%26b/trials.csv") == (200, trials_csv(load_report(tmp_path / "a&b")))


def test_the_live_state_is_that_of_status_with_events(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", mixed_trials(2), running=1, ended=None)
    with served(folder) as (address, _), driver(folder):
        live = json.loads(asked(f"{address}live.json")[1])
    shown = status(folder)
    assert live["settled"] == shown["settled"] == 6
    assert [stage["stage"] for stage in live["running"]] == ["unlearn"]
    assert live["events"][0]["text"] == "trial 7: unlearn started"
    assert [event["text"] for event in live["events"][1:3]] == ["trial 7: started", "trial 7: proposed"]
    assert event_text(Event(time=1.0, event="note", reason="Ray is up")) == "Ray is up"
    assert live["can_stop"] is True


def test_a_page_is_made_anew_when_a_trial_settled(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)], front=False)
    with served(folder) as (address, _):
        assert '"number":1,' not in asked(address)[1]
        record = trial(1)
        (folder / "trials" / "1.json").write_text(record.model_dump_json())
        append_line(folder / "events.jsonl", event_line(Event(time=record.finished, event="trial_settled", trial=1)))
        assert '"number":1,' in asked(address)[1]


def test_stopping_needs_the_token_and_is_what_ctrl_c_does(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", [trial(0)], ended=None)
    with served(folder) as (address, token), driver(folder) as process:
        assert asked(f"{address}stop", method="POST")[0] == 403
        assert asked(f"{address}stop", method="POST", **{"X-Token": token + "x"})[0] == 403
        assert asked(f"{address}stop", method="POST", **{"X-Token": "\xe9"})[0] == 403
        assert process.poll() is None
        assert asked(f"{address}stop", method="POST", **{"X-Token": token})[0] == 200
        assert process.wait(timeout=20) != 0
        code, text = asked(f"{address}stop", method="POST", **{"X-Token": token})
        assert (code, "no driver of demo runs on this machine" in text) == (409, True)


@pytest.mark.parametrize("path", ["../", "..%2f..%2fetc/passwd", "demo/../../x", "demo/events.jsonl", "nothing/"])
def test_nothing_else_of_the_disk_is_served(tmp_path: Path, path: str) -> None:
    write_sweep(tmp_path / "demo", [trial(0)])
    with served(tmp_path) as (address, _):
        code, text = asked(address + path)
        assert code in (200, 404)
        assert "sweep_started" not in text
        assert "root:" not in text


def test_another_sites_name_for_this_address_is_refused(tmp_path: Path) -> None:
    write_sweep(tmp_path / "demo", [trial(0)])
    with served(tmp_path) as (address, _):
        assert asked(f"{address}demo/live.json", Host="evil.example.org:80")[0] == 403
        assert asked(f"{address}demo/live.json", Host="localhost:1")[0] == 200


def test_mistakes_are_told_before_anything_is_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no sweep"):
        make_server(tmp_path, 0)
    folder = write_sweep(tmp_path / "demo", [trial(0)])
    with served(folder) as (address, _), pytest.raises(UserError, match="cannot be used"):
        make_server(folder, urlsplit(address).port or 0)
