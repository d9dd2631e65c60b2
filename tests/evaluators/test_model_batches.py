"""Batches computed by copies of a model, out of order. Oracle: the same call without copies, equal to the bit."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS
from unlearn_sweep.evaluators.evaluate import Evaluation, evaluate_rows
from unlearn_sweep.evaluators.inference import measuring
from unlearn_sweep.evaluators.likelihood import NonFiniteLogits, score
from unlearn_sweep.evaluators.model_batches import ModelBatch, Result, copied, run_batches
from unlearn_sweep.evaluators.nucleus import Nucleus
from unlearn_sweep.evaluators.rows import Example, Kind, Row, Template
from unlearn_sweep.evaluators.sampled_answers import Sampling

ASKING = ("judge", "comparison", "entailment", "gibberish")
EVERY = [name for name, card in METRICS.items() if name not in COMPONENTS and card.needs not in ASKING]


@dataclass
class Elsewhere:
    """Copies that get each batch as bytes, in any order, and send its result back as bytes."""

    models: list[PreTrainedModel]
    seed: int
    batches: int = 0
    kinds: set[str] = field(default_factory=set)

    def run(self, model: PreTrainedModel, batches: Sequence[ModelBatch[Result]]) -> list[Result]:
        draw = random.Random(self.seed)
        order = draw.sample(range(len(batches)), len(batches))
        found: dict[int, Result] = {}
        for place in order:
            owner = draw.choice([model, *self.models])
            with measuring(owner):
                batch = pickle.loads(pickle.dumps(batches[place]))
                found[place] = pickle.loads(pickle.dumps(batch.run(owner)))
            self.batches += 1
            self.kinds.add(type(batch).__name__)
        return [found[place] for place in range(len(batches))]


def make_rows(count: int) -> list[Row]:
    """Questions with and without alternatives, running text, and choices."""
    people = ["Basil Kuwaiti", "Anna Oslo", "Ben Dakar", "Carla Accra de la Fuente", "Dan Bergen", "Eve Havana"]
    kinds: tuple[Kind, ...] = ("question", "question", "choice", "continuation")
    rows = []
    for number in range(count):
        name, kind = people[number % 6], kinds[number % 4]
        choices = ("A", "B", "C", "D") if kind == "choice" else ()
        rows.append(
            Row(
                row_id=f"r{number}",
                group_id=f"g{number // 2}",
                split="forget" if number % 3 else "retain",
                question=f"Who wrote volume {number}{' of the Tin Harbour' * (number % 3)}?",
                answer=choices[number % 4] if choices else name,
                kind=kind,
                form="held_out" if number % 2 else "trained",
                choices=choices,
                paraphrased_answer=f"It was {name}" if kind == "question" else None,
                perturbed_answers=tuple(people[: number % 4]) if kind == "question" else (),
            )
        )
    return rows


def measured(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row], sampling: Sampling | None = None
) -> Evaluation:
    return evaluate_rows(
        model,
        tokenizer,
        rows,
        metrics=EVERY,
        template=Template(),
        max_new_tokens=5,
        batch_tokens=96,
        sampling=sampling,
    )


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return tiny_models.llama().eval()


@given(seed=st.integers(0, 2**31), copies=st.integers(1, 4), count=st.integers(1, 17), sampled=st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_metric_of_every_kind_of_row_is_equal_to_the_bit(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast, seed: int, copies: int, count: int, sampled: bool
) -> None:
    rows = make_rows(count)
    nucleus = Nucleus(temperature=1.0, top_p=0.9)
    samplings = [Sampling(draws=3, best_of=2, nucleus=nucleus, seed=1) if sampled else None for _ in range(2)]
    alone = measured(model, tiny_tokenizer, rows, samplings[0])
    elsewhere = Elsewhere([copy.deepcopy(model) for _ in range(copies)], seed)
    with copied(model, elsewhere):
        shared = measured(model, tiny_tokenizer, rows, samplings[1])
    pd.testing.assert_frame_equal(shared.table, alone.table, check_exact=True)
    assert shared.forward_passes == alone.forward_passes
    assert shared.generated_tokens == alone.generated_tokens
    assert (shared.dropped, shared.missing) == (alone.dropped, alone.missing)


def test_copies_compute_batches_of_all_three_sorts(
    model: LlamaForCausalLM, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    elsewhere = Elsewhere([copy.deepcopy(model)], 3)
    with copied(model, elsewhere):
        table = measured(model, tiny_tokenizer, make_rows(16)).table
    assert elsewhere.kinds == {"_ScoringBatch", "WritingBatch", "_GradientBatch"}
    assert elsewhere.batches > 10
    assert len(table.dropna(subset=["choice_probability"])) == 4
    assert len(table.dropna(subset=["generation"])) == 12


def test_a_batch_carries_ids_and_no_texts(tiny_tokenizer: PreTrainedTokenizerFast, model: LlamaForCausalLM) -> None:
    """The text of a question is not needed to score its ids, and rows may be large."""

    class Looking(Elsewhere):
        def run(self, model: PreTrainedModel, batches: Sequence[ModelBatch[Result]]) -> list[Result]:
            assert not [batch for batch in batches if b"Tin Harbour" in pickle.dumps(batch)]
            return super().run(model, batches)

    with copied(model, Looking([copy.deepcopy(model)], 0)):
        measured(model, tiny_tokenizer, make_rows(8))


def examples() -> list[Example]:
    return [Example(row_id=f"r{n}", prompt_ids=(3, 4 + n), answer_ids=(5, 6 + n, 7)) for n in range(9)]


def test_a_model_that_changed_since_it_was_copied_computes_alone() -> None:
    model = tiny_models.llama().eval()
    elsewhere = Elsewhere([copy.deepcopy(model)], 0)
    with copied(model, elsewhere):
        with torch.no_grad():
            model.lm_head.weight[0].mul_(1.5)
        changed = score(model, examples(), pad_id=2, batch_tokens=16).scores
    assert elsewhere.batches == 0
    assert np.array_equal(changed[0].logp, score(model, examples(), pad_id=2, batch_tokens=16).scores[0].logp)
    with copied(model, elsewhere):
        hook = model.model.layers[0].register_forward_hook(lambda *_: None)
        score(model, examples(), pad_id=2, batch_tokens=16)
        assert elsewhere.batches == 0
        hook.remove()
        score(model, examples(), pad_id=2, batch_tokens=16)
    assert elsewhere.batches > 1


def test_copies_serve_a_model_within_the_block_only() -> None:
    model = tiny_models.llama().eval()
    outer, inner = Elsewhere([], 0), Elsewhere([], 0)
    with copied(model, outer):
        with copied(model, inner):
            score(model, examples(), pad_id=2, batch_tokens=16)
        assert (outer.batches, inner.batches) == (0, 3)
        score(model, examples(), pad_id=2, batch_tokens=16)
    score(model, examples(), pad_id=2, batch_tokens=16)
    assert (outer.batches, inner.batches) == (3, 3)
    assert not model.training


def test_a_broken_model_is_refused_with_the_rows_of_all_batches() -> None:
    model = tiny_models.llama().eval()
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with copied(model, Elsewhere([copy.deepcopy(model)], 1)), pytest.raises(NonFiniteLogits) as alone:
        score(model, examples(), pad_id=2, batch_tokens=16)
    assert alone.value.row_ids == tuple(f"r{n}" for n in range(9))


def test_no_batch_is_no_result(model: LlamaForCausalLM) -> None:
    assert run_batches(model, []) == []
