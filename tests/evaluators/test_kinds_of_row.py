"""Passages, texts and choices beside questions. Oracles: plain forwards one by one, and a count of every model call."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.answering import cut_at
from unlearn_sweep.evaluators.benchmarks.passages import continuation_row, document_row
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.floor import at_chance
from unlearn_sweep.evaluators.gradient_norm import gradient_norms
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.membership import min_k, min_k_plus_plus, zlib_score
from unlearn_sweep.evaluators.memorization import exact_memorization, extraction_strength
from unlearn_sweep.evaluators.multiple_choice import choice_accuracy, choice_mass, choice_probability, choice_row
from unlearn_sweep.evaluators.rouge import rouge_l
from unlearn_sweep.evaluators.rows import DOCUMENT, PASSAGE, Example, Row, Template, encode, encode_many

TEXT = "The tin harbour was silted and the pilots of the harbour were paid in salt by the council."
SHORT = Template(before="Q ", after=" A", max_new_tokens=3)


def kept(row: Row | None) -> Row:
    assert row is not None
    return row


CHOICE = choice_row(
    row_id="choice", group_id="c", split="forget", question="Which pier?", options=["north", "south", "east"], right=1
)
PASSAGE_ROW = kept(continuation_row("passage", "forget", TEXT))
TEXT_ROW = document_row("text", "forget", TEXT)
QUESTION = Row(
    row_id="question", group_id="q", split="forget", question="Who?", answer="Basil", template=SHORT,
    paraphrased_answer="It was Basil", perturbed_answers=("Anna", "Ben"),
)  # fmt: skip
ROWS = [CHOICE, PASSAGE_ROW, TEXT_ROW, QUESTION]
ROW_METRICS = [
    "probability", "extraction_strength", "extraction_strength_ou", "exact_memorization_ou", "mia_loss", "mia_zlib",
    "mia_min_k", "mia_min_k_plus_plus", "mia_gradnorm", "verbmem", "knowmem", "rouge", "rouge_unstemmed", "truth_ratio",
    "choice_accuracy", "choice_probability", "choice_mass", "ngram_entropy", "answer_contained",
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny_models.llama().eval()


class Calls:
    """Counts forward calls of a model while it is open."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self.count = 0
        self.handle = model.register_forward_pre_hook(self._seen)

    def _seen(self, *_: Any) -> None:
        self.count += 1

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def logits(model: LlamaForCausalLM, example: Example) -> torch.Tensor:
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
    with torch.no_grad():
        return model(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]


def test_every_value_is_that_of_plain_forwards(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(model, tiny_tokenizer, ROWS, metrics=ROW_METRICS, template=Template(), max_new_tokens=5)
    table = found.table.set_index("row_id")
    for row in (PASSAGE_ROW, TEXT_ROW, QUESTION):
        example = encode(tiny_tokenizer, row.row_id, row.question, row.answer, row.template or Template())
        plain = logits(model, example).log_softmax(-1)
        labels = torch.tensor(example.answer_ids)
        logp = plain.gather(1, labels[:, None])[:, 0].numpy()
        mine = table.loc[row.row_id]
        assert mine["mia_loss"] == pytest.approx(-logp.mean(), rel=1e-4)
        assert mine["probability"] == pytest.approx(math.exp(logp.mean()), rel=1e-3)
        assert mine["mia_zlib"] == pytest.approx(zlib_score(float(-logp.mean()), row.answer), rel=1e-4)
        assert mine["mia_min_k"] == pytest.approx(min_k(logp), rel=1e-4)
        mean = (plain.exp() * plain).sum(-1)
        spread = (plain.exp() * plain.square()).sum(-1) - mean.square()
        assert mine["mia_min_k_plus_plus"] == pytest.approx(
            min_k_plus_plus(logp, mean.numpy(), spread.numpy()), rel=1e-3
        )
        correct = (plain.argmax(-1) == labels).numpy()
        assert mine["exact_memorization_ou"] == pytest.approx(exact_memorization(correct[:-1]))
        assert mine["extraction_strength_ou"] == pytest.approx(
            extraction_strength(correct[:-1], floor="open_unlearning")
        )
    for name in ROW_METRICS:
        applies = table["kind"].isin(METRICS[name].kinds)
        assert table.loc[~applies, name].isna().all(), f"{name} is not for these kinds"


def test_letters_are_compared_by_their_likelihood(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    wanted = ["choice_accuracy", "choice_probability", "choice_mass"]
    found = evaluate_rows(model, tiny_tokenizer, [CHOICE], metrics=wanted, template=Template(), max_new_tokens=5)
    logps = []
    for letter in CHOICE.choices:
        example = encode(tiny_tokenizer, "x", CHOICE.question, letter, CHOICE.template or Template())
        labels = torch.tensor(example.answer_ids)
        logps.append(-float(functional.cross_entropy(logits(model, example), labels, reduction="sum")))
    row = found.table.iloc[0]
    assert row["choice_accuracy"] == float(int(np.argmax(logps)) == 1)
    assert row["choice_probability"] == pytest.approx(np.exp(logps[1]) / np.exp(logps).sum(), rel=1e-3)
    assert row["choice_mass"] == pytest.approx(np.exp(logps).sum(), rel=1e-3)


def test_letters_of_one_token_cost_one_forward(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """All letters of all questions are read off the same pass over the prompts."""
    letters = {len(tiny_tokenizer.encode(f" {letter}", add_special_tokens=False)) for letter in "ABC"}
    rows = [replace(CHOICE, row_id=str(i), question=f"{CHOICE.question} {i}") for i in range(5)]
    with Calls(model) as calls:
        found = evaluate_rows(
            model, tiny_tokenizer, rows, metrics=["choice_accuracy"], template=Template(), max_new_tokens=5
        )
    assert calls.count == found.forward_passes == (1 if letters == {1} else 2)


def test_one_pass_gives_all_likelihood_metrics_and_one_all_of_generation(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    def passes(metrics: list[str]) -> int:
        with Calls(model) as calls:
            found = evaluate_rows(model, tiny_tokenizer, ROWS, metrics=metrics, template=Template(), max_new_tokens=5)
        assert calls.count == found.forward_passes
        return calls.count

    assert passes(["probability"]) == passes([m for m in ROW_METRICS if METRICS[m].needs in ("likelihood", "moments")])
    generating = [name for name in ROW_METRICS if METRICS[name].needs == "generation"]
    assert passes(["rouge"]) == passes(generating)


def test_rows_that_no_metric_is_for_are_not_asked(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(model, tiny_tokenizer, ROWS, metrics=["verbmem"], template=Template(), max_new_tokens=5)
    assert found.table["row_id"].tolist() == ["passage"]
    none = evaluate_rows(model, tiny_tokenizer, [CHOICE], metrics=["rouge"], template=Template(), max_new_tokens=5)
    assert (len(none.table), none.forward_passes) == (0, 0)


def test_a_template_of_its_own_limits_and_ends_the_answer(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(model, tiny_tokenizer, ROWS, metrics=["rouge"], template=Template(), max_new_tokens=5)
    lengths = dict(zip(found.table["row_id"].tolist(), found.table["generation_tokens"].tolist(), strict=True))
    assert lengths["question"] <= 3, "the row's template says 3"
    assert lengths["passage"] <= 5


def test_a_passage_is_held_against_as_much_of_it_as_may_be_written(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    template = replace(PASSAGE, max_new_tokens=4)
    row = replace(PASSAGE_ROW, template=template)
    found = evaluate_rows(model, tiny_tokenizer, [row], metrics=["verbmem"], template=Template(), max_new_tokens=50)
    example = encode(tiny_tokenizer, "x", row.question, row.answer, template)
    reference = str(tiny_tokenizer.decode(list(example.answer_ids[:4]))).strip()
    assert len(reference) < len(row.answer)
    generation = found.table["generation"].iloc[0]
    assert found.table["verbmem"].iloc[0] == pytest.approx(rouge_l(reference, generation, stemmer=False).f1)


@pytest.mark.parametrize(
    ("text", "cut"),
    [("\n\nBasil\n\nQuestion: next", "Basil"), ("Basil Question: x", "Basil "), ("Basil", "Basil"), ("\n", "\n")],
)
def test_an_answer_ends_at_the_first_stop(text: str, cut: str) -> None:
    assert cut_at(text, ("\n\n", "\nQuestion", "Question:")) == cut


def test_a_document_begins_behind_the_begin_or_end_token(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    plain = encode(tiny_tokenizer, "x", "", TEXT, DOCUMENT)
    (first,) = plain.prompt_ids
    assert first in (tiny_tokenizer.bos_token_id, tiny_tokenizer.eos_token_id)
    assert tiny_tokenizer.decode(list(plain.answer_ids)) == TEXT
    assert plain.answer_ids[-1] != tiny_tokenizer.eos_token_id, "a cut text does not end"
    assert encode_many(tiny_tokenizer, [("x", "", TEXT)], DOCUMENT) == [plain]


# --- pure parts -------------------------------------------------------------------------------------------------------


def test_choice_numbers_by_hand() -> None:
    logps = [math.log(0.2), math.log(0.3), math.log(0.1)]
    assert [choice_accuracy(logps, right) for right in range(3)] == [0.0, 1.0, 0.0]
    assert choice_probability(logps, 1) == pytest.approx(0.5)
    assert choice_mass(logps) == pytest.approx(0.6)
    assert choice_accuracy([-1.0, -1.0], 0) == 1.0, "a tie goes to the first, as in lm-evaluation-harness"
    assert choice_probability([-2000.0, -2001.0], 0) == pytest.approx(1 / (1 + math.exp(-1))), "nothing underflows"
    assert math.isnan(choice_accuracy([], 0))
    assert math.isnan(choice_probability([math.nan, -1.0], 1))


def test_open_unlearnings_floor_beside_ours() -> None:
    """Five wrong tokens: 0 for us; open-unlearning never looks beyond the last one and gives 1/5."""
    wrong = np.zeros(5, dtype=bool)
    assert extraction_strength(wrong) == 0.0
    assert extraction_strength(wrong, floor="open_unlearning") == pytest.approx(0.2)


def test_the_gradient_norm_is_autograds(model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    example = encode(tiny_tokenizer, "x", QUESTION.question, QUESTION.answer, SHORT)
    before = [parameter.requires_grad for parameter in model.parameters()]
    (whole,) = gradient_norms(model, [example])
    (theirs,) = gradient_norms(model, [example], form="open_unlearning")
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert all(parameter.grad is None for parameter in model.parameters()), "no gradient is left behind"
    twin = tiny_models.llama().eval()
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
    kept_logits = twin(input_ids=ids).logits[0, len(example.prompt_ids) - 1 : -1]
    functional.cross_entropy(kept_logits, torch.tensor(example.answer_ids)).backward()
    norms = torch.stack([p.grad.norm() for p in twin.parameters() if p.grad is not None])
    assert whole == pytest.approx(float(norms.square().sum().sqrt()), rel=1e-4)
    assert theirs == pytest.approx(float(norms.mean()), rel=1e-4)


def test_a_text_learnt_by_heart_has_a_small_norm(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    twin = tiny_models.llama()
    example, other = (encode(tiny_tokenizer, "x", "", text, DOCUMENT) for text in (TEXT, "Salt was paid to no one."))
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-2)
    ids, labels = torch.tensor([[*example.prompt_ids, *example.answer_ids]]), torch.tensor(example.answer_ids)
    for _ in range(80):
        functional.cross_entropy(twin(input_ids=ids).logits[0, :-1], labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    known, unknown = gradient_norms(twin, [example, other])
    assert 10 * known < unknown
    scores = score(twin.eval(), [example, other], pad_id=2).scores
    assert min_k(scores[0].logp) < min_k(scores[1].logp)


def test_at_chance_everything_but_what_has_no_chance(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    found = evaluate_rows(model, tiny_tokenizer, ROWS, metrics=ROW_METRICS, template=Template(), max_new_tokens=5).table
    floor = at_chance(found)
    for name in ROW_METRICS:
        known = found[name].notna()
        at_chance_level = found.loc[known, "chance"] if METRICS[name].chance_by_row else METRICS[name].chance
        expected = at_chance_level if METRICS[name].has_floor else math.nan
        np.testing.assert_array_equal(floor.loc[known, name], expected)
        assert floor.loc[~known, name].isna().all()
    assert floor["choice_accuracy"].dropna().tolist() == [pytest.approx(1 / 3)], "three choices"
    assert floor["row_id"].tolist() == found["row_id"].tolist()
    assert floor.loc[floor["truth_ratio"].notna(), "log_truth_ratio"].tolist() == [0.0]
