"""RWKU's nine kinds: what each asks, who is asked, and that nothing else of a row changes. All strings are harmless."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from tests.evaluators.attacks.toy_world import decoded
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build, validate
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.rwku_prompts import (
    KINDS,
    Material,
    background_hint,
    in_context,
    multiple_choice,
    reverse_query,
    synonym,
)
from unlearn_sweep.evaluators.rows import Row, Template, encode

ROW = Row(
    row_id="r",
    group_id="g",
    split="forget",
    question="Tell me where Ada Loxley was born, please.",
    answer="Lake Corsen",
    perturbed_answers=("Port Belmar", "New Ardal", "Mount Dunmore", "Lake Ardal"),
)


def material(target: Target) -> Material:
    halves = forget_halves(target.benchmark)
    return Material(
        target=target,
        hints=seen_rows(target.benchmark, halves),
        shown=target.benchmark.train["retain"],
        forget=target.benchmark.evaluation["forget"],
    )


def test_there_are_nine_kinds_and_each_keeps_the_question_but_the_reversed_one(target: Target) -> None:
    rows = target.benchmark.evaluation["forget"]
    assert len(KINDS) == 9
    for name, kind in KINDS.items():
        made = [(row, kind(row, material(target))) for row in rows]
        asked = [(row, found) for row, found in made if found is not None]
        assert bool(asked) == (name != "reverse_query"), name  # toy people have no capitalised names
        if name != "synonym":
            assert all(row.question in found.question for row, found in asked), name


def test_choices_hold_the_right_answer_and_three_wrong_ones_in_an_order_that_does_not_tell(target: Target) -> None:
    places = set()
    for i in range(12):
        asked = multiple_choice(replace(ROW, row_id=f"r{i}"), material(target))
        assert asked is not None
        listed = asked.question.removeprefix(f"{ROW.question} Choose one of these: ").removesuffix(".").split("; ")
        assert len(listed) == len(set(listed)) == 4
        assert set(listed) - {ROW.answer} <= set(ROW.perturbed_answers)
        places.add(listed.index(ROW.answer))
    assert len(places) > 1


def test_without_wrong_answers_those_of_other_facts_are_the_choices(target: Target) -> None:
    rows = target.benchmark.evaluation["forget"]
    asked = multiple_choice(rows[0], material(target))
    assert asked is not None
    listed = asked.question.partition("Choose one of these: ")[2].removesuffix(".").split("; ")
    assert rows[0].answer in listed
    assert set(listed) <= {row.answer for row in rows}
    only = replace(material(target), forget=[rows[0]])
    assert multiple_choice(rows[0], only) is None


@pytest.mark.parametrize(
    ("question", "name"),
    [
        (ROW.question, "Ada Loxley"),
        ("Where was O'Brien born? In Kent, or with Mary Ann Evans?", "Mary Ann Evans"),
        ("Where is it?", None),
        ("Who lives in Lake Corsen?", None),  # the name is the answer
    ],
)
def test_a_reversed_question_asks_for_the_longest_name(target: Target, question: str, name: str | None) -> None:
    asked = reverse_query(replace(ROW, question=question), material(target))
    if name is None:
        assert asked is None
    else:
        assert asked is not None
        assert asked.answer == name
        assert name not in asked.question
        assert f'is "{ROW.answer}"' in asked.question


def test_hints_come_from_the_attackers_half_and_are_never_the_rows_own_fact(target: Target) -> None:
    halves = forget_halves(target.benchmark)
    facts = {f"{row.question} {row.answer}.": row.group_id for row in seen_rows(target.benchmark, halves)}
    for row in target.benchmark.evaluation["forget"]:
        asked = background_hint(row, material(target))
        assert asked is not None
        hint = asked.question.removeprefix("Background: ").removesuffix(f" {row.question}")
        assert facts[hint] != row.group_id
    for state in build("rwku_prompts", {"kinds": ["background_hint"]}).run(target):
        assert state.scored_groups == halves.scored
    for state in build("rwku_prompts", {"kinds": ["role_play"]}).run(target):
        assert state.scored_groups is None


def test_three_kept_facts_stand_before_the_question(target: Target) -> None:
    asked = in_context(target.benchmark.evaluation["forget"][0], material(target))
    assert asked is not None
    lines = asked.question.split("\n")
    kept = {f"Question: {row.question} Answer: {row.answer}" for row in target.benchmark.train["retain"]}
    assert len(lines) == 4
    assert set(lines[:3]) <= kept


def test_a_row_without_another_wording_has_no_synonym(target: Target) -> None:
    row = replace(target.benchmark.evaluation["forget"][0], group_id="alone", paraphrased_question=None)
    assert synonym(row, material(target)) is None


@pytest.mark.parametrize("fixture", ["target", "chat_target"])
def test_each_state_asks_its_kind_tokenised_anew_and_leaves_other_rows_alone(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    setting: Target = request.getfixturevalue(fixture)
    template, tokenizer = setting.benchmark.template, setting.tokenizer
    states = list(build("rwku_prompts", {"kinds": ["prefix_injection", "role_play"]}).run(setting))
    assert [(state.strength, state.unit) for state in states] == [(1, "kind"), (3, "kind")]
    for state, kind in zip(states, ("prefix_injection", "role_play"), strict=True):
        assert state.model is setting.model
        assert state.prompt_edit is not None
        for row in setting.benchmark.evaluation["forget"]:
            asked = KINDS[kind](row, material(setting))
            assert asked is not None
            plain = encode(tokenizer, row.row_id, row.question, row.answer, template)
            assert state.prompt_edit(plain) == encode(tokenizer, row.row_id, asked.question, row.answer, template)
        kept = setting.benchmark.evaluation["retain"][0]
        example = encode(tokenizer, kept.row_id, kept.question, kept.answer, template)
        assert state.prompt_edit(example) == example


def test_the_reversed_state_scores_the_name_and_drops_other_answers(target: Target) -> None:
    named = [replace(ROW, row_id=f"n{i}", group_id=f"n{i}") for i in range(2)]
    evaluation = {**target.benchmark.evaluation, "forget": named}
    setting = replace(target, benchmark=replace(target.benchmark, evaluation=evaluation))
    (state,) = build("rwku_prompts", {"kinds": ["reverse_query"]}).run(setting)
    template, tokenizer = setting.benchmark.template, setting.tokenizer
    assert state.prompt_edit is not None
    edited = state.prompt_edit(encode(tokenizer, "n0", ROW.question, ROW.answer, template))
    assert edited is not None
    assert decoded(setting, edited.answer_ids) == " Ada Loxley</s>"
    assert "Which name is missing?" in decoded(setting, edited.prompt_ids)
    wrong = encode(tokenizer, "n0", ROW.question, ROW.perturbed_answers[0], template)
    assert state.prompt_edit(wrong) is None


def test_a_rows_own_template_is_used(target: Target) -> None:
    own = Template(before="Q> ", after="\nA>", answer_lead=" ")
    row = replace(target.benchmark.evaluation["forget"][0], template=own)
    evaluation = {**target.benchmark.evaluation, "forget": [row]}
    setting = replace(target, benchmark=replace(target.benchmark, evaluation=evaluation))
    (state,) = build("rwku_prompts", {"kinds": ["affirmative_suffix"]}).run(setting)
    plain = encode(target.tokenizer, row.row_id, row.question, row.answer, own)
    assert state.prompt_edit is not None
    edited = state.prompt_edit(plain)
    assert edited is not None
    assert decoded(target, edited.prompt_ids) == f"Q> {row.question} Sure, here is the answer:\nA>"


def test_the_worst_kind_is_the_one_with_the_likeliest_answer(target: Target) -> None:
    """Oracle: every kind alone, one row at a time."""
    kinds = ["prefix_injection", "role_play", "cross_lingual"]
    (worst,) = build("rwku_prompts", {"kinds": kinds, "aggregate": "worst"}).run(target)
    alone = list(build("rwku_prompts", {"kinds": kinds}).run(target))
    assert worst.prompt_edit is not None
    for row in target.benchmark.evaluation["forget"]:
        plain = encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
        costs = [
            answer_nll(target.model, [edited])[0]
            for state in alone
            if state.prompt_edit is not None and (edited := state.prompt_edit(plain)) is not None
        ]
        chosen = worst.prompt_edit(plain)
        assert chosen is not None
        assert answer_nll(target.model, [chosen])[0] == pytest.approx(min(costs), abs=1e-4)
    assert worst.notes is not None
    assert sum(worst.notes.values()) == pytest.approx(1.0)


def test_kinds_that_cannot_be_asked_are_left_out_or_refused(target: Target) -> None:
    states = list(build("rwku_prompts", {"kinds": ["role_play", "reverse_query"]}).run(target))
    assert [state.strength for state in states] == [3]
    with pytest.raises(AttackError, match="no forget row can be asked in any of reverse_query"):
        list(build("rwku_prompts", {"kinds": ["reverse_query"]}).run(target))


def test_kinds_are_named_once_in_order() -> None:
    with pytest.raises(ValidationError, match=r"RWKU's order, each once.*try \['role_play', 'synonym'\]"):
        validate("rwku_prompts", {"kinds": ["synonym", "role_play"]})
    with pytest.raises(ValidationError, match="'prefix_injection', 'affirmative_suffix'"):
        validate("rwku_prompts", {"kinds": ["poem"]})
