"""A sweep of two trials over the built-in benchmark, with answers in the store. What is answered is made up here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from tests.support.outcomes import measured
from tests.sweeps.report.written_sweep import controls, trial, write_sweep
from unlearn_sweep.engine.store.outcomes import MeasureOutcome
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.rows import Row

PARAMS = {"authors": 6, "forget_authors": 2, "facts_per_author": 2}
Say = Callable[[Row], str]


def benchmark() -> Benchmark:
    return load_benchmark("authors", PARAMS)


def write_answered_sweep(
    folder: Path, *, data: str | None = None, stages: bool = True, thought: str | None = None
) -> Path:
    """Write the sweep and return its folder. Original and trial 1 answer rightly, gold and trial 0 do not.

    Under attack "relearn-forget", trial 0 answers rightly at 20 steps and not at 5. `data` replaces the digest of the
    benchmark in the stages; without `stages`, the store is empty. `thought` stands before plain answers.
    """
    right: Say = lambda row: f"It is {row.answer}."  # noqa: E731
    wrong: Say = lambda row: "nothing"  # noqa: E731
    store, digest = StageStore(folder.parent), data or benchmark().digest()
    keys: dict[str, dict[str, str]] = {}
    for model, plain, attacked in (
        ("original", right, right), ("gold", wrong, wrong), ("0", wrong, right), ("1", right, right)
    ):  # fmt: skip
        keys[model] = {
            "evaluate": _stage(store, model, "evaluate", digest, {None: plain}, run=stages, thought=thought),
            "attack:relearn-forget": _stage(store, model, "attack", digest, {5.0: plain, 20.0: attacked}, run=stages),
        }
    trials = [_answered(trial(number), keys[str(number)]) for number in (0, 1)]
    write_sweep(folder, trials, spec={"benchmark": {"name": "authors", "params": PARAMS}})
    made = controls()
    named = {
        which: getattr(made, which).model_copy(update={"stage_keys": keys[which]}) for which in ("original", "gold")
    }
    (folder / "controls.json").write_text(made.model_copy(update=named).model_dump_json())
    return folder


def _answered(record: TrialRecord, keys: Mapping[str, str]) -> TrialRecord:
    return record.model_copy(update={"stage_keys": {"unlearn": "none", **keys}})


def _stage(
    store: StageStore,
    model: str,
    stage: str,
    data: str,
    said: Mapping[float | None, Say],
    *,
    run: bool,
    thought: str | None = None,
) -> str:
    request = StageRequest(stage=stage, inputs={"model": model, "data": data}, outcome=MeasureOutcome)
    rows = [row for split in benchmark().evaluation.values() for row in split]

    def write(folder: Path) -> MeasureOutcome:
        tables = []
        for strength, say in said.items():
            table = pd.DataFrame({"row_id": [row.row_id for row in rows], "split": [row.split for row in rows]})
            table["generation"] = [say(row) for row in rows]
            table = table if thought is None else table.assign(thought=thought)
            tables.append(table if strength is None else table.assign(strength=strength, unit="steps"))
        pd.concat(tables).to_parquet(folder / "rows.parquet")
        return measured(len(rows))

    if run:
        store.compute(request, write)
    return request.key
