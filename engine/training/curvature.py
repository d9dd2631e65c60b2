"""Sophia's Gauss-Newton-Bartlett estimate of the diagonal Hessian (arXiv 2305.14342, algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn_sweep.engine.training.batches import seed_of
from unlearn_sweep.engine.training.global_batch import GlobalBatch
from unlearn_sweep.engine.training.loss import MethodError
from unlearn_sweep.engine.training.state import Totals, Training
from unlearn_sweep.engine.training.steps import MicroStep
from unlearn_sweep.methods.interface import Supervised
from unlearn_sweep.methods.token_losses import token_nll


def sampled_curvature(training: Training, index: int, totals: Totals) -> list[Tensor]:
    """Return n (dL)^2 for each trained weight, where L is the mean NLL of n targets drawn from the model.

    The tokens are the supervised ones of every view that the method reads, of the whole global batch. What is drawn for
    a row depends on the seed, the step and the row, not on ranks or micro-batches.

    Raises:
        MethodError: the method reads no logits.
    """
    needs = training.run.needs
    if not needs.logits:
        raise MethodError("sophia draws targets from logits, and this method's forward stops below them")
    backend, whole = training.backend, GlobalBatch(training, index)
    total = backend.zeros()
    tokens = max(1, sum(item.supervised for view in needs.views for item in whole.rows[view]))
    for step, _ in whole.steps(joint=False):
        with backend.micro_batch(last=False):
            losses = [_drawn_nll(training, step, view, index) for view in needs.views]
            backend.add_gradient(torch.stack(losses).sum() * training.ranks.world_size / tokens, total)
        totals.tokens += step.tokens
    return [gradient.square().mul_(tokens) for gradient in backend.mean_over_ranks(total)]


def _drawn_nll(training: Training, step: MicroStep, view: str, index: int) -> Tensor:
    """Return the summed NLL of drawn targets at the supervised tokens of one micro-batch of a view."""
    batch = step.forward(view)
    targets = torch.empty_like(batch.targets)
    for row, item in enumerate(step.items[view]):
        places = batch.sequence == row
        seed = seed_of(training.run.seed, "curvature", index, *map(str, item.key))
        targets[places] = _drawn(batch, places, torch.Generator(device=batch.logits.device).manual_seed(seed))
    return token_nll(batch.logits, targets).sum()


def _drawn(batch: Supervised, places: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a target for each of these places from the model's own distribution."""
    chances = batch.logits[places].detach().float().softmax(-1)
    if not len(chances):
        return batch.targets[places]
    return torch.multinomial(chances, 1, generator=generator)[:, 0]
