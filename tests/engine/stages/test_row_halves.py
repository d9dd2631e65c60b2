"""The halves of measured rows, and the attacker's facts. Oracle: of each half, something is left to score."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.published_data import WRITERS
from unlearn_sweep.engine.stages.row_halves import with_halves
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.rows import Row

TOFU = Path(os.environ.get("UNLEARN_SWEEP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "tofu"


def lines_of(rows: list[Row]) -> pd.DataFrame:
    columns = {"row_id": [row.row_id for row in rows], "group_id": [row.group_id for row in rows]}
    return pd.DataFrame({**columns, "split": [row.split for row in rows], "kind": [row.kind for row in rows]})


def own_files(folder: Path, facts: int) -> dict[str, Any]:
    for name, kind in (("forget", "lighthouse"), ("retain", "ferry")):
        rows = [{"question": f"Who keeps {kind} {place}?", "answer": f"Keeper {place}"} for place in range(facts)]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"forget_path": str(folder / "forget.jsonl"), "retain_path": str(folder / "retain.jsonl")}


def benchmarks(folder: Path) -> Iterator[Benchmark]:
    for name, write in WRITERS.items():
        (folder / name).mkdir()
        yield load_benchmark(name, write(folder / name))
    for facts in (4, 5, 6, 9):
        (folder / str(facts)).mkdir()
        yield load_benchmark("custom", own_files(folder / str(facts), facts))
    yield load_benchmark("authors", {"authors": 8, "forget_authors": 2})
    if TOFU.exists():
        for forget in ("forget01", "forget05", "forget10"):
            yield load_benchmark("tofu", {"path": str(TOFU), "forget": forget})


def test_whichever_kinds_are_measured_each_half_keeps_some_of_them_from_the_attacker(tmp_path: Path) -> None:
    tried = 0
    for benchmark in benchmarks(tmp_path):
        scored = forget_halves(benchmark).scored
        judged = list(benchmark.evaluation["forget"])
        for kinds in [{row.kind for row in judged}, *({row.kind} for row in judged)]:
            measured = [row for row in judged if row.kind in kinds]
            groups = {row.group_id for row in measured}
            if len(groups) < 4:
                continue
            table = with_halves(lines_of(measured), benchmark.evaluation)
            for half in ("search", "report"):
                left = set(table.loc[table["half"] == half, "group_id"]) & scored
                assert left, (benchmark.name, kinds, half)
                tried += 1
    assert tried > 20


def test_a_group_is_of_the_same_half_whatever_is_measured(tmp_path: Path) -> None:
    benchmark = load_benchmark("muse", WRITERS["muse"](tmp_path))
    judged = list(benchmark.evaluation["forget"])
    whole = with_halves(lines_of(judged), benchmark.evaluation)
    part = with_halves(lines_of([row for row in judged if row.kind == "text"]), benchmark.evaluation)
    known = dict(zip(whole["group_id"], whole["half"], strict=True))
    assert len(part) == 8
    assert [known[group] for group in part["group_id"]] == part["half"].tolist()
    assert with_halves(part, {}) is part


def test_splits_that_are_no_benchmarks_are_halved_by_their_lines() -> None:
    table = pd.DataFrame({"group_id": [f"t{place}" for place in range(7)], "split": "task:arc_easy", "kind": "task"})
    assert sorted(with_halves(table, {})["half"].value_counts().tolist()) == [3, 4]


def test_tables_without_kinds_are_halved_too() -> None:
    table = pd.DataFrame({"group_id": ["a", "a", "b"], "split": "forget"})
    halves = with_halves(table, {})["half"].tolist()
    assert halves in (["search", "search", "report"], ["report", "report", "search"])


@pytest.mark.parametrize("name", list(WRITERS))
def test_no_kind_of_row_is_all_in_one_half(name: str, tmp_path: Path) -> None:
    benchmark = load_benchmark(name, WRITERS[name](tmp_path))
    for split, rows in benchmark.evaluation.items():
        table = with_halves(lines_of(list(rows)), benchmark.evaluation)
        for kind in table["kind"].unique():
            lines = table.loc[table["kind"] == kind]
            if len(set(lines["group_id"].tolist())) > 1:
                assert set(lines["half"].tolist()) == {"search", "report"}, (split, kind)
