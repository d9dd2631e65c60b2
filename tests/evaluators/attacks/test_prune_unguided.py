"""Pruning by magnitude and by Wanda. Oracles: sorting by hand, inputs read by hand, and figures of the released code.

The figures are those of `prune_magnitude` and `prune_wanda` of Sun et al., run on this model and these texts (commit:
docs/comparison.md). By Wanda the same weights are zeroed, by magnitude one weight a matrix more.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import LlamaConfig, LlamaForCausalLM

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import build, validate
from unlearn_sweep.evaluators.attacks.prune_unguided import (
    block_matrices,
    prune_by_magnitude,
    prune_by_wanda,
    smallest_share,
    wanda_share,
)
from unlearn_sweep.evaluators.rows import Example


def small_model() -> LlamaForCausalLM:
    sizes: dict[str, Any] = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        made = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes, **heads)).eval()
        for weight in made.parameters():
            if weight.dim() == 2:
                weight.copy_(torch.randn(weight.shape) * 0.2)
    return made


def small_examples() -> list[Example]:
    drawn = torch.Generator().manual_seed(1)
    texts = [torch.randint(0, 40, (1, 16), generator=drawn)[0].tolist() for _ in range(10)]
    return [
        Example(row_id=str(place), prompt_ids=tuple(ids[:10]), answer_ids=tuple(ids[10:]))
        for place, ids in enumerate(texts)
    ]


def zeroed(model: LlamaForCausalLM) -> list[torch.Tensor]:
    return [model.get_parameter(matrix.name) == 0 for block in block_matrices(model) for matrix in block]


@pytest.mark.parametrize(
    ("percent", "count", "logits"), [(10, 1200, 433.0), (30, 4056, 446.5547), (50, 6912, 460.0523)]
)
def test_wanda_is_that_of_the_released_code(percent: float, count: int, logits: float) -> None:
    model, examples = small_model(), small_examples()
    assert prune_by_wanda(model, examples, percent) == (count, 13824)
    assert sum(int(mask.sum()) for mask in zeroed(model)) == count
    ids = torch.tensor([[*examples[0].prompt_ids, *examples[0].answer_ids]])
    with torch.no_grad():
        assert model(ids).logits.abs().sum().item() == pytest.approx(logits, abs=2e-3)


@pytest.mark.parametrize(("percent", "released"), [(10, 1395), (30, 4161), (50, 6933)])
def test_magnitude_is_that_of_the_released_code_but_for_the_weight_at_the_threshold(
    percent: float, released: int
) -> None:
    model, before = small_model(), small_model()
    assert prune_by_magnitude(model, percent) == (released - 21, 13824)
    for matrix in (matrix for block in block_matrices(before) for matrix in block):
        weight, left = before.get_parameter(matrix.name).abs(), model.get_parameter(matrix.name)
        cut = weight[left == 0]
        assert cut.max() <= weight[left != 0].min()
        assert torch.equal(left[left != 0], before.get_parameter(matrix.name)[left != 0])


def test_wanda_by_hand_on_the_first_block() -> None:
    """Each output keeps the weights with the highest |w| times the norm of the input that the dense model gives."""
    model, dense, examples = small_model(), small_model(), small_examples()
    seen: list[torch.Tensor] = []
    name = "model.layers.0.self_attn.q_proj"
    projection, weights = dense.get_submodule(name), dense.get_parameter(f"{name}.weight")
    hook = projection.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    with torch.no_grad():
        for example in examples:
            dense(torch.tensor([[*example.prompt_ids, *example.answer_ids]]))
    hook.remove()
    norm = torch.cat(seen).norm(dim=0)
    prune_by_wanda(model, examples, 25)
    left = model.get_parameter(f"{name}.weight")
    for output in range(24):
        scores = [(abs(weight) * norm[place]).item() for place, weight in enumerate(weights[output].tolist())]
        order = sorted(range(24), key=lambda place, scores=scores: scores[place])
        assert set(order[:6]) == {place for place in range(24) if left[output, place] == 0}


def test_shares_cut_the_count() -> None:
    weight = torch.tensor([[0.1, -3.0, 0.2, 2.0, -0.3], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert smallest_share(weight, 29).nonzero().tolist() == [[0, 0], [0, 2]]
    energy = torch.tensor([100.0, 0.0, 1.0, 1.0, 1.0])
    assert wanda_share(weight, energy, 59).nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


@pytest.mark.parametrize("by", ["magnitude", "wanda"])
def test_each_state_starts_from_the_targets_own_weights_and_scores_all_facts(target: Target, by: str) -> None:
    before = copy.deepcopy(target.model)
    shares = []
    for state in build("prune", {"by": by, "percent": [0.0, 20.0, 40.0], "samples": 4}).run(target):
        assert state.scored_groups is None
        assert state.notes is not None
        shares.append(state.notes["share_of_linear_weights_zeroed"])
        assert same_weights(state.model, target.model) is (state.strength == 0)
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.2, abs=0.03)
    assert shares[2] == pytest.approx(0.4, abs=0.03)
    assert same_weights(before, target.model)


def test_wrong_shares_are_refused_and_facts_are_needed_for_set_difference_alone() -> None:
    with pytest.raises(ValidationError, match="percent must strictly rise"):
        validate("prune", {"by": "wanda", "percent": [20.0, 10.0]})
    wanted = {by: validate("prune", {"by": by}).forget_facts for by in ("set_difference", "magnitude", "wanda")}
    assert wanted == {"set_difference": 1, "magnitude": 0, "wanda": 0}
