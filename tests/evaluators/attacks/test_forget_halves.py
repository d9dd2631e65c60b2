"""What an attacker sees is never scored, whichever rows train and evaluation share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.halves import TooFewFactsError, attacker_groups, search_halves
from unlearn_sweep.evaluators.rows import Row

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
        with pytest.raises(TooFewFactsError):
            attacker_groups(trained, [(name, "question") for name in asked])
        return
    assert not halves.seen & halves.scored
    assert halves.seen | halves.scored == trained | asked
    assert {row.group_id for row in seen_rows(changed, halves)} == trained & halves.seen
    sides = search_halves((name, "question") for name in asked)
    assert sides.search & halves.scored
    assert sides.report & halves.scored


def test_half_of_the_facts_are_seen_and_the_other_half_is_scored(benchmark: Benchmark) -> None:
    halves = forget_halves(benchmark)
    facts = {row.group_id for row in benchmark.train["forget"]}
    assert facts == {row.group_id for row in benchmark.evaluation["forget"]}
    assert halves.seen == attacker_groups(facts, [(fact, "question") for fact in facts])
    assert len(halves.seen) == len(halves.scored) == 6


def test_one_fact_cannot_be_halved(benchmark: Benchmark) -> None:
    with pytest.raises(AttackError, match=r"1 forget facts .* are too few"):
        forget_halves(with_groups(benchmark, {"a"}, {"a"}))
