"""Set-difference pruning against sorting by hand and gradients by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.catalog import build, validate
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.attacks.prune import snip_scores, top_share
from unlearn_sweep.evaluators.model_parts import linear_matrices


@settings(deadline=None)
@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40, unique=True),
    percent=st.floats(0, 100),
)
def test_top_share_is_the_head_of_the_sorted_list(values: list[float], percent: float) -> None:
    mask = top_share(torch.tensor(values).view(1, -1), percent)[0]
    count = math.floor(percent / 100 * len(values))
    expected = set(sorted(values, reverse=True)[:count])
    assert {value for value, chosen in zip(values, mask.tolist(), strict=True) if chosen} == expected


def test_counts_are_those_of_the_released_code() -> None:
    """`prune_wandg_set_difference` of Wei et al., run on the scores of a model of 14 matrices, zeroed 41, 95, 259, 568
    and 911 weights, the same ones as here once counts were cut and not rounded; of 96 x 32 weights 0.5% are 15.
    """
    assert int(top_share(torch.rand(96, 32), 0.5).sum()) == 15
    assert int(top_share(torch.rand(64, 32), 7.5).sum()) == 153
    assert not top_share(torch.rand(4, 4), 5).any()


def test_scores_are_the_mean_of_weight_times_gradient_one_example_at_a_time(target: Target) -> None:
    """Oracle: the library's loss on one sequence with labels, backward, |w * grad| by hand."""
    examples = encode_rows(target.tokenizer, target.benchmark.train["forget"][:3], target.benchmark.template)
    model = copy.deepcopy(target.model)
    names = [matrix.name for matrix in linear_matrices(model, include_lm_head=False)]
    expected: dict[str, Tensor] = {name: torch.zeros_like(model.get_parameter(name)) for name in names}
    for example in examples:
        model.zero_grad()
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        labels = torch.tensor([[-100] * len(example.prompt_ids) + list(example.answer_ids)])
        model(ids, labels=labels).loss.backward()
        for name in names:
            parameter = model.get_parameter(name)
            assert parameter.grad is not None
            expected[name] += (parameter * parameter.grad).abs().detach() / 3
    for name, scores in snip_scores(model, examples, names).items():
        torch.testing.assert_close(scores, expected[name], atol=1e-6, rtol=1e-3)


def test_zero_percent_is_the_target_bit_for_bit(target: Target) -> None:
    (state,) = build("prune", {"forget_percent": [0.0], "samples": 2}).run(target)
    assert same_weights(state.model, target.model)
    assert state.notes == {"share_of_linear_weights_zeroed": 0.0}


def test_zeroed_are_the_forget_weights_that_utility_does_not_need(target: Target) -> None:
    """Count and places from the two scores, cut by hand; everything else keeps its value."""
    params = {"forget_percent": [1.0, 6.0], "utility_percent": 6.0, "samples": 5000}
    owned = copy.deepcopy(target.model)
    names = [matrix.name for matrix in linear_matrices(owned, include_lm_head=False)]
    halves = forget_halves(target.benchmark)
    rows = {
        "forget": [row for row in target.benchmark.train["forget"] if row.group_id in halves.seen],
        "retain": target.benchmark.train["retain"],
    }
    scores = {
        view: snip_scores(owned, encode_rows(target.tokenizer, found, target.benchmark.template), names)
        for view, found in rows.items()
    }
    for state in build("prune", params).run(target):
        zeroed = total = 0
        for name in names:
            before, after = target.model.get_parameter(name), state.model.get_parameter(name)
            cut = top_share(scores["forget"][name], state.strength) & ~top_share(scores["retain"][name], 6.0)
            # Scores of a few weights are equal up to the order of summation, so places may differ in one in a thousand.
            assert int(((after == 0) != cut).sum()) <= max(1, cut.numel() // 1000)
            assert torch.equal(after[after != 0], before[after != 0])
            zeroed += int((after == 0).sum())
            total += after.numel()
        assert state.notes is not None
        assert state.notes["share_of_linear_weights_zeroed"] == pytest.approx(zeroed / total)
        assert 0 < zeroed / total < state.strength / 100
        assert state.scored_groups == halves.scored


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"forget_percent": [2.0, 1.0]}, r"strictly rise.*try \[1\.0, 2\.0\]"),
        ({"forget_percent": [9.0], "utility_percent": 5.0}, r"utility_percent \(5\) must be at least"),
        ({"forget_percent": []}, "at least 1 item"),
        ({"forget_percent": [101.0]}, "less than or equal to 100"),
    ],
)
def test_illegal_shares_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        validate("prune", params)
