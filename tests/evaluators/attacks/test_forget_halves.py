"""What an attacker sees is never scored, whichever rows train and evaluation share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Row, relearn_groups

groups = st.sets(st.integers(0, 30).map(str), min_size=6, max_size=25)


def with_groups(benchmark: Benchmark, trained: set[str], asked: set[str]) -> Benchmark:
    def rows(names: set[str]) -> list[Row]:
        return [Row(row_id=n, group_id=n, split="forget", question="q", answer="a") for n in sorted(names)]

    return replace(
        benchmark,
        train={**benchmark.train, "forget": rows(trained)},
        evaluation={**benchmark.evaluation, "forget": rows(asked)},
    )


@given(trained=groups, asked=groups)
def test_no_trained_fact_is_scored_even_where_train_and_evaluation_differ(
    benchmark: Benchmark, trained: set[str], asked: set[str]
) -> None:
    changed = with_groups(benchmark, trained, asked)
    try:
        halves = forget_halves(changed)
    except AttackError:
        half = relearn_groups([*changed.train["forget"], *changed.evaluation["forget"]])
        assert not (trained & half) or not (asked - half)
        return
    assert not halves.seen & halves.scored
    assert halves.seen | halves.scored == trained | asked
    assert {row.group_id for row in seen_rows(changed, halves)} == trained & halves.seen
    assert abs(len(halves.seen) - len(halves.scored)) <= 1


def test_agrees_with_the_halves_of_either_side_where_facts_are_the_same(benchmark: Benchmark) -> None:
    halves = forget_halves(benchmark)
    assert halves.seen == relearn_groups(benchmark.train["forget"]) == relearn_groups(benchmark.evaluation["forget"])
    assert len(halves.seen) == len(halves.scored) == 6


def test_one_fact_cannot_be_halved(benchmark: Benchmark) -> None:
    with pytest.raises(AttackError, match="no forget evaluation row left to score"):
        forget_halves(with_groups(benchmark, {"a"}, {"a"}))
