# ruff: noqa: F401, F811  fixtures are imported by name
"""Prompt setting `thinking`: every metric is taken behind the thoughts that the measured model writes first.

Oracle: plain transformers. It generates behind the template's own generation prompt with thinking enabled, closes the
thought, renders question, thought and answer as one conversation, and scores or continues that text. The model is a
tiny one that knows the answer in its thoughts and denies it behind an empty think block.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.evaluators.attacks.test_think import (
    BARE,
    DENIAL,
    FACTS,
    benchmark,
    fast,
    finished,
    model,
    plain_logp,
    target,
    thought_of,
    tokenizer,
)
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import PromptSettings, in_format
from unlearn_sweep.evaluators.evaluate import Evaluation, evaluate_rows
from unlearn_sweep.evaluators.row_encoder import RowEncoder
from unlearn_sweep.evaluators.rows import PromptEdit, Row
from unlearn_sweep.evaluators.thinking import NO_ROOM, Thinker, ThinkingError
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings
from unlearn_sweep.evaluators.thoughts import without_thoughts

BUDGET = ThinkingSettings(max_tokens=40)
METRICS = ["probability", "rouge", "answer_contained", "truth_ratio", "choice_accuracy", "choice_probability"]


def evaluated(
    target: Target,
    rows: list[Row] | None = None,
    thinking: ThinkingSettings | None = BUDGET,
    edit: PromptEdit | None = None,
    metrics: list[str] | None = None,
) -> Evaluation:
    return evaluate_rows(
        target.model,
        target.tokenizer,
        list(target.benchmark.evaluation["forget"]) if rows is None else rows,
        metrics=metrics or METRICS,
        template=target.benchmark.template,
        max_new_tokens=24,
        prompt_edit=edit,
        thinking=thinking,
    )


def written(target: Target, question: str, budget: int) -> str:
    """The thought as plain transformers generates it behind the open prompt, without its marks."""
    tokenizer = fast(target)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    ids = torch.tensor([tokenizer(str(text), add_special_tokens=False)["input_ids"]])
    out = target.model.generate(ids, do_sample=False, max_new_tokens=budget, eos_token_id=None, pad_token_id=0)  # pyright: ignore
    made = str(tokenizer.decode(out[0][ids.shape[1] :]))
    return made.partition("</think>")[0].removeprefix("<think>").strip()


def test_answers_are_scored_and_generated_behind_the_own_thought(target: Target) -> None:
    table = evaluated(target).table.set_index("row_id")
    for row in target.benchmark.evaluation["forget"]:
        thought = written(target, row.question, BUDGET.max_tokens)
        assert thought == thought_of(row.question)  # the oracle's model does what it was taught
        found = table.loc[row.row_id]
        assert math.log(found["probability"]) == pytest.approx(plain_logp(target, row.question, thought), abs=1e-4)
        assert found["generation"] == row.answer
        assert found["rouge"] == found["answer_contained"] == 1.0
        assert found["thought"] == f"<think>\n{thought}\n</think>\n\n"
        assert bool(found["thought_cut"]) is False


def test_without_the_setting_the_same_rows_are_denied_and_the_table_has_no_thoughts(target: Target) -> None:
    found = evaluated(target, thinking=None)
    assert set(found.table["generation"]) == {DENIAL}
    assert not [name for name in found.table.columns if name.startswith("thought")]
    assert found.thoughts == {}


def test_a_cut_thought_is_closed_counted_and_scored_behind(target: Target) -> None:
    found = evaluated(target, thinking=ThinkingSettings(max_tokens=4))
    table = found.table.set_index("row_id")
    for row in target.benchmark.evaluation["forget"]:
        thought = written(target, row.question, 4)
        assert len(thought) < len(thought_of(row.question))
        assert math.log(table.loc[row.row_id, "probability"]) == pytest.approx(
            plain_logp(target, row.question, thought), abs=1e-4
        )
    (count,) = found.thoughts.values()
    assert (count.rows, count.cut_off, count.with_thought, count.tokens) == (2, 2, 2, 8)


def test_thoughts_are_counted_and_the_answer_in_them_does_not_count_as_the_answer(target: Target) -> None:
    found = evaluated(target)
    count = found.thoughts["forget"]
    assert (count.rows, count.with_thought, count.cut_off, count.with_answer) == (2, 2, 0, 1)
    closes = fast(target).encode("</think>", add_special_tokens=False)
    wanted = [f"<think>\n{thought_of(question)}\n" for question in FACTS]
    assert count.tokens == sum(
        len(fast(target).encode(text, add_special_tokens=False)) + len(closes) for text in wanted
    )
    denied = [replace(row, row_id=f"d{row.row_id}", answer="Nobody") for row in target.benchmark.evaluation["forget"]]
    assert evaluated(target, denied).table["answer_contained"].tolist() == [0.0, 0.0]


def test_wrong_answers_and_choices_are_scored_behind_the_same_thought(target: Target) -> None:
    question, answer = next(iter(FACTS.items()))
    plain = target.benchmark.evaluation["forget"][0]
    wrong = replace(plain, row_id="w", perturbed_answers=(DENIAL,))
    choice = replace(plain, row_id="c", kind="choice", choices=(DENIAL, answer), template=target.benchmark.template)
    table = evaluated(target, [wrong, choice]).table.set_index("row_id")
    scored: dict[str, float] = {}
    for said in (answer, DENIAL):
        ids, thought = finished(fast(target), question, thought_of(question), said), thought_of(question)
        text = str(fast(target).decode(finished(fast(target), question, thought, said)))
        border = len(fast(target)(text[: text.index("</think>\n\n") + 10], add_special_tokens=False)["input_ids"])
        end = ids.index(fast(target).encode("<|im_end|>", add_special_tokens=False)[0], border)
        with torch.no_grad():
            logps = target.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        chosen = [logps[place - 1, ids[place]].item() for place in range(border, end + 1)]
        scored[said] = sum(chosen) / len(chosen)
        scored[f"sum {said}"] = sum(chosen)
    assert table.loc["w", "log_truth_ratio"] == pytest.approx(scored[DENIAL] - scored[answer], abs=1e-3)
    assert table.loc["c", "choice_accuracy"] == 1.0
    odds = math.exp(scored[f"sum {DENIAL}"] - scored[f"sum {answer}"])
    assert table.loc["c", "choice_probability"] == pytest.approx(1 / (1 + odds), abs=1e-4)


def test_a_prompt_edit_comes_before_the_thought_and_an_opening_behind_it(target: Target) -> None:
    (opened,) = build("prefill", {"text": "I say"}).run(target)
    row = target.benchmark.evaluation["forget"][0]
    encoder = RowEncoder(tokenizer=target.tokenizer, template=target.benchmark.template, prompt_edit=opened.prompt_edit)
    asked, _ = encoder.ask([row], alternatives=False)
    thinker = Thinker(
        model=target.model, tokenizer=target.tokenizer, settings=BUDGET, answer_tokens=24, cache_tokens=4096
    )
    (item,) = thinker.consider(asked).asked
    prompt = str(target.tokenizer.decode(list(item.answer.prompt_ids)))
    assert prompt.endswith(f"<think>\n{thought_of(row.question)}\n</think>\n\nI say\n")


def test_gold_tokens_given_away_come_behind_the_thought(target: Target) -> None:
    (state,) = build("prefill", {"tokens": [1]}).run(target)
    row = target.benchmark.evaluation["forget"][0]
    found = evaluated(target, [row], edit=state.prompt_edit, metrics=["probability"]).table
    ids = finished(fast(target), row.question, thought_of(row.question), row.answer)
    text = str(fast(target).decode(ids))
    border = len(fast(target)(text[: text.index("</think>\n\n") + 10], add_special_tokens=False)["input_ids"]) + 1
    end = ids.index(fast(target).encode("<|im_end|>", add_special_tokens=False)[0], border)
    with torch.no_grad():
        logps = target.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    mean = sum(logps[place - 1, ids[place]].item() for place in range(border, end + 1)) / (end + 1 - border)
    assert math.log(found["probability"].item()) == pytest.approx(mean, abs=1e-4)


def test_attack_think_writes_its_own_thoughts_and_a_given_one_takes_their_place(target: Target) -> None:
    rows = list(target.benchmark.evaluation["forget"])
    (own,) = build("think", {"tokens": 40}).run(target)
    assert evaluated(target, rows, edit=own.prompt_edit).table["generation"].tolist() == [row.answer for row in rows]
    (none,) = build("think", {"thought": ""}).run(target)
    asked = evaluated(target, rows, edit=none.prompt_edit)
    assert set(asked.table["generation"]) == {DENIAL}  # as behind the empty block that the template writes itself
    without = evaluated(target, rows, thinking=None).table
    assert asked.table["probability"].tolist() == pytest.approx(without["probability"].tolist(), rel=1e-5)
    assert none.strength > 0
    assert asked.thoughts == {}


def test_rows_of_running_text_are_left_as_they_are(target: Target) -> None:
    row = replace(target.benchmark.evaluation["forget"][0], template=replace(BARE, chat=False, after="\n"))
    with_setting, without = evaluated(target, [row]), evaluated(target, [row], thinking=None)
    names = list(without.table.columns)
    assert with_setting.table[names].equals(without.table)
    assert with_setting.thoughts == {}


def test_rows_without_room_are_left_out_and_counted_and_refused_where_all_are(target: Target) -> None:
    rows = list(target.benchmark.evaluation["forget"])
    long = replace(rows[0], row_id="long", question=" ".join([rows[0].question] * 12))
    found = evaluated(target, [rows[1], long], thinking=ThinkingSettings(max_tokens=150))
    assert found.dropped == {NO_ROOM: 1}
    assert found.table["row_id"].tolist() == [rows[1].row_id]
    with pytest.raises(ThinkingError, match=r"lower prompt\.thinking\.max_tokens to"):
        evaluated(target, rows, thinking=ThinkingSettings(max_tokens=250))


def test_a_second_block_behind_the_first_is_no_answer() -> None:
    assert without_thoughts("a <think>more</think> b", BUDGET).strip() == "b"
    assert without_thoughts("b <think>more", BUDGET).strip() == "b"
    assert without_thoughts("b", BUDGET) == "b"


def test_the_setting_is_the_benchmarks_and_its_digest_is_that_of_the_trainings(
    benchmark: Benchmark,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    plain = in_format(benchmark, PromptSettings(format="chat"))
    thinking = in_format(benchmark, PromptSettings(format="chat", thinking=BUDGET))
    assert (plain.thinking, thinking.thinking) == (None, BUDGET)
    assert thinking.digest() == plain.digest()
