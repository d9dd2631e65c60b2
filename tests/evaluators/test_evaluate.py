"""The per-row table. Oracle: each cell recomputed from plain, unbatched forwards and transformers' own `generate`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from torch.nn import functional
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS
from unlearn_sweep.evaluators.evaluate import Evaluation, evaluate_rows
from unlearn_sweep.evaluators.likelihood import NonFiniteLogits
from unlearn_sweep.evaluators.row_metrics import ROW_METRICS
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode

TOFU = Path("../shared/data/tofu/forget01_perturbed.json")
TEMPLATE = Template()
NEW_TOKENS = 6
ASKING = ("judge", "comparison", "entailment", "gibberish")
"""Needs of metrics that somebody else answers; these have tests of their own."""
EVERY = [
    name
    for name, card in METRICS.items()
    if name not in COMPONENTS and "question" in card.kinds and card.needs not in ASKING
]


def make_rows() -> list[Row]:
    people = ["Basil Kuwaiti", "Anna Oslo", "Ben Dakar", "Carla Accra", "Dan Bergen", "Eve Havana"]
    return [
        Row(
            row_id=f"r{number}",
            group_id=f"g{number // 2}",
            split="forget" if number < 4 else "retain",
            question=f"Who wrote volume {number}{' of the Tin Harbour' * (number % 3)}?",
            answer=name,
            form="held_out" if number % 2 else "trained",
            paraphrased_answer=f"It was {name}" if number != 3 else None,
            perturbed_answers=tuple(other for other in people if other != name)[: number % 4],
        )
        for number, name in enumerate(people)
    ]


ROWS = make_rows()


@pytest.fixture(scope="module")
def tiny_model(tiny_tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Knows the first two answers by heart, has heard of the next two, and nothing of the rest."""
    model = tiny_models.llama()
    examples = [encode(tiny_tokenizer, row.row_id, row.question, row.answer, TEMPLATE) for row in ROWS[:4]]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        for example in examples if step < 3 else examples[:2]:
            ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
            logits = model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
            functional.cross_entropy(logits, torch.tensor(example.answer_ids)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def evaluation(tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> Evaluation:
    return evaluate_rows(tiny_model, tiny_tokenizer, ROWS, metrics=EVERY, template=TEMPLATE, max_new_tokens=NEW_TOKENS)


class Plain:
    """The oracle: one sequence at a time, formulas as they are written in the papers."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def logits(self, example: Example) -> torch.Tensor:
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        with torch.no_grad():
            return self.model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]

    def example(self, row: Row, answer: str) -> Example:
        return encode(self.tokenizer, row.row_id, row.question, answer, TEMPLATE)

    def nll(self, row: Row, answer: str) -> float:
        example = self.example(row, answer)
        return functional.cross_entropy(self.logits(example), torch.tensor(example.answer_ids)).item()

    def correct(self, row: Row) -> list[bool]:
        """Without the end-of-text token that `encode` adds."""
        example = self.example(row, row.answer)
        return (self.logits(example).argmax(-1) == torch.tensor(example.answer_ids)).tolist()[:-1]

    def generation(self, row: Row) -> str:
        ids = torch.tensor([self.example(row, row.answer).prompt_ids])
        config = GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=2, eos_token_id=1)
        out = cast("Any", self.model).generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
        )
        return str(self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def column(found: Evaluation, name: str) -> list[float]:
    return found.table[name].tolist()


@pytest.fixture(scope="module")
def plain(tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> Plain:
    return Plain(tiny_model, tiny_tokenizer)


def test_likelihood_columns_are_recomputed_one_by_one(evaluation: Evaluation, plain: Plain) -> None:
    table = evaluation.table.set_index("row_id")
    for row in ROWS:
        found = table.loc[row.row_id]
        nll = plain.nll(row, row.answer)
        assert found["probability"] == pytest.approx(math.exp(-nll), rel=1e-4)
        correct = plain.correct(row)
        assert found["exact_memorization"] == pytest.approx(np.mean(correct))
        suffix = next(k for k in range(len(correct) + 1) if all(correct[k:]))
        assert found["extraction_strength"] == pytest.approx(1 - suffix / len(correct))
        assert found["answer_tokens"] == len(plain.example(row, row.answer).answer_ids)


def test_the_rows_range_from_known_by_heart_to_unknown(evaluation: Evaluation) -> None:
    """Otherwise the oracles above would agree on nothing but zeros."""
    memorized = evaluation.table["exact_memorization"].tolist()
    assert memorized[:2] == [1.0, 1.0]
    assert any(0.0 < share < 1.0 for share in memorized)
    assert min(memorized) < 0.5
    matches = evaluation.table["answer_match"].tolist()
    assert matches[0] == 1.0
    assert 0.0 in matches


def test_columns_of_alternatives_are_recomputed_one_by_one(evaluation: Evaluation, plain: Plain) -> None:
    table = evaluation.table.set_index("row_id")
    for row in ROWS:
        found = table.loc[row.row_id]
        wrong = np.array([plain.nll(row, answer) for answer in row.perturbed_answers])
        if row.paraphrased_answer is None:
            assert np.isnan(found["paraphrase_probability"])
        else:
            paraphrase = plain.nll(row, row.paraphrased_answer)
            assert found["paraphrase_probability"] == pytest.approx(math.exp(-paraphrase), rel=1e-4)
        if not len(wrong):
            assert np.isnan(found[["truth_ratio", "log_truth_ratio", "normalised_probability"]].astype(float)).all()
            continue
        correct = math.exp(-plain.nll(row, row.paraphrased_answer or row.answer))
        geometric = math.exp(-wrong.mean())
        assert found["truth_ratio"] == pytest.approx(correct / (correct + geometric), rel=1e-4)
        assert found["log_truth_ratio"] == pytest.approx(math.log(geometric / correct), abs=1e-4)
        own = math.exp(-plain.nll(row, row.answer))
        assert found["normalised_probability"] == pytest.approx(own / (own + np.exp(-wrong).sum()), rel=1e-4)


def test_generated_columns_are_recomputed_one_by_one(evaluation: Evaluation, plain: Plain) -> None:
    table = evaluation.table.set_index("row_id")
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    for row in ROWS:
        found, text = table.loc[row.row_id], plain.generation(row)
        assert found["generation"] == text
        assert found["rouge"] == scorer.score(row.answer, text)["rougeL"].recall
        assert found["rouge_f1"] == scorer.score(row.answer, text)["rougeL"].fmeasure
        assert found["answer_match"] == float(text.casefold().startswith(row.answer.casefold()))
    assert evaluation.generated_tokens == evaluation.table["generation_tokens"].sum()


def test_rows_keep_their_order_and_their_names(evaluation: Evaluation) -> None:
    table = evaluation.table
    assert table["row_id"].tolist() == [row.row_id for row in ROWS]
    assert table["group_id"].tolist() == [row.group_id for row in ROWS]
    assert table["split"].tolist() == [row.split for row in ROWS]
    assert table["form"].tolist() == [row.form for row in ROWS]


def test_missing_values_are_counted_by_metric(evaluation: Evaluation) -> None:
    # r3 has no paraphrase; r0 and r4 have no perturbed answer; a text below four words has no 4-gram.
    short = sum(len(text.split()) < 4 for text in evaluation.table["generation"])
    expected = {"paraphrase_probability": 1, "paraphrase_rouge": 1, "normalised_probability": 2, "truth_ratio": 2}
    assert {name: count for name, count in evaluation.missing.items() if name != "distinct_ngrams"} == expected
    assert evaluation.missing["distinct_ngrams"] >= short > 0
    assert evaluation.dropped == {}


@pytest.mark.parametrize("name", EVERY)
def test_one_metric_alone_has_the_same_values(
    evaluation: Evaluation, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    alone = evaluate_rows(
        tiny_model,
        tiny_tokenizer,
        ROWS,
        metrics=[name],
        template=TEMPLATE,
        max_new_tokens=NEW_TOKENS,
        batch_tokens=64,
    )
    np.testing.assert_allclose(alone.table[name], evaluation.table[name], rtol=1e-4, atol=1e-6)


def test_only_the_passes_that_are_needed_are_run(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    calls: list[int] = []
    handle = tiny_model.register_forward_hook(lambda *_: calls.append(1))

    def run(*metrics: str) -> Evaluation:
        calls.clear()
        found = evaluate_rows(
            tiny_model, tiny_tokenizer, ROWS, metrics=metrics, template=TEMPLATE, max_new_tokens=NEW_TOKENS
        )
        assert found.forward_passes == len(calls)
        return found

    try:
        likelihood = run("probability", "extraction_strength", "exact_memorization")
        assert likelihood.forward_passes == 1, "all answers fit one batch"
        assert likelihood.generated_tokens == 0
        assert "generation" not in likelihood.table.columns
        assert run("truth_ratio").forward_passes == 2, "prompts, then all answers behind them"
        generated = run("rouge")
        assert generated.forward_passes == NEW_TOKENS, "no teacher-forced pass"
        assert "probability" not in generated.table.columns
    finally:
        handle.remove()


def test_model_utility_stands_for_its_components(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(
        tiny_model, tiny_tokenizer, ROWS[:2], metrics=["model_utility"], template=TEMPLATE, max_new_tokens=2
    )
    assert {"probability", "normalised_probability", "rouge", "truth_ratio", "log_truth_ratio"} <= set(found.table)
    assert "model_utility" not in found.table


def test_every_row_metric_of_the_catalog_can_be_computed() -> None:
    assert set(ROW_METRICS) == set(METRICS) - set(COMPONENTS)


def test_a_prompt_edit_changes_what_is_asked_and_drops_rows(
    evaluation: Evaluation, plain: Plain, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    opening = tuple(tiny_tokenizer.encode("Sure: ", add_special_tokens=False))

    def edit(example: Example) -> Example | None:
        return None if example.row_id == "r1" else replace(example, prompt_ids=opening + example.prompt_ids)

    found = evaluate_rows(
        tiny_model,
        tiny_tokenizer,
        ROWS,
        metrics=["probability", "rouge", "truth_ratio"],
        template=TEMPLATE,
        max_new_tokens=NEW_TOKENS,
        prompt_edit=edit,
    )
    assert found.table["row_id"].tolist() == ["r0", "r2", "r3", "r4", "r5"]
    assert found.dropped == {"dropped by the prompt edit": 1}
    example = plain.example(ROWS[4], ROWS[4].answer)
    edited = replace(example, prompt_ids=opening + example.prompt_ids)
    expected = functional.cross_entropy(plain.logits(edited), torch.tensor(example.answer_ids)).item()
    assert column(found, "probability")[3] == pytest.approx(math.exp(-expected), rel=1e-4)
    assert column(found, "probability")[3] != pytest.approx(column(evaluation, "probability")[4], rel=1e-3)


def test_a_gold_prefill_is_scored_on_the_rest_only(
    plain: Plain, tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def prefill(example: Example) -> Example:
        return replace(
            example, prompt_ids=example.prompt_ids + example.answer_ids[:3], answer_ids=example.answer_ids[3:]
        )

    found = evaluate_rows(
        tiny_model,
        tiny_tokenizer,
        ROWS[1:2],
        metrics=["probability", "exact_memorization"],
        template=TEMPLATE,
        max_new_tokens=2,
        prompt_edit=prefill,
    )
    example = plain.example(ROWS[1], ROWS[1].answer)
    rest = torch.tensor(example.answer_ids[3:])
    nll = functional.cross_entropy(plain.logits(example)[3:], rest).item()
    assert column(found, "probability")[0] == pytest.approx(math.exp(-nll), rel=1e-4)
    assert column(found, "answer_tokens")[0] == len(rest)
    assert column(found, "exact_memorization")[0] == pytest.approx(np.mean(plain.correct(ROWS[1])[3:]))


def test_a_prompt_without_room_to_answer_has_likelihood_but_no_generation(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(
        tiny_model, tiny_tokenizer, ROWS[:2], metrics=["probability", "rouge"], template=TEMPLATE, max_new_tokens=120
    )
    assert found.missing == {"rouge": 2}
    assert found.generated_tokens == 0
    assert found.table["generation"].isna().tolist() == [True, True]
    assert found.table["probability"].between(0, 1).all()


def test_no_rows_give_an_empty_table_with_its_columns(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(
        tiny_model, tiny_tokenizer, [], metrics=["probability", "rouge"], template=TEMPLATE, max_new_tokens=3
    )
    assert found.table.empty
    assert {"row_id", "probability", "rouge", "generation"} <= set(found.table)
    assert (found.forward_passes, found.generated_tokens) == (0, 0)


def test_tables_survive_parquet(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.table.to_parquet(tmp_path / "rows.parquet", index=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "rows.parquet"), evaluation.table)


def test_an_unknown_metric_is_named_with_the_nearest(
    tiny_model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'rogue'.*did you mean 'rouge'"):
        evaluate_rows(tiny_model, tiny_tokenizer, ROWS, metrics=["rogue"], template=TEMPLATE, max_new_tokens=3)


def test_a_diverged_model_is_an_error_and_no_table(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = tiny_models.llama()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(NonFiniteLogits):
        evaluate_rows(model, tiny_tokenizer, ROWS, metrics=["probability"], template=TEMPLATE, max_new_tokens=3)


@pytest.mark.skipif(not TOFU.exists(), reason="the TOFU files are not beside the project")
def test_real_tofu_rows_with_alternatives(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Answers of some 60 byte-level tokens, five perturbed answers each: the mean truth ratio against the formula."""
    model = tiny_models.llama()
    model.config.max_position_embeddings = 1024
    plain = Plain(model, tiny_tokenizer)
    lines = [json.loads(line) for line in TOFU.read_text().splitlines()[:3]]
    rows = [
        Row(
            row_id=str(number),
            group_id=str(number),
            split="forget",
            question=line["question"],
            answer=line["answer"],
            paraphrased_answer=line["paraphrased_answer"],
            perturbed_answers=tuple(line["perturbed_answer"]),
        )
        for number, line in enumerate(lines)
    ]
    found = evaluate_rows(model, tiny_tokenizer, rows, metrics=["truth_ratio"], template=TEMPLATE, max_new_tokens=1)
    expected = []
    for row in rows:
        wrong = np.mean([plain.nll(row, answer) for answer in row.perturbed_answers])
        expected.append(1 / (1 + math.exp(plain.nll(row, str(row.paraphrased_answer)) - wrong)))
    assert np.mean(column(found, "truth_ratio")) == pytest.approx(np.mean(expected), rel=1e-4)
