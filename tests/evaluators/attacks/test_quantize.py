"""Round-to-nearest against a loop over single weights, and which matrices of a model it touches."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build, validate
from unlearn_sweep.evaluators.attacks.quantize import quantization_codes
from unlearn_sweep.evaluators.attacks.quantize_params import Granularity
from unlearn_sweep.evaluators.model_parts import UnsupportedModelError, linear_matrices


def brute_force(
    weight: Tensor, bits: int, granularity: Granularity, group_size: int
) -> tuple[list[list[int]], list[list[float]]]:
    """One weight after the other in Python, from the definition: step = max|w| of the block / 2^(bits-1)."""
    table = weight.tolist()
    codes, values = [], []
    for i, row in enumerate(table):
        code_row, value_row = [], []
        for j, w in enumerate(row):
            start = j // group_size * group_size
            block = {
                "per_tensor": [x for r in table for x in r],
                "per_channel": table[i],
                "group": row[start : start + group_size],
            }[granularity]
            step = max(abs(x) for x in block) / 2 ** (bits - 1)
            code = 0 if step == 0 else max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, round(w / step)))
            code_row.append(code)
            value_row.append(code * step)
        codes.append(code_row)
        values.append(value_row)
    return codes, values


matrices = st.tuples(st.integers(1, 4), st.integers(1, 7)).flatmap(
    lambda shape: st.lists(
        st.lists(st.floats(-2, 2, width=16), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


@settings(deadline=None)
@given(
    rows=matrices,
    bits=st.sampled_from([2, 3, 4, 8]),
    granularity=st.sampled_from(["per_tensor", "per_channel", "group"]),
    group_size=st.integers(1, 9),
)
def test_codes_and_values_equal_the_loop(
    rows: list[list[float]], bits: int, granularity: Granularity, group_size: int
) -> None:
    # Inputs are half-precision floats, so quotients of exact ties are exact in fp32 and in the loop's doubles alike.
    weight = torch.tensor(rows)
    codes, steps = quantization_codes(weight, bits, granularity, group_size)
    expected_codes, expected_values = brute_force(weight.double(), bits, granularity, group_size)
    assert (codes - torch.tensor(expected_codes)).abs().max() <= 0
    torch.testing.assert_close(
        (codes * steps).double(), torch.tensor(expected_values, dtype=torch.double), atol=1e-6, rtol=1e-6
    )


@settings(deadline=None)
@given(rows=matrices, bits=st.sampled_from([2, 3, 4, 5, 6, 7, 8]))
def test_codes_stay_on_the_grid_and_errors_below_half_a_step(rows: list[list[float]], bits: int) -> None:
    weight = torch.tensor(rows)
    codes, steps = quantization_codes(weight, bits, "per_channel")
    assert int(codes.min()) >= -(2 ** (bits - 1))
    assert int(codes.max()) <= 2 ** (bits - 1) - 1
    error = (weight - codes * steps).abs()
    clipped = codes == 2 ** (bits - 1) - 1
    assert (error <= steps * torch.where(clipped, 1.0, 0.5) * (1 + 1e-5)).all()


def test_by_hand() -> None:
    """Largest magnitude 1, 3 bits: step 1/4; .30 / .25 = 1.2 -> 1; -1 -> -4; .13 / .25 = .52 -> 1; +1 is cut to 3."""
    codes, steps = quantization_codes(torch.tensor([[0.30, -1.0, 0.13], [1.0, 0.0, -0.5]]), 3, "per_channel")
    assert codes.tolist() == [[1, -4, 1], [3, 0, -2]]
    assert steps.tolist() == [[0.25] * 3] * 2


@pytest.mark.parametrize("weight", [torch.ones(3), torch.tensor([[float("nan")]]), torch.tensor([[float("inf")]])])
def test_other_shapes_and_unreal_weights_are_refused(weight: Tensor) -> None:
    with pytest.raises(ValueError, match="finite matrices only"):
        quantization_codes(weight, 4, "per_tensor")


def test_sixteen_bits_leave_the_model_bit_for_bit(target: Target) -> None:
    (state,) = build("quantize", {"bits": 16}).run(target)
    assert same_weights(state.model, target.model)


def test_states_go_from_weak_to_strong_and_leave_head_embedding_and_norms(target: Target) -> None:
    strengths = []
    for state in build("quantize", {"bits": [8, 4, 2]}).run(target):
        strengths.append((state.strength, state.unit))
        for name, weight in target.model.named_parameters():
            touched = name.endswith("_proj.weight")
            assert torch.equal(state.model.get_parameter(name), weight) != touched, name
            if touched:
                assert all(len(row.unique()) <= 2**state.strength for row in state.model.get_parameter(name))
    assert strengths == [(8, "bits"), (4, "bits"), (2, "bits")]


def test_each_state_is_rounded_from_the_target_not_from_the_state_before(target: Target) -> None:
    *_, last = build("quantize", {"bits": [8, 3]}).run(target)
    (alone,) = build("quantize", {"bits": 3}).run(target)
    assert same_weights(last.model, alone.model)


def test_share_of_equal_codes_is_one_for_the_original_itself_and_absent_without_it(target: Target) -> None:
    same = replace(target, original=lambda: copy.deepcopy(target.model))
    (state,) = build("quantize", {"bits": 4}).run(same)
    assert state.notes is not None
    assert state.notes["share_of_codes_equal_to_original"] == 1.0
    (fewer,) = build("quantize", {"bits": 2}).run(target)
    (more,) = build("quantize", {"bits": 8}).run(target)
    assert fewer.notes is not None
    assert more.notes is not None
    assert fewer.notes["share_of_codes_equal_to_original"] > more.notes["share_of_codes_equal_to_original"]
    (without,) = build("quantize", {"bits": 4}).run(replace(target, original=None))
    assert "share_of_codes_equal_to_original" not in (without.notes or {})


def test_head_is_left_unless_asked_and_a_tied_embedding_goes_with_it(tied_model: LlamaForCausalLM) -> None:
    plain = [matrix.name for matrix in linear_matrices(tied_model, include_lm_head=False)]
    assert all(name.endswith("_proj.weight") for name in plain)
    with_head = [matrix.name for matrix in linear_matrices(tied_model, include_lm_head=True)]
    assert set(with_head) - set(plain) == {"model.embed_tokens.weight"}


def test_untied_head_is_rounded_alone(original: LlamaForCausalLM) -> None:
    added = set([matrix.name for matrix in linear_matrices(original, include_lm_head=True)]) - set(
        [matrix.name for matrix in linear_matrices(original, include_lm_head=False)]
    )
    assert added == {"lm_head.weight"}


def test_a_model_without_linear_layers_is_refused() -> None:
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2))
    model.transformer.h = nn.ModuleList()
    with pytest.raises(UnsupportedModelError, match=r"GPT2LMHeadModel has no linear layer"):
        [matrix.name for matrix in linear_matrices(model, include_lm_head=False)]


def test_a_target_in_bf16_stays_in_bf16(target: Target) -> None:
    narrow = replace(target, model=copy.deepcopy(target.model).bfloat16(), original=None)
    (state,) = build("quantize", {"bits": 4}).run(narrow)
    assert {weight.dtype for weight in state.model.parameters()} == {torch.bfloat16}


def test_torchao_rounds_to_its_own_grid_and_leaves_plain_weights(target: Target) -> None:
    """Oracle: the library's own linear layer, called as a user would."""
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    for granularity, group_size in (("per_channel", 128), ("group", 16)):
        params = {"bits": [8, 4], "backend": "torchao", "granularity": granularity, "group_size": group_size}
        for state in build("quantize", params).run(target):
            name = "model.layers.0.self_attn.q_proj"
            layer = torch.nn.Sequential(copy.deepcopy(target.model.get_submodule(name)))
            shared = quantization.PerAxis(0) if granularity == "per_channel" else quantization.PerGroup(group_size)
            dtype = getattr(torch, f"int{int(state.strength)}")
            quantization.quantize_(layer, quantization.IntxWeightOnlyConfig(weight_dtype=dtype, granularity=shared))
            inputs = torch.randn(3, 48, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(state.model.get_submodule(name)(inputs), layer(inputs), atol=1e-4, rtol=1e-4)
            assert type(state.model.get_submodule(name).weight) is torch.nn.Parameter
            assert state.notes is not None
            assert 0.0 < state.notes["share_of_codes_equal_to_original"] < 1.0


def test_torchao_refuses_groups_that_do_not_fit(target: Target) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")
    with pytest.raises(AttackError, match="groups that divide a layer's 48 inputs; group_size is 20"):
        list(build("quantize", {"backend": "torchao", "granularity": "group", "group_size": 20}).run(target))


@pytest.mark.parametrize("bits", [8, 4])
def test_bitsandbytes_rounds_by_its_own_formats(target: Target, bits: int) -> None:
    """Oracle: the library's quantise and dequantise on one matrix, and the number of codes its format has."""
    functional = pytest.importorskip("bitsandbytes.functional", reason="bitsandbytes is not installed")
    (state,) = build("quantize", {"bits": bits, "backend": "bitsandbytes"}).run(target)
    name = "model.layers.1.mlp.down_proj.weight"
    weight = target.model.get_parameter(name).detach()
    if bits == 4:
        expected = functional.dequantize_4bit(*functional.quantize_4bit(weight, blocksize=64, quant_type="nf4"))
        assert all(len(block.unique()) <= 16 for block in state.model.get_parameter(name).flatten().split(64))
    else:
        expected = functional.int8_vectorwise_dequant(*functional.int8_vectorwise_quant(weight.half())[:2])
    torch.testing.assert_close(state.model.get_parameter(name).detach(), expected.float(), atol=1e-6, rtol=1e-5)
    same = replace(target, original=lambda: target.model)
    (itself,) = build("quantize", {"bits": bits, "backend": "bitsandbytes"}).run(same)
    assert itself.notes is not None
    assert itself.notes["share_of_codes_equal_to_original"] == 1.0


@pytest.mark.parametrize("backend", ["torchao", "bitsandbytes"])
def test_a_backend_that_is_not_installed_is_a_reason(
    target: Target, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, backend, None)
    monkeypatch.setitem(sys.modules, f"{backend}.quantization", None)
    with pytest.raises(AttackError, match=rf"backend {backend} is not installed .* or backend: plain"):
        list(build("quantize", {"bits": 4, "backend": backend}).run(target))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"backend": "bitsandbytes", "bits": 3}, r"knows 8 and 4 bits \(16: unchanged\); got \[3\]"),
        ({"backend": "bitsandbytes", "granularity": "group"}, "has a granularity of its own"),
        ({"backend": "torchao", "granularity": "per_tensor"}, "per_channel or by group"),
    ],
)
def test_what_a_backend_does_not_know_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        validate("quantize", params)
