"""Which forget facts an attacker may use, and which are scored afterwards. No fact is on both sides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.prompts import asks
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.halves import TooFewFactsError, attacker_groups
from unlearn_sweep.evaluators.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetHalves:
    """Group ids of the forget facts: `seen` by the attacker, `scored` afterwards; disjoint and both in use."""

    seen: frozenset[str]
    scored: frozenset[str]


def forget_halves(benchmark: Benchmark) -> ForgetHalves:
    """The two halves of the forget facts, drawn by hash over training and evaluation groups together.

    Together, because a half depends on the set it is drawn from: training rows alone and evaluation rows alone could
    put one fact on both sides. `scored` has facts of the search half and of the report half.

    Raises:
        AttackError: there are too few facts for that.
    """
    trained = {row.group_id for row in benchmark.train["forget"]}
    judged = [(row.group_id, row.stratum) for row in benchmark.evaluation["forget"]]
    try:
        seen = attacker_groups(trained, judged)
    except TooFewFactsError as error:
        raise AttackError(f"{benchmark.name}: {error}") from error
    return ForgetHalves(seen=seen, scored=frozenset(trained | {group for group, _ in judged}) - seen)


def seen_rows(benchmark: Benchmark, halves: ForgetHalves) -> list[Row]:
    """The forget training rows of the attacker's half, in the benchmark's order."""
    return [row for row in benchmark.train["forget"] if row.group_id in halves.seen]


def attacked_rows(benchmark: Benchmark, halves: ForgetHalves) -> list[Row]:
    """Return the judged forget rows of the attacker's half that ask something, in the benchmark's order.

    Attacks on prompts are optimised on these: what is trained on may be running text (WMDP, MUSE, RWKU), which has no
    question to attack.

    Raises:
        AttackError: there are none: what the benchmark judges by are passages or texts.
    """
    rows = [row for row in benchmark.evaluation["forget"] if asks(row) and row.group_id in halves.seen]
    if not rows:
        raise AttackError(
            f"{benchmark.name}: none of the judged forget rows of the attacker's half asks a question, so there is no "
            "prompt to attack; leave the attack out"
        )
    return rows


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


def listed_facts(rows: Sequence[Row], places: Sequence[int]) -> list[Row]:
    """The first row of the facts at these places, counted from 0 in the order in which facts first appear.

    Raises:
        AttackError: there are fewer facts than a place says.
    """
    by_fact: dict[str, Row] = {}
    for row in rows:
        by_fact.setdefault(row.fact, row)
    found = list(by_fact.values())
    if max(places) >= len(found):
        raise AttackError(
            f"prompts names question {max(places)}, and the attacker's half has {len(found)}, counted from 0; "
            "name others, or give a number of questions"
        )
    return [found[place] for place in places]
