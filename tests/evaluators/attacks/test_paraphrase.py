"""Other wordings of a question: which there are, and that the one tried is the one that works best."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.wordings import other_wordings
from unlearn_sweep.evaluators.rows import Example, Row, encode


def asked(target: Target, row: Row, question: str | None = None) -> Example:
    return encode(target.tokenizer, row.row_id, question or row.question, row.answer, target.benchmark.template)


def test_own_paraphrase_first_then_other_questions_of_the_fact_once_each(target: Target) -> None:
    row = target.benchmark.evaluation["forget"][0]
    assert other_wordings(target.benchmark, row) == [
        "Tell me what person 0 likes best.",
        "Which things would person 0 choose?",
    ]


def test_questions_of_the_fact_with_another_answer_are_no_wordings(target: Target) -> None:
    row = target.benchmark.evaluation["forget"][0]
    other = replace(row, row_id="x", question="Where is person 0?", answer="Arden")
    forget = [*target.benchmark.evaluation["forget"], other]
    benchmark = replace(target.benchmark, evaluation={**target.benchmark.evaluation, "forget": forget})
    assert "Where is person 0?" not in other_wordings(benchmark, row)


def cost(target: Target, state: Attacked, row: Row) -> float:
    assert state.prompt_edit is not None
    edited = state.prompt_edit(asked(target, row))
    assert edited is not None
    return answer_nll(target.model, [edited])[0]


def test_the_wording_asked_is_the_likeliest_of_those_tried(target: Target) -> None:
    """Oracle: every wording asked by itself, one row at a time."""
    first, worst = build("paraphrase", {"wordings": [1, 2]}).run(target)
    for row in target.benchmark.evaluation["forget"]:
        wordings = other_wordings(target.benchmark, row)
        costs = [answer_nll(target.model, [asked(target, row, wording)])[0] for wording in wordings]
        assert cost(target, first, row) == pytest.approx(costs[0], rel=1e-4, abs=1e-5)
        assert cost(target, worst, row) == pytest.approx(min(costs[:2]), rel=1e-4, abs=1e-5)


def test_an_edit_asks_exactly_as_the_benchmark_would(target: Target, chat_target: Target) -> None:
    for setting in (target, chat_target):
        (state,) = build("paraphrase", {"wordings": 1}).run(setting)
        assert state.prompt_edit is not None
        for row in setting.benchmark.evaluation["forget"]:
            wording = other_wordings(setting.benchmark, row)[0]
            assert state.prompt_edit(asked(setting, row)) == asked(setting, row, wording)


def test_rows_without_another_wording_are_asked_as_they_are(target: Target) -> None:
    (state,) = build("paraphrase", {"wordings": 1}).run(target)
    row = target.benchmark.evaluation["retain"][0]
    assert state.prompt_edit is not None
    assert state.prompt_edit(asked(target, row)) == asked(target, row)


def test_no_other_wording_at_all_is_an_error(target: Target) -> None:
    alone = [
        replace(row, paraphrased_question=None)
        for row in target.benchmark.evaluation["forget"]
        if row.row_id.endswith("-0")
    ]
    benchmark = replace(
        target.benchmark,
        evaluation={**target.benchmark.evaluation, "forget": alone},
        train={**target.benchmark.train, "forget": alone},
    )
    with pytest.raises(AttackError, match="no forget row has a paraphrase"):
        list(build("paraphrase", {}).run(replace(target, benchmark=benchmark)))


def with_written(target: Target, kind: str) -> Target:
    """Two written questions for each judged row, as a benchmark with a view of this kind holds them."""
    rows = target.benchmark.evaluation["forget"]
    written = [
        replace(row, row_id=f"{row.row_id}~{place}", question=f"{kind} {place} of {row.row_id}?")
        for row in rows
        for place in (1, 2)
    ]
    train = {**target.benchmark.train, f"judged_{kind}": written}
    return replace(target, benchmark=replace(target.benchmark, train=train))


@pytest.mark.parametrize("kind", ["paraphrase", "alias", "multi_hop"])
def test_written_questions_take_the_place_of_the_rows_own(target: Target, kind: str) -> None:
    """Oracle: the first written question of each row, asked by itself."""
    setting = with_written(target, kind)
    first, _ = build("paraphrase", {"source": kind, "wordings": [1, 2]}).run(setting)
    assert first.prompt_edit is not None
    for row in target.benchmark.evaluation["forget"]:
        assert first.prompt_edit(asked(target, row)) == asked(target, row, f"{kind} 1 of {row.row_id}?")


def test_a_view_that_was_not_read_is_an_error(target: Target) -> None:
    with pytest.raises(AttackError, match="no alias view of the judged rows was read"):
        list(build("paraphrase", {"source": "alias"}).run(with_written(target, "paraphrase")))


def test_choosing_a_wording_draws_no_random_number(target: Target) -> None:
    before = torch.get_rng_state()
    list(build("paraphrase", {"wordings": [2]}).run(target))
    assert torch.equal(before, torch.get_rng_state())
