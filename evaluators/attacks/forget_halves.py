"""Which forget facts an attacker may use, and which are scored afterwards. No fact is on both sides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Row, relearn_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetHalves:
    """Group ids of the forget facts: `seen` by the attacker, `scored` afterwards; disjoint and both in use."""

    seen: frozenset[str]
    scored: frozenset[str]


def forget_halves(benchmark: Benchmark) -> ForgetHalves:
    """The two halves of the forget facts, drawn by hash over the union of training and evaluation groups.

    Over the union, because a half depends on the set it is drawn from: training rows alone and evaluation rows alone
    could put one fact on both sides.

    Raises:
        AttackError: no training row is seen, or no evaluation row is left to score.
    """
    rows = [*benchmark.train["forget"], *benchmark.evaluation["forget"]]
    seen = relearn_groups(rows)
    scored = frozenset(row.group_id for row in rows) - seen
    if not any(row.group_id in seen for row in benchmark.train["forget"]):
        raise AttackError(
            f"{benchmark.name}: no forget training row in the attacker's half ({len(seen)} facts); use more facts"
        )
    if not any(row.group_id in scored for row in benchmark.evaluation["forget"]):
        raise AttackError(
            f"{benchmark.name}: no forget evaluation row left to score ({len(scored)} facts); use more facts"
        )
    return ForgetHalves(seen=seen, scored=scored)


def seen_rows(benchmark: Benchmark, halves: ForgetHalves) -> list[Row]:
    """The forget training rows of the attacker's half, in the benchmark's order."""
    return [row for row in benchmark.train["forget"] if row.group_id in halves.seen]


def different_facts(rows: Sequence[Row], count: int, *, seed: int) -> list[Row]:
    """`count` rows of as many different facts, in an order drawn from `seed`.

    Raises:
        AttackError: there are fewer facts than that.
    """
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    by_fact: dict[str, Row] = {}
    for row in shuffled:
        by_fact.setdefault(row.fact, row)
    if len(by_fact) < count:
        raise AttackError(f"the attack asks for {count} different facts and may use {len(by_fact)}; let it use fewer")
    return list(by_fact.values())[:count]
