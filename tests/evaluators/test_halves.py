"""Which facts the search, the report and an attacker see. Oracles: what must be left, counted; brute force."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_sweep.evaluators.halves import TooFewFactsError, attacker_groups, halves, search_halves

KINDS = ("choice", "continuation", "question", "text")
names = st.integers(0, 40).map("g{}".format)
judged_rows = st.lists(st.tuples(names, st.sampled_from(KINDS)), max_size=60)


def possible(trained: set[str], judged: list[tuple[str, str]]) -> bool:
    """Whether any attacker's choice has a trained fact and leaves one to judge in each half. By brute force: if a
    choice works, one of a single trained fact does.
    """
    sides = search_halves(judged)
    return any(sides.search - {one} and sides.report - {one} for one in trained)


@given(trained=st.sets(names, max_size=25), judged=judged_rows)
@settings(max_examples=400, deadline=None)
def test_an_attacker_never_has_all_of_a_half(trained: set[str], judged: list[tuple[str, str]]) -> None:
    sides = search_halves(judged)
    try:
        seen = attacker_groups(trained, judged)
    except TooFewFactsError:
        assert not possible(trained, judged)
        return
    assert possible(trained, judged)
    assert seen & trained
    assert sides.search - seen
    assert sides.report - seen
    assert seen <= trained | sides.search | sides.report


@given(judged=judged_rows, trained=st.sets(names, max_size=25))
@settings(max_examples=200, deadline=None)
def test_of_every_kind_something_is_left_in_each_half_that_has_two(
    judged: list[tuple[str, str]], trained: set[str]
) -> None:
    """Where no group has rows of several kinds, and the attacker was not short of trained facts."""
    one_kind = list({group: (group, kind) for group, kind in judged}.values())
    try:
        seen = attacker_groups(trained, one_kind)
    except TooFewFactsError:
        return
    sides = search_halves(one_kind)
    for kind in KINDS:
        for side in (sides.search, sides.report):
            members = {group for group, found in one_kind if found == kind} & side
            assert len(members) < 2 or members - seen


@given(judged=judged_rows)
def test_each_half_has_its_share_of_every_kind(judged: list[tuple[str, str]]) -> None:
    sides = search_halves(judged)
    assert not sides.search & sides.report
    assert sides.search | sides.report == {group for group, _ in judged}
    by_group: dict[str, set[str]] = {}
    for group, kind in judged:
        by_group.setdefault(group, set()).add(kind)
    for kinds in {tuple(sorted(found)) for found in by_group.values()}:
        members = {group for group, found in by_group.items() if tuple(sorted(found)) == kinds}
        assert abs(len(members & sides.search) - len(members & sides.report)) <= 1
    assert 0 <= len(sides.search) - len(sides.report) <= 1
    assert sides == search_halves(reversed(judged + judged))


@given(groups=st.sets(names, min_size=3, max_size=40))
def test_half_of_the_facts_are_the_attackers(groups: set[str]) -> None:
    judged = [(group, "question") for group in groups]
    seen = attacker_groups(groups, judged)
    assert abs(2 * len(seen) - len(groups)) <= 1
    assert search_halves(judged).search == halves(groups, salt="search")[0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_facts_are_refused(count: int) -> None:
    groups = [f"g{number}" for number in range(count)]
    with pytest.raises(TooFewFactsError, match=f"^{count} forget facts"):
        attacker_groups(groups, [(group, "question") for group in groups])


def test_no_three_facts_are_ever_lost() -> None:
    """Drawn apart, as it was done before, two of these twenty sets of three left nothing to score in a half."""
    apart, lost = 0, 0
    for chosen in combinations([f"g{number}" for number in range(6)], 3):
        judged = [(group, "question") for group in chosen]
        sides, drawn = search_halves(judged), halves(chosen, salt="relearn")[0]
        apart += not (sides.search - drawn and sides.report - drawn)
        seen = attacker_groups(chosen, judged)
        lost += not (sides.search - seen and sides.report - seen)
    assert apart > 0
    assert lost == 0


def test_facts_that_are_only_trained_on_are_the_attackers_first() -> None:
    """Documents are trained on, other questions judged: the attacker has half of the documents."""
    documents = {f"d{number}" for number in range(10)}
    judged = [("q0", "question"), ("q1", "question")]
    seen = attacker_groups(documents, judged)
    assert len(seen & documents) == 5
    assert not seen & {"q0", "q1"}
