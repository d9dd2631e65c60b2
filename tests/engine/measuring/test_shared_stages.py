"""Stages of a measuring process with a worker. Oracle: the same requests in one process, equal to the bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.tiny_authors import OPTIONS, RECIPE
from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.engine.stages.attack_run import AttackRequest, run_attack
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import MeasureOutcome
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
METRICS = ["probability", "truth_ratio", "rouge", "extraction_strength", "mia_min_k_plus_plus", "mia_gradnorm"]
OPTIONS_32 = {**OPTIONS, "authors": 24, "forget_authors": 12}
ATTACKS: dict[str, dict[str, Any]] = {
    "prefill": {"tokens": [1, 2]},
    "sample": {"drawn": 3, "answers": [1, 2]},
    "quantize": {"bits": [8, 4]},
    "abliterate": {"where": "activations"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    recipe = TrainRecipe(config=RECIPE["config"], vocab_size=400, seed=1)  # pyright: ignore[reportArgumentType]
    create_start_model(load_benchmark("authors", OPTIONS_32), recipe, folder)
    return folder


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def request(model: Path, rows: Path, workers: int) -> dict[str, Any]:
    return {
        "model_path": str(model),
        "benchmark": {"name": "authors", "params": OPTIONS_32},
        "metrics": METRICS,
        "rows_path": str(rows),
        "workers": workers,
    }


def warm(bench: Bench, model: Path) -> None:
    """Start the worker of the bench and let it load the model."""
    asked = MeasureRequest(**request(model, Path("unused"), 2))
    with bench.shared_models.sharing(bench.model(str(model), asked), 1):
        bench.shared_models.ready()


def test_a_measured_model_has_the_table_of_one_process(bench: Bench, model: Path, tmp_path: Path) -> None:
    alone = Bench().measure(MeasureRequest(**request(model, tmp_path / "one.parquet", 1)))
    warm(bench, model)
    shared = bench.measure(MeasureRequest(**request(model, tmp_path / "two.parquet", 2)))
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "two.parquet"), pd.read_parquet(tmp_path / "one.parquet"), check_exact=True
    )
    assert (alone.processes, shared.processes) == (1, 2)
    assert shared.model_dump(exclude={"processes", "peak_memory"}) == alone.model_dump(
        exclude={"processes", "peak_memory"}
    )
    assert alone.peak_memory.host is not None
    assert (shared.peak_memory.host or 0) > 1.2 * alone.peak_memory.host  # two processes with their libraries


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_has_the_rows_of_one_process(bench: Bench, model: Path, tmp_path: Path, attack: str) -> None:
    def run(own: Bench, workers: int) -> tuple[pd.DataFrame, int, list[Any]]:
        asked = request(model, tmp_path / f"{workers}.parquet", workers) | {"original_path": str(model)}
        given = {**asked, "attack": attack, "params": ATTACKS[attack], "seed": 3}
        done = run_attack(own, AttackRequest.model_validate(given))
        return pd.read_parquet(asked["rows_path"]), done.processes, done.points

    rows, one, points = run(Bench(), 1)
    warm(bench, model)
    shared, two, shared_points = run(bench, 2)
    pd.testing.assert_frame_equal(shared, rows, check_exact=True)
    assert (one, two) == (1, 2)
    assert shared_points == points
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.parquet", "2.parquet"]


def test_a_killed_worker_costs_its_stage_one_attempt(bench: Bench, model: Path, tmp_path: Path) -> None:
    warm(bench, model)
    stage = StageRequest(stage="evaluate", inputs={"model": "m"}, outcome=MeasureOutcome)
    attempts: list[int] = []

    def compute(folder: Path) -> MeasureOutcome:
        attempts.append(len(bench.shared_models.pids()))
        if len(attempts) == 1:
            os.kill(bench.shared_models.pids()[0], signal.SIGKILL)
        return bench.measure(MeasureRequest(**request(model, folder / "rows.parquet", 2)))

    log = EventLog(tmp_path / "events.jsonl")
    result = StageRunner(StageStore(tmp_path), log, trial=0).run(stage, compute)
    events = list(log.read())
    assert [event.event for event in events] == ["stage_started", "stage_lost", "stage_started", "stage_finished"]
    assert "a measuring worker was lost: ended by signal 9" in (events[1].reason or "")
    assert len(attempts) == 2
    rows = pd.read_parquet(tmp_path / "store" / "stages" / result.key / "rows.parquet")
    alone = Bench().measure(MeasureRequest(**request(model, tmp_path / "one.parquet", 1)))
    assert alone.rows == len(rows)
    pd.testing.assert_frame_equal(rows, pd.read_parquet(tmp_path / "one.parquet"), check_exact=True)


PARENT = """
import sys, time
from unlearn_sweep.engine.measuring.workers import MeasuringWorkers
from unlearn_sweep.engine.measuring.messages import StoredModel
from unlearn_sweep.engine.models.loading import load_model
workers = MeasuringWorkers(((), ()))
with workers.sharing(load_model(sys.argv[1]), StoredModel(path=sys.argv[1], dtype="auto", attention="auto"), 1):
    print(*workers.pids, flush=True)
    time.sleep(600)
"""


def test_a_worker_ends_with_its_killed_measuring_process(model: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(model)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        if "Z (zombie)" in Path(f"/proc/{pid}/status").read_text():
            break  # ended, and waits for a parent that collects it
        time.sleep(0.1)
    else:
        assert not Path(f"/proc/{pid}").exists()
