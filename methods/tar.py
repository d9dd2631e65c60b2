"""TAR: forget in such a way that an attacker's fine-tuning does not undo it (arXiv 2408.00761, algorithm 1).

An inner attacker fine-tunes a copy of the weights on forget rows for K steps; at some of its points the base method's
forget objective is differentiated, as if at the start (first order), and those gradients replace the base's own:

    scale * sum_k exp(rate (k - K)) g_f(w_k),  w_k after k of the attacker's steps

so the last points weigh most: the last one counts `scale`. As in the released code the factors are not divided by their
sum, so more looks make a larger forget gradient (16 looks of 64 steps: 4.4 times one look). The attacker's moments
begin anew in every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def adam_move(
    offsets: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[tuple[Tensor, Tensor]],
    *,
    step: int,
    rate: float,
) -> list[Tensor]:
    """The offsets after one Adam step (the `step`-th, from 1) against `gradients`; `moments` are changed in place."""
    moved = []
    for offset, gradient, (first, second) in zip(offsets, gradients, moments, strict=True):
        first.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
        second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        size = (second / (1 - BETA2**step)).sqrt() + EPSILON
        moved.append(offset - rate * (first / (1 - BETA1**step)) / size)
    return moved


def factors(points: Sequence[int], steps: int, rate: float) -> list[float]:
    """Weights of the gradients at these attacker steps (from 1 to `steps`); the last step has 1."""
    return [math.exp(rate * (point - steps)) for point in points]


@dataclass(frozen=True, slots=True, kw_only=True)
class TAR:
    """`tar_steps` attacker steps at `tar_learning_rate`; a look at the objective after every `tar_every` of them."""

    tar_steps: int = 4
    tar_every: int = 2
    tar_learning_rate: float = 2e-5
    tar_rate: float = 0.0625
    tar_scale: float = 4.0

    def extend(self, needs: Needs) -> Needs:
        views = needs.views if "forget" in needs.views else (*needs.views, "forget")
        return replace(grouped(needs), views=views, logits=True)  # the attacker learns the forget answers

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        if self.tar_steps == 0:
            return Gradients(forget=[self.tar_scale * g for g in gradients.forget], retain=gradients.retain)
        points = [step for step in range(1, self.tar_steps + 1) if (self.tar_steps - step) % self.tar_every == 0]
        shares = dict(zip(points, factors(points, self.tar_steps, self.tar_rate), strict=True))
        offsets: list[Tensor] = [torch.zeros_like(g) for g in gradients.forget]
        moments = [(torch.zeros_like(g), torch.zeros_like(g)) for g in gradients.forget]
        total = [torch.zeros_like(g) for g in gradients.forget]
        for step in range(1, self.tar_steps + 1):
            attack = probe.nll_gradient("forget", offsets, ahead=step)  # rows that this step's objective does not see
            offsets = adam_move(offsets, attack, moments, step=step, rate=self.tar_learning_rate)
            if step in shares:
                there = probe.gradient("forget", offsets)
                total = [held + self.tar_scale * shares[step] * new for held, new in zip(total, there, strict=True)]
        return Gradients(forget=total, retain=gradients.retain)
