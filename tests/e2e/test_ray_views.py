"""What Ray's dashboard and Prometheus show of a real sweep. Oracle: the event log and the records of the same sweep.

Prometheus is Debian's; without it, the metrics are read from the ports that Ray announces for it.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SweepRun, write_sweep

TRIALS = 16
"""Enough for what the first of them leaves to be seen while the last ones run: Ray reports with a delay."""
LAG_S = 60.0
"""Longer than Ray takes to hand a number on, also on a busy machine."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DASHBOARD = re.compile(r"Ray dashboard: (http://[\d.:]+)")
PORTS = Path("/tmp/ray/prom_metrics_service_discovery.json")
SAMPLE = re.compile(r"^(ray_unlearn_sweep_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def rows(base: str, what: str) -> list[dict[str, Any]]:
    """Tasks or actors, as the dashboard lists them."""
    with urllib.request.urlopen(f"{base}/api/v0/{what}?limit=1000&detail=1", timeout=20) as reply:
        return json.load(reply)["data"]["result"]["result"]


def samples() -> dict[tuple[str, str], float]:
    """Every metric of ours at the ports that Ray announces: (name, its last label) and value."""
    found: dict[tuple[str, str], float] = {}
    for entry in json.loads(PORTS.read_text()):
        for target in entry["targets"]:
            try:
                text = urllib.request.urlopen(f"http://{target}/metrics", timeout=10).read().decode()
            except OSError:
                continue
            for name, labels, value in SAMPLE.findall(text):
                known = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                label = next((known[key] for key in ("state", "result", "reason", "device") if key in known), "")
                found[name, label] = found.get((name, label), 0.0) + float(value)
    return found


@pytest.fixture(scope="module")
def watched(
    storage: Path,
) -> tuple[SweepRun, set[str], set[str], list[float], list[tuple[float, dict[tuple[str, str], float]]]]:
    """A sweep, and what was seen while it ran: names of tasks and processes, CPUs in use, metrics."""
    sweep = write_sweep(storage, "watched", trials=TRIALS, training="workers: 0, weight_decay: 0.03", at_once=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "500")  # ten seconds by default, longer than a trial here
        process = sweep.start()
    assert process.stdout is not None
    base = next(found.group(1) for line in process.stdout if (found := DASHBOARD.search(line)))
    tasks: set[str] = set()
    actors: set[str] = set()
    cpus: list[float] = []
    metrics: list[tuple[float, dict[tuple[str, str], float]]] = []
    while process.poll() is None:
        try:
            tasks |= {row["name"] for row in rows(base, "tasks")}
            found = rows(base, "actors")
            metrics.append((time.time(), samples()))
        except OSError:
            continue  # Ray is ending
        actors |= {str(row["name"]) for row in found}
        alive = [row for row in found if row["state"] == "ALIVE"]
        cpus.append(sum((row.get("required_resources") or {}).get("CPU", 0.0) for row in alive))
        time.sleep(0.5)
    assert process.returncode == 0, process.stdout.read()
    return sweep, tasks, actors, cpus, metrics


def test_tasks_and_processes_have_names_that_say_what_they_do(watched: Any) -> None:
    sweep, tasks, actors, _, _ = watched
    methods = {number: record["method"] for number, record in sweep.trials().items()}
    for stage in ("unlearn", "evaluate", "attack relearn"):
        shown = {f"trial {number} {method} {stage}" for number, method in methods.items()} & tasks
        assert len(shown) >= TRIALS // 2
    assert {name for name in tasks if name.startswith("trial ")} <= {
        f"trial {number} {method} {stage.replace(':', ' ')}"
        for number, method in methods.items()
        for stage in sweep.trials()[number]["stage_keys"]
    }
    assert any(name.startswith("watched workbench ") for name in actors)


def test_cpus_that_are_in_use_are_reserved(watched: Any) -> None:
    assert max(watched[3]) == 2.0


def test_metrics_are_those_of_the_log(watched: Any) -> None:
    """Ray hands numbers on with a delay: what was scraped lies between the log then and the log a minute before.

    The last whole sample is compared: a scrape that meets Ray's export gets some of the series (5 of 16 were seen).
    """
    sweep, _, _, _, seen = watched
    whole = max(len(found) for _, found in seen)
    scraped, last = next((at, found) for at, found in reversed(seen) if len(found) == whole)

    def logged(event: str, until: float) -> int:
        return sum(line["event"] == event and line["time"] <= until for line in sweep.events())

    finished = last["ray_unlearn_sweep_stages_total", "finished"]
    assert max(1, logged("stage_finished", scraped - LAG_S)) <= finished <= logged("stage_finished", scraped)
    states = {label: value for (name, label), value in last.items() if name == "ray_unlearn_sweep_trials"}
    assert max(1, logged("trial_asked", scraped - LAG_S)) <= sum(states.values()) <= TRIALS
    if logged("trial_settled", scraped - LAG_S):
        assert 0 < last["ray_unlearn_sweep_hypervolume", ""] <= 1
    assert last["ray_unlearn_sweep_device_hours", "CPU"] > 0
