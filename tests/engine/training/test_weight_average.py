"""The weights that are kept. Oracles: torch's own `AveragedModel`, and the recursion by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from unlearn_sweep.engine.training.weight_average import RunningAverage
from unlearn_sweep.methods.interface import AverageSettings

STEPS = 125


def walk(settings: AverageSettings) -> tuple[RunningAverage, list[nn.Linear]]:
    """An average over a random walk of one layer, and the layer after each step."""
    torch.manual_seed(0)
    layer, after = nn.Linear(3, 2), []
    average = RunningAverage(settings, layer)
    for index in range(STEPS):
        with torch.no_grad():
            for weight in layer.parameters():
                weight.add_(torch.randn_like(weight))
        copy = nn.Linear(3, 2)
        copy.load_state_dict(layer.state_dict())
        after.append(copy)
        average.take(index, STEPS)
    return average, after


@pytest.mark.parametrize(("start", "every", "counted"), [(99 / 125, 5, 6), (0.0, 1, 125), (0.5, 7, 9)])
def test_the_uniform_mean_is_that_of_averaged_model(start: float, every: int, counted: int) -> None:
    """The first case is that of unlearn-smooth's callback: steps 100, 105, ... 125 of 125. Run on the same walk, the
    callback itself left the same weights to 2e-7.
    """
    average, after = walk(AverageSettings(decay=None, start=start, every=every))
    oracle = AveragedModel(nn.Linear(3, 2))
    for step in range(1, STEPS + 1):
        if step / STEPS > start and step % every == 0:
            oracle.update_parameters(after[step - 1])
    assert average.taken == counted == int(oracle.n_averaged)
    average.put()
    for ours, theirs in zip(average.module.parameters(), oracle.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_decayed_mean_by_hand() -> None:
    average, after = walk(AverageSettings(decay=0.9, start=0.6))
    expected = after[75].weight.detach().clone()
    for layer in after[76:]:
        expected = 0.9 * expected + 0.1 * layer.weight.detach()
    average.put()
    torch.testing.assert_close(next(average.module.parameters()).detach(), expected, rtol=1e-5, atol=1e-6)


def test_the_last_weights_are_kept_where_no_step_counts() -> None:
    average, after = walk(AverageSettings(decay=None, start=0.99, every=50))
    assert average.taken == 1
    average.put()
    torch.testing.assert_close(next(average.module.parameters()).detach(), after[-1].weight.detach())
