"""Probe sampling. Oracles: scipy's rank correlation, a hand-counted choice, and a truncated copy of the model."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from scipy import stats
from transformers import LlamaForCausalLM

from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.forget_halves import different_facts, forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.gcg import answer_search
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.attacks.probe_sampling import ProbeSampling, agreement, first_blocks
from unlearn_sweep.evaluators.joint_tokens import Ids

TEXTS = [(number,) for number in range(64)]


@pytest.mark.parametrize("ties", [False, True])
def test_agreement_is_spearmans_correlation_laid_between_0_and_1(ties: bool) -> None:
    correlation: Any = stats.spearmanr
    draw = random.Random(3)
    for _ in range(20):
        one, other = ([float(draw.randrange(4 if ties else 10**9)) for _ in range(9)] for _ in range(2))
        assert agreement(one, other) == pytest.approx((1 + correlation(one, other).statistic) / 2)


@pytest.mark.parametrize("values", [([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0]), ([1.0, math.nan], [1.0, 2.0])])
def test_what_cannot_be_ranked_counts_as_no_agreement(values: tuple[list[float], list[float]]) -> None:
    assert agreement(*values) == 0.0


@pytest.mark.parametrize(("sign", "filtered"), [(1, 1), (-1, 8)])
def test_the_better_the_draft_agrees_the_fewer_candidates_are_scored(sign: int, filtered: int) -> None:
    """64 candidates: 4 probes; at full agreement 1 filtered candidate, at none 64 / 8, those of the draft's best."""
    asked: list[Ids] = []

    def losses(texts: Sequence[Ids]) -> list[float]:
        asked.extend(texts)
        return [float(text[0]) for text in texts]

    sampling = ProbeSampling(draft=lambda texts: [sign * float(text[0]) for text in texts])
    found = sampling.scored(TEXTS, losses, torch.Generator().manual_seed(0))
    best = TEXTS[:filtered] if sign == 1 else TEXTS[-filtered:]
    assert set(asked[4:]) == set(best) - set(asked[:4])
    assert found == [(float(text[0]), text) for text in asked]
    assert len(set(asked)) == len(asked)


def test_a_draft_is_the_first_blocks_on_the_same_weights(original: LlamaForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 13, 40]])
    whole = original(ids, output_hidden_states=True)
    draft = first_blocks(original, 1)
    expected = original.lm_head(original.model.norm(whole.hidden_states[1]))
    torch.testing.assert_close(draft(ids).logits, expected)
    torch.testing.assert_close(original(ids).logits, whole.logits)
    assert {id(weight) for weight in draft.parameters()} <= {id(weight) for weight in original.parameters()}


def test_a_draft_has_fewer_blocks_than_the_model(original: LlamaForCausalLM) -> None:
    with pytest.raises(AttackError, match="draft_blocks"):
        first_blocks(original, original.config.num_hidden_layers)


def test_a_search_scores_fewer_candidates_and_keeps_their_own_losses(target: Target) -> None:
    rows = different_facts(seen_rows(target.benchmark, forget_halves(target.benchmark)), 1, seed=0)
    given = {"suffix_tokens": 4, "search_width": 64, "prompts": 1, "top_k": 32}
    plain = answer_search(target, GcgParams.model_validate(given), rows)
    probing = answer_search(target, GcgParams.model_validate({**given, "draft_blocks": 1}), rows)
    for _ in range(3):
        plain.step()
        probing.step()
    assert probing.scored < plain.scored / 2
    assert probing.best.loss < probing.first.loss
    assert probing.loss_of_text(probing.text()) == pytest.approx(probing.best.loss, abs=1e-4)
