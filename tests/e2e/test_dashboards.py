"""Ray's dashboard behind its token, and the Grafana file over a real Prometheus, while a sweep runs.

Oracles: the event log of the same sweep, and the queries of the file itself. Prometheus and Chromium are Debian's.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.support.chromium import BROWSER
from tests.support.live_sweep import LiveSweep, live_sweep
from tests.support.ray_page import ROWS, TEXT, show_tasks, signed_in
from unlearn_sweep.engine.on_ray.dashboard import grafana_file

PROMETHEUS = shutil.which("prometheus")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(580)]
TRIALS = 400
"""More than run in the time of the tests: the sweep is stopped at the end."""
LAG_S = 60.0
"""Longer than Ray and Prometheus take to hand a number on."""
WAIT_S = 150
NOT_OURS = ("/api/v0/platform_events", "/api/grafana_health", "/api/prometheus_health", "/api/serve/applications/")
"""What Ray's page asks for although this Ray has none of them."""


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def running(storage: Path, port: int) -> Iterator[tuple[SweepRun, LiveSweep]]:
    """A sweep that runs, and has settled its first trials."""
    sweep = write_sweep(storage, "shown", trials=TRIALS, training="workers: 0", at_once=2)
    # reports come every ten seconds by default, longer than a trial takes here
    with live_sweep(sweep.file, storage, RAY_metrics_report_interval_ms="1000") as live:
        until(lambda: sum(event["event"] == "trial_settled" for event in sweep.events()) >= 3 or None)
        yield sweep, live


def until(ask: Callable[[], Any]) -> Any:
    """What `ask` returns as soon as it is not None."""
    for _ in range(WAIT_S):
        try:
            if (found := ask()) is not None:
                return found
        except OSError:
            pass  # not there yet
        time.sleep(1)
    raise AssertionError("never came")


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on this machine")
def test_rays_page_opens_with_the_printed_token_and_names_what_runs(
    running: tuple[SweepRun, LiveSweep], tmp_path: Path
) -> None:
    sweep, live = running
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{live.dashboard}/api/v0/tasks", timeout=20)
    number = next(event["trial"] for event in sweep.events() if event["event"] == "trial_settled")
    record = sweep.trials()[number]

    async def look() -> None:
        async with signed_in(live.dashboard, live.token, tmp_path / "profile") as tab:
            assert "2.0/2.0 CPU" in await tab.value(TEXT)
            await show_tasks(tab, f"trial {number} ")
            shown = {row for row in await tab.value(ROWS) if row}
            stages = {stage.replace(":", " ") for stage in record["stage_keys"]}
            assert shown == {f"trial {number} {record['method']} {stage}" for stage in stages}
            failed = [one["entry"] for one in tab.of("Log.entryAdded") if one["entry"]["level"] == "error"]
            assert [one for one in failed if not str(one.get("url")).endswith(NOT_OURS)] == []
            assert tab.of("Runtime.exceptionThrown") == []
            await tab.call("Page.navigate", url=f"{live.dashboard}/#/actors")
            await tab.until(f"{TEXT}.includes('shown workbench ')")

    asyncio.run(look())


@pytest.fixture(scope="module")
def prometheus(
    running: tuple[SweepRun, LiveSweep], port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Debian's Prometheus with the configuration that Ray wrote, as docs/watching.md says."""
    config = running[1].prometheus_config
    assert config.is_file()
    command = [str(PROMETHEUS), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    data = tmp_path_factory.mktemp("prometheus")
    process = subprocess.Popen([*command, f"--storage.tsdb.path={data}"], stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def asked(base: str, query: str) -> dict[tuple[tuple[str, str], ...], float] | None:
    """The series of a query with their values; None if there is none yet."""
    with urllib.request.urlopen(f"{base}/query?{urllib.parse.urlencode({'query': query})}", timeout=20) as reply:
        answer = json.load(reply)
    assert answer["status"] == "success", query
    found = {tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in answer["data"]["result"]}
    return {labels: value for labels, value in found.items() if not math.isnan(value)} or None


@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus on this machine")
def test_every_panel_of_the_grafana_file_has_numbers_of_the_sweep(
    running: tuple[SweepRun, LiveSweep], prometheus: str
) -> None:
    sweep, _ = running
    panels = json.loads(grafana_file().read_text())["panels"]
    queries = {panel["title"]: target["expr"] for panel in panels for target in panel.get("targets", [])}
    assert len(queries) >= 10
    for title, query in queries.items():
        assert until(lambda query=query: asked(prometheus, query.replace("$sweep", ".*"))), title
    settled = asked(prometheus, queries["Trials settled"].replace("$sweep", "shown"))
    now = time.time()
    assert settled is not None
    ((labels, value),) = settled.items()
    assert labels == (("sweep", "shown"),)
    times = [event["time"] for event in sweep.events() if event["event"] == "trial_settled"]
    assert sum(at <= now - LAG_S for at in times) <= value <= len(times)
    assert asked(prometheus, queries["Trials settled"].replace("$sweep", "another")) is None
    with urllib.request.urlopen(f"{prometheus}/label/sweep/values", timeout=20) as reply:
        assert json.load(reply)["data"] == ["shown"]
