"""The attacker's loop against a plain AdamW loop, and its schedule, batches, LoRA and narrow weights."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaForCausalLM

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.answer_likelihood import collate, encode_rows, token_nll
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.short_training import (
    MasterAdamW,
    draw_batches,
    private_copy,
    train_copy,
    warmup_factor,
)
from unlearn_sweep.evaluators.attacks.training_params import TrainingParams
from unlearn_sweep.evaluators.rows import Example


def examples_of(target: Target) -> list[Example]:
    return encode_rows(target.tokenizer, target.benchmark.train["forget"], target.benchmark.template)


@pytest.mark.parametrize(("fused", "apart"), [(True, 0.0), (False, 1e-6)])
def test_equals_a_plain_adamw_loop(target: Target, fused: bool, apart: float) -> None:
    """Oracle: torch's AdamW, to the bit with the kernel that is used here, to rounding with its loop over tensors."""
    params = TrainingParams(steps=[2, 5], learning_rate=1e-3, batch_size=3, weight_decay=0.1, warmup=False)
    examples = examples_of(target)
    ours = list(train_copy(target.model, examples, params, seed=3))[-1].model
    plain = copy.deepcopy(target.model)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.1, fused=fused)
    for chosen in islice(draw_batches(len(examples), 3, 3), 5):
        token_nll(plain, collate([examples[i] for i in chosen], torch.device("cpu"))).mean().backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    for own, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=apart)


def test_the_curve_is_one_run(target: Target) -> None:
    def last(steps: list[int]) -> LlamaForCausalLM:
        params = TrainingParams(steps=steps, learning_rate=1e-3)
        return list(train_copy(target.model, examples_of(target), params, seed=1))[-1].model  # type: ignore[return-value]

    assert same_weights(last([6]), last([1, 3, 6]))
    assert not same_weights(last([6]), last([5]))


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("change", [{"steps": 0}, {"steps": 3, "learning_rate": 0.0}])
def test_no_steps_or_no_rate_gives_the_same_weights(target: Target, lora_rank: int, change: dict[str, float]) -> None:
    params = TrainingParams.model_validate({"lora_rank": lora_rank, **change})
    (state,) = train_copy(target.model, examples_of(target), params, seed=0)
    assert same_weights(state.model, target.model)


def test_lora_states_are_ordinary_models_of_low_rank_change(target: Target) -> None:
    params, name = TrainingParams(steps=[1, 4], learning_rate=1e-2, lora_rank=2), "model.layers.0.mlp.down_proj.weight"
    weights = []
    for state in train_copy(target.model, examples_of(target), params, seed=0):
        assert dict(state.model.named_parameters()).keys() == dict(target.model.named_parameters()).keys()
        change = state.model.get_parameter(name) - target.model.get_parameter(name)
        assert int(torch.linalg.matrix_rank(change, atol=1e-5)) in (1, 2)
        assert torch.equal(state.model.lm_head.weight, target.model.lm_head.weight)
        weights.append({name: weight.clone() for name, weight in state.model.state_dict().items()})
    assert not torch.equal(weights[0][name], weights[1][name])


def test_narrow_weights_move_by_updates_too_small_for_them() -> None:
    """Oracle: the same steps in fp32, rounded at the end; plain bf16 AdamW would not move at all."""
    wide, narrow = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(wide.weight)
    nn.init.ones_(narrow.weight)
    for model in (wide, narrow):
        optimizer = MasterAdamW(model, weight_decay=0.0)
        for _ in range(40):
            model(torch.ones(1, 4, dtype=model.weight.dtype)).sum().backward()
            optimizer.step(1e-3)
    assert torch.equal(narrow.weight, wide.weight.bfloat16())
    assert (narrow.weight < 1).all()
    naive = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW([naive], lr=1e-3, weight_decay=0.0)
    for _ in range(40):
        naive.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(naive, torch.ones(4, dtype=torch.bfloat16))


def test_gradients_are_clipped_to_norm_one() -> None:
    layer = nn.Linear(3, 1, bias=False)
    layer(torch.full((1, 3), 100.0)).sum().backward()
    assert MasterAdamW(layer, weight_decay=0.0).step(0.0) == pytest.approx(100 * 3**0.5, rel=1e-5)
    assert layer.weight.grad is None


def test_a_diverging_run_stops_with_a_reason(target: Target) -> None:
    broken = copy.deepcopy(target.model)
    with torch.no_grad():
        broken.get_parameter("lm_head.weight").fill_(float("inf"))
    with pytest.raises(AttackError, match=r"training diverged: loss nan.*lower learning_rate"):
        list(train_copy(broken, examples_of(target), TrainingParams(steps=1), seed=0))


def test_nothing_to_train_on_is_an_error(target: Target) -> None:
    with pytest.raises(AttackError, match="no rows to train on"):
        list(train_copy(target.model, [], TrainingParams(), seed=0))


def test_copy_is_trainable_even_from_a_frozen_model_in_inference_mode(tied_model: LlamaForCausalLM) -> None:
    tied_model.requires_grad_(False)
    with torch.inference_mode():
        owned = private_copy(tied_model)
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in owned.parameters())
    assert owned.lm_head.weight is owned.model.embed_tokens.weight
    assert not any(parameter.requires_grad for parameter in tied_model.parameters())


@given(rows=st.integers(1, 12), batch_size=st.integers(1, 12), seed=st.integers(0, 99), epochs=st.integers(1, 4))
def test_every_epoch_has_every_row_once(rows: int, batch_size: int, seed: int, epochs: int) -> None:
    size = min(rows, batch_size)
    drawn = [i for batch in islice(draw_batches(rows, batch_size, seed), rows * epochs) for i in batch]
    assert all(len(batch) == size for batch in islice(draw_batches(rows, batch_size, seed), 3))
    for start in range(0, rows * epochs, rows):
        assert Counter(drawn[start : start + rows]) == Counter(range(rows))


def test_warmup_by_hand() -> None:
    assert [warmup_factor(step, 40, enabled=True) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [warmup_factor(step, 5, enabled=True) for step in range(2)] == [1.0, 1.0]
    assert warmup_factor(0, 40, enabled=False) == 1.0
