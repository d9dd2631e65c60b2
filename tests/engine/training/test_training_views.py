"""Views as tokens. Oracles: `evaluators.rows.encode` called directly, and the rows themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.training.batches import Pick
from unlearn_sweep.engine.training.continuations import CONTINUATION_TOKENS, write_continuations
from unlearn_sweep.engine.training.refusals import REFUSALS
from unlearn_sweep.engine.training.training_views import CONTINUATION, Encoder, Views, supervised_tokens
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Example, encode

ALL = ("forget", "retain", "forget_idk", "retain_idk", "forget_alternate")


@pytest.fixture
def encoder(benchmark: Benchmark, start_model: Path) -> Encoder:
    return Encoder(load_tokenizer(str(start_model)), benchmark.template, 64)


def views(benchmark: Benchmark, encoder: Encoder, names: Sequence[str], seed: int = 0, **values: Any) -> Views:
    return Views(benchmark, encoder, names, train_groups=values.get("train_groups", ("forget", "retain")), seed=seed)


def test_views_of_one_question_stay_side_by_side(benchmark: Benchmark, encoder: Encoder) -> None:
    made = views(benchmark, encoder, ALL)
    for step in range(4):
        batch = made.batch(made.plan(5), step)
        for base, followers in (("forget", ("forget_idk", "forget_alternate")), ("retain", ("retain_idk",))):
            prompts = [item.example.prompt_ids for item in batch[base]]
            assert all([item.example.prompt_ids for item in batch[view]] == prompts for view in followers)
            lengths = [item.tokens for item in batch[base]]
            assert lengths == sorted(lengths, reverse=True)


def test_other_answers_are_what_encode_makes_of_them(benchmark: Benchmark, encoder: Encoder) -> None:
    made, tokenizer = views(benchmark, encoder, ALL), encoder.tokenizer
    for number, row in enumerate(benchmark.train["forget"]):

        def encoded(answer: str, row_id: str = row.row_id, question: str = row.question) -> Example:
            return encode(tokenizer, row_id, question, answer, benchmark.template, max_tokens=64)

        assert made.item("forget", Pick(number, 0)).example == encoded(row.answer)
        assert made.item("forget_alternate", Pick(number, 0)).example in map(encoded, row.perturbed_answers)
        refusal = made.item("forget_idk", Pick(number, 0))
        assert refusal.example == encoded(REFUSALS[refusal.key[2]])


def test_refusals_change_with_seed_and_epoch_only(benchmark: Benchmark, encoder: Encoder) -> None:
    def drawn(seed: int, epoch: int) -> list[int]:
        made = views(benchmark, encoder, ALL, seed)
        return [made.item("retain_idk", Pick(number, epoch)).key[2] for number in range(17)]

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) != drawn(0, 1)
    assert drawn(0, 0) != drawn(1, 0)


def test_train_is_the_named_groups(benchmark: Benchmark, encoder: Encoder) -> None:
    both = views(benchmark, encoder, ("train",))
    assert both.rows["train"] == (*benchmark.train["forget"], *benchmark.train["retain"])
    retain = views(benchmark, encoder, ("train",), train_groups=("retain",))
    assert (both.anchor, retain.rows["train"]) == ("train", tuple(benchmark.train["retain"]))


def test_epochs_are_counted_over_forget_questions(benchmark: Benchmark, encoder: Encoder) -> None:
    assert views(benchmark, encoder, ("retain", "retain_idk", "forget_idk")).anchor == "forget"
    assert views(benchmark, encoder, ("retain",)).anchor == "retain"


def test_a_row_without_prompt_predicts_one_token_less() -> None:
    assert supervised_tokens(Example(row_id="a", prompt_ids=(), answer_ids=(5, 6, 7))) == 2
    assert supervised_tokens(Example(row_id="a", prompt_ids=(4,), answer_ids=(5, 6, 7))) == 3


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [
        (("forgett",), ("forget",), "no training view 'forgett'; it has forget, retain; did you mean 'forget'"),
        (("train",), ("retian",), "no training view 'retian'.*did you mean 'retain'"),
    ],
)
def test_unknown_views(
    benchmark: Benchmark, encoder: Encoder, names: Sequence[str], groups: Sequence[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        views(benchmark, encoder, names, train_groups=groups)


def test_a_prompt_that_leaves_no_room_is_named(benchmark: Benchmark, start_model: Path) -> None:
    short = Encoder(load_tokenizer(str(start_model)), benchmark.template, 2)
    with pytest.raises(ValueError, match=r"row 'forget-0' of split 'forget': no answer token.*max_tokens is 2"):
        views(benchmark, short, ("forget",))


def test_missing_alternates_are_counted(benchmark: Benchmark, encoder: Encoder) -> None:
    first, second, *rest = benchmark.train["forget"]
    rows = [replace(first, perturbed_answers=()), replace(second, perturbed_answers=()), *rest]
    with pytest.raises(ValueError, match="2 of 11 rows have no perturbed answer, the first is 'forget-0'"):
        views(replace(benchmark, train={"forget": rows}), encoder, ("forget_alternate",))


def test_refusals_without_a_question_are_refused(benchmark: Benchmark, encoder: Encoder) -> None:
    first, *rest = benchmark.train["forget"]
    text = replace(benchmark, train={"forget": [replace(first, question=" "), *rest]})
    with pytest.raises(ValueError, match="1 of 11 rows are running text without a question, the first is 'forget-0'"):
        views(text, encoder, ("forget_idk",))


def test_an_empty_view_is_refused(benchmark: Benchmark, encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="view 'forget' has no rows"):
        views(replace(benchmark, train={"forget": []}), encoder, ("forget",))


def task_file(benchmark: Benchmark, folder: Path, rows: int = 12, endless: int = 3) -> str:
    """Questions of another task in words the tokenizer knows, the last ones too long for any length limit."""
    lines = [{"question": row.question, "answer": row.answer} for row in benchmark.train["retain"][:rows]]
    lines += [{"question": "a " * 500, "answer": "b"}] * endless
    path = folder / "task.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"task:{path}"


def test_a_task_is_a_view_of_its_own(benchmark: Benchmark, encoder: Encoder, tmp_path: Path) -> None:
    view = task_file(benchmark, tmp_path)
    made = Views(benchmark, encoder, ("forget", view), train_groups=("forget",), seed=0, rows_a_step=((view, 4),))
    assert {row.question for row in made.rows[view]} == {row.question for row in benchmark.train["retain"][:12]}
    batch = made.batch(made.plan(2), 1)
    assert (len(batch["forget"]), len(batch[view])) == (2, 4)


def test_a_task_that_cannot_be_read_or_does_not_fit_is_told(
    benchmark: Benchmark, encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="none of 4 rows fits into max_tokens=64"):
        views(benchmark, encoder, ("forget", task_file(benchmark, tmp_path, rows=0, endless=4)))
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"query": "a", "answer": "b"}\n')
    with pytest.raises(ValueError, match="question"):
        views(benchmark, encoder, ("forget", f"task:{wrong}"))


def test_a_continuation_is_the_start_models_own_greedy_text(
    benchmark: Benchmark, encoder: Encoder, start_model: Path
) -> None:
    """Oracle: transformers' own generation, one prompt at a time."""
    model, change = load_model(str(start_model), device="cpu"), " and now"
    made = Views(benchmark, encoder, ("forget", CONTINUATION), train_groups=("forget",), seed=0, subject_change=change)
    write_continuations(made, model, encoder.tokenizer)
    assert model.training is False
    for number, row in enumerate(benchmark.train["forget"]):
        item = made.item(CONTINUATION, Pick(number, 0))
        asked = encode(encoder.tokenizer, row.row_id, row.question + change, "", benchmark.template, max_tokens=64)
        assert item.example.prompt_ids == asked.prompt_ids
        prompt = torch.tensor([asked.prompt_ids])
        said = model.generate(  # pyright: ignore[reportCallIssue]
            prompt, do_sample=False, max_new_tokens=CONTINUATION_TOKENS, attention_mask=torch.ones_like(prompt)
        )
        assert list(item.example.answer_ids) == said[0, prompt.shape[1] :].tolist()
