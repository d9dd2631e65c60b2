"""GPTQ against its definition solved weight by weight, exhaustive search over tiny layers, and a real model."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build, validate
from unlearn_sweep.evaluators.attacks.gptq import DAMPING, gptq_codes
from unlearn_sweep.evaluators.attacks.gptq_calibration import calibration_examples, in_blocks, second_moments
from unlearn_sweep.evaluators.attacks.quantize import quantization_codes
from unlearn_sweep.evaluators.attacks.quantize_params import Granularity
from unlearn_sweep.evaluators.model_parts import linear_matrices


def layer(seed: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Weights and second moments of correlated inputs, in fp64."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    inputs = torch.randn(50, columns, generator=generator, dtype=torch.float64)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    return weight, (inputs @ mixing).T @ (inputs @ mixing)


def output_error(weight: Tensor, rounded: Tensor, hessian: Tensor) -> Tensor:
    """Summed squared change of each row's outputs over the calibration inputs."""
    change = rounded - weight
    return (change @ hessian * change).sum(-1)


def solved(
    weight: Tensor, hessian: Tensor, bits: int, granularity: Granularity, group_size: int
) -> tuple[Tensor, Tensor]:
    """One weight after the other; the others are then those that a linear solve says change the outputs least."""
    rows, columns = weight.shape
    damped = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
    top = 2 ** (bits - 1)
    codes, steps = torch.zeros_like(weight), torch.zeros_like(weight)
    for row in range(rows):
        now = weight[row].clone()
        for column in range(columns):
            first = column // group_size * group_size
            if granularity == "group" and column == first:
                steps[row, first : first + group_size] = now[first : first + group_size].abs().max() / top
            elif column == 0 and granularity != "group":
                whole = weight if granularity == "per_tensor" else weight[row]
                steps[row] = whole.abs().max() / top
            step = steps[row, column]
            code = round(float(now[column] / step)) if step > 0 else 0
            codes[row, column] = min(max(code, -top), top - 1)
            done, rest = slice(0, column + 1), slice(column + 1, columns)
            off = codes[row, done] * steps[row, done] - weight[row, done]
            moved = torch.linalg.solve(damped[rest, rest], -damped[rest, done] @ off)
            now = torch.cat([codes[row, done] * steps[row, done], weight[row, rest] + moved])
    return codes, steps


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    columns=st.integers(1, 9),
    bits=st.sampled_from([2, 3, 4]),
    granularity=st.sampled_from(["per_tensor", "per_channel", "group"]),
    group_size=st.integers(1, 5),
)
def test_codes_and_steps_equal_the_solved_ones(
    seed: int, columns: int, bits: int, granularity: Granularity, group_size: int
) -> None:
    weight, hessian = layer(seed, 3, columns)
    codes, steps = gptq_codes(weight, hessian, bits, granularity, group_size)
    expected_codes, expected_steps = solved(weight, hessian, bits, granularity, group_size)
    assert codes.tolist() == expected_codes.int().tolist()
    torch.testing.assert_close(steps.double(), expected_steps, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("granularity", "group_size"), [("per_channel", 128), ("group", 48), ("group", 200)])
def test_columns_taken_together_are_columns_one_by_one(
    granularity: Granularity, group_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, hessian = layer(5, 4, 300)
    together = gptq_codes(weight, hessian, 3, granularity, group_size)
    monkeypatch.setattr("unlearn_sweep.evaluators.attacks.gptq.AT_ONCE", 1)
    alone = gptq_codes(weight, hessian, 3, granularity, group_size)
    assert torch.equal(together[0], alone[0])
    torch.testing.assert_close(together[1], alone[1])


def test_outputs_change_less_than_by_rounding_to_nearest_and_no_less_than_the_best_there_is() -> None:
    """Oracle: all 16^3 codes of a row of three weights."""
    found, rounded = torch.zeros(()), torch.zeros(())
    every = torch.tensor(list(itertools.product(range(-8, 8), repeat=3)), dtype=torch.float64)
    for seed in range(6):
        weight, hessian = layer(seed, 20, 3)
        codes, steps = gptq_codes(weight, hessian, 4, "per_channel")
        nearest, same_steps = quantization_codes(weight, 4, "per_channel")
        torch.testing.assert_close(steps, same_steps)
        own = output_error(weight, codes * steps.double(), hessian)
        best = [output_error(weight[row], every * steps[row].double(), hessian).min() for row in range(20)]
        assert (own >= torch.stack(best) - 1e-9).all()
        found += own.sum()
        rounded += output_error(weight, nearest * steps.double(), hessian).sum()
    assert found < 0.8 * rounded


def test_inputs_without_correlation_are_rounded_to_nearest() -> None:
    weight, _ = layer(1, 6, 12)
    codes, _ = gptq_codes(weight, torch.diag(torch.rand(12, dtype=torch.float64) + 0.1), 4, "per_channel")
    assert codes.tolist() == quantization_codes(weight, 4, "per_channel")[0].tolist()


def test_an_input_that_never_came_loses_its_weight() -> None:
    weight, hessian = layer(2, 3, 4)
    hessian[2], hessian[:, 2] = 0.0, 0.0
    codes, _ = gptq_codes(weight, hessian, 4, "per_channel")
    assert codes[:, 2].tolist() == [0, 0, 0]
    nothing, _ = gptq_codes(weight, torch.zeros(4, 4), 4, "per_channel")
    assert nothing.abs().max() == 0


def test_other_shapes_and_unreal_numbers_are_refused() -> None:
    weight, hessian = layer(0, 2, 3)
    with pytest.raises(ValueError, match="do not fit"):
        gptq_codes(weight, hessian[:2, :2], 4, "per_channel")
    with pytest.raises(ValueError, match="must be finite"):
        gptq_codes(weight, hessian * float("nan"), 4, "per_channel")


# --- on a model -------------------------------------------------------------------------------------------------------


def test_moments_are_those_of_the_layers_inputs_without_padding(target: Target) -> None:
    """Oracle: the residual stream and the activations that transformers itself returns, row by row."""
    examples = calibration_examples(target, "retain", 11)
    assert len({len(one.prompt_ids) + len(one.answer_ids) for one in examples}) > 1
    assert {one.row_id for one in examples} <= {row.row_id for row in target.benchmark.train["retain"]}
    matrices = linear_matrices(target.model, include_lm_head=True)
    blocks = in_blocks(target.model, matrices)
    assert [len(inside) for _, inside in blocks] == [7, 7, 1]
    first, head = (second_moments(target.model, *blocks[place], examples) for place in (0, 2))
    expected: dict[str, Tensor] = {"q": torch.zeros(48, 48), "head": torch.zeros(48, 48)}
    for one in examples:
        ids = torch.tensor([[*one.prompt_ids, *one.answer_ids]])
        model = target.model
        inside = model.model.layers[0].input_layernorm(model.model.embed_tokens(ids))[0]
        last = model.model(input_ids=ids).last_hidden_state[0]
        expected["q"] += inside.T @ inside
        expected["head"] += last.T @ last
    torch.testing.assert_close(first["model.layers.0.self_attn.q_proj.weight"], expected["q"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(head["lm_head.weight"], expected["head"], rtol=1e-4, atol=1e-3)


def test_gptq_keeps_a_models_answers_better_than_rounding_to_nearest(target: Target) -> None:
    examples = encode_rows(target.tokenizer, target.benchmark.train["retain"], target.benchmark.template)
    ids = [torch.tensor([[*one.prompt_ids, *one.answer_ids]]) for one in examples]
    before = [target.model(input_ids=row).logits.log_softmax(-1) for row in ids]

    def divergence(scheme: str) -> float:
        (state,) = build("quantize", {"bits": 3, "scheme": scheme}).run(target)
        after = [state.model(input_ids=row).logits.log_softmax(-1) for row in ids]
        pairs = zip(before, after, strict=True)
        return sum(float((one.exp() * (one - other)).sum(-1).mean().detach()) for one, other in pairs)

    assert divergence("gptq") < 0.8 * divergence("rtn")


def test_each_state_begins_from_the_targets_own_weights(target: Target) -> None:
    *_, last = build("quantize", {"bits": [8, 3], "scheme": "gptq", "samples": 8}).run(target)
    (alone,) = build("quantize", {"bits": 3, "scheme": "gptq", "samples": 8}).run(target)
    for name, weight in alone.model.named_parameters():
        assert torch.equal(weight, last.model.get_parameter(name)), name
    assert alone.notes is not None
    assert alone.notes["calibration_rows"] == 8.0
    assert all(len(row.unique()) <= 8 for row in alone.model.get_parameter("model.layers.1.mlp.down_proj.weight"))


def test_a_view_without_rows_and_experts_are_refused(target: Target) -> None:
    with pytest.raises(AttackError, match=r"view 'holdout', which has no rows; views with rows: forget, related"):
        list(build("quantize", {"scheme": "gptq", "calibration": "holdout"}).run(target))
    model = copy.deepcopy(target.model)
    model.model.layers[1].mlp.register_parameter("experts", torch.nn.Parameter(torch.ones(2, 3, 4)))
    with pytest.raises(AttackError, match=r"model.layers.1.mlp.experts is in a LlamaMLP; use scheme: rtn"):
        list(build("quantize", {"scheme": "gptq", "samples": 4}).run(replace(target, model=model)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scheme": "gptq", "backend": "torchao"}, "scheme gptq has its own rounding"),
        ({"samples": 4}, "scheme rtn reads no rows"),
        ({"scheme": "awq"}, "'rtn' or 'gptq'"),
    ],
)
def test_what_does_not_go_together_is_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        validate("quantize", params)


def test_rows_that_are_read_are_counted() -> None:
    assert validate("quantize", {"bits": [16, 8, 4], "scheme": "gptq", "samples": 10}).work().read_rows == 320
    assert validate("quantize", {"bits": 4}).work().read_rows == 0
