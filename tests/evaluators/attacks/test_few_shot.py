"""Demonstrations: which facts are shown, never the row's own, and none for zero shots."""

from __future__ import annotations

import pytest

from tests.evaluators.attacks.toy_world import decoded
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.forget_halves import different_facts, forget_halves
from unlearn_sweep.evaluators.rows import Row


def named_facts(text: str) -> set[str]:
    """The persons named in a prompt, before the question asked last."""
    return {part.split()[0].rstrip("?.") for part in text.rsplit("Question:", 1)[0].split("person ")[1:]}


def test_forget_demonstrations_come_from_the_half_that_is_not_scored(target: Target) -> None:
    halves = forget_halves(target.benchmark)
    seen = {group.split("-")[1] for group in halves.seen}
    rows = target.benchmark.evaluation["forget"]
    for state in build("few_shot", {"shots": [1, 4]}).run(target):
        assert state.scored_groups == halves.scored
        assert state.model is target.model
        assert state.prompt_edit is not None
        for example in encode_rows(target.tokenizer, rows, target.benchmark.template):
            edited = state.prompt_edit(example)
            assert edited is not None
            shown = named_facts(decoded(target, edited.prompt_ids))
            assert len(shown) == state.strength
            assert shown <= seen
            assert edited.answer_ids == example.answer_ids


def test_a_row_never_sees_its_own_fact(target: Target) -> None:
    """With all but one retain fact shown, every row's own fact would be there without the rule."""
    (state,) = build("in_context", {"shots": [11]}).run(target)
    assert state.scored_groups is None
    assert state.prompt_edit is not None
    for example in encode_rows(target.tokenizer, target.benchmark.evaluation["retain"], target.benchmark.template):
        edited = state.prompt_edit(example)
        assert edited is not None
        shown = named_facts(decoded(target, edited.prompt_ids))
        assert len(shown) == 11
        assert example.row_id.split("-")[1] not in shown


def test_zero_shots_change_nothing(target: Target) -> None:
    (state,) = build("few_shot", {"shots": 0}).run(target)
    assert state.prompt_edit is not None
    for example in encode_rows(target.tokenizer, target.benchmark.evaluation["forget"], target.benchmark.template):
        assert state.prompt_edit(example) == example


def test_too_many_shots_are_refused(target: Target) -> None:
    with pytest.raises(AttackError, match="asks for 21 different facts and may use 6"):
        list(build("few_shot", {"shots": 20}).run(target))


def test_demonstrations_are_of_different_facts_and_drawn_by_seed() -> None:
    rows = [
        Row(row_id=f"{i}-{j}", group_id=str(i), split="s", question="q", answer="a") for i in range(9) for j in range(3)
    ]
    drawn = {seed: [row.row_id for row in different_facts(rows, 5, seed=seed)] for seed in range(6)}
    assert all(len({row_id.split("-")[0] for row_id in found}) == 5 for found in drawn.values())
    assert drawn[0] == [row.row_id for row in different_facts(rows, 5, seed=0)]
    assert len({tuple(found) for found in drawn.values()}) > 1
