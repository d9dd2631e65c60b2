"""A judge through Ray's workers: a whole sweep that asks a real server on loopback. Oracle: the server's own count.

The key is in the environment of the command alone; it must be found nowhere afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SweepRun, write_sweep
from tests.evaluators.judge.server import Endpoint, Reply, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KEY = "planted-judge-key-0815"
READ, WRITTEN = 50, 1


def verdict(row: dict[str, Any], before: int) -> Reply:
    """YES where the answer stands in the response; of two responses the longer one."""
    usage = {"prompt_tokens": READ, "completion_tokens": WRITTEN}
    if "response" in row:
        return Reply(text="YES" if row["correct_answer"] in row["response"] else "NO", usage=usage)
    return Reply(text="A" if len(row["A"]) >= len(row["B"]) else "B", usage=usage)


@dataclass(frozen=True)
class Judged:
    sweep: SweepRun
    server: Endpoint


@pytest.fixture(scope="module")
def judged(storage: Path) -> Iterator[Judged]:
    sweep = write_sweep(storage, "judged", trials=2, training="workers: 0", at_once=2)
    text = sweep.file.read_text().replace(
        "evaluators: {ue: [probability, extraction_strength], ut: [probability]}",
        "evaluators: {ue: [probability, judge_accuracy], ut: [judge_accuracy, win_rate]}",
    )
    sweep.file.write_text(text)
    with pytest.MonkeyPatch.context() as patch, serving(verdict) as server:
        for name, value in {"URL": server.url, "MODEL": "judge-1", "KEY": KEY, "PRICES": "1000,2000"}.items():
            patch.setenv(f"UNLEARN_SWEEP_JUDGE_{name}", value)
        sweep.run()
        yield Judged(sweep=sweep, server=server)


def test_trials_are_scored_by_verdicts(judged: Judged) -> None:
    records = judged.sweep.trials()
    assert {record["state"] for record in records.values()} <= {"complete", "collapsed"}
    parts = {(part["metric"], part["split"]): part for part in records[0]["ut_detail"]["parts"]}
    assert {"judge_accuracy", "win_rate"} == {metric for metric, _ in parts}
    assert all(part["original"] == 0.5 for (metric, _), part in parts.items() if metric == "win_rate")
    controls = judged.sweep.json("report", str(judged.sweep.directory))["controls"]
    assert (controls["original"]["ue"], controls["original"]["ut"]) == (0.0, 1.0)


def test_no_answer_was_paid_for_twice(judged: Judged) -> None:
    """Also where two workers, or original and gold, meet the same answer at the same time."""
    asked = Counter(body["messages"][1]["content"] for body in judged.server.bodies)
    assert {question: count for question, count in asked.items() if count > 1} == {}
    assert judged.server.keys == {f"Bearer {KEY}"}
    assert judged.server.models == {"judge-1"}


def test_the_cost_stands_in_records_and_report(judged: Judged) -> None:
    """Every call the server counted is in the report, once."""
    report = judged.sweep.json("report", str(judged.sweep.directory))
    costs = {cost["asked"]: cost for cost in report["judging"]}
    assert sum(cost["calls"] for cost in costs.values()) == judged.server.calls
    for cost in costs.values():
        assert cost["prompt_tokens"] == READ * cost["calls"]
        assert cost["dollars"] == pytest.approx(cost["calls"] * (READ * 1000 + WRITTEN * 2000) / 1e6)
    record = judged.sweep.trials()[0]
    assert record["judging"]["evaluate"]["judge"]["rows"] > 0
    assert "Asked of judges" in (judged.sweep.directory / "report" / "index.html").read_text()


def test_the_key_is_nowhere(judged: Judged) -> None:
    for file in judged.sweep.storage.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes(), file
