"""Train without gradients: two losses along each random direction, which is drawn again from its seed (MeZO)."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearn_sweep.engine.optimizers.rule import decayed
from unlearn_sweep.engine.optimizers.zeroth_order import slope
from unlearn_sweep.engine.training.batches import seed_of
from unlearn_sweep.engine.training.forward import SupervisedLM
from unlearn_sweep.engine.training.global_batch import GlobalBatch
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.optimizer import weight_groups
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.state import Totals, Training
from unlearn_sweep.engine.training.torch_backend import TorchBackend


class ZerothOrderBackend(TorchBackend):
    """Float32 weights, the same on every rank, and neither gradients nor state of an optimizer.

    `gradient_clip` has no meaning here: there is no gradient whose norm could be compared.
    """

    def __init__(self, job: TrainJob, module: SupervisedLM, ranks: Ranks) -> None:
        super().__init__(job, module, ranks, grouped=True)
        self.settings = job.training.zeroth_order
        decays = [weight for group in weight_groups(job, module) if group["weight_decay"] for weight in group["params"]]
        self._decays = {id(weight) for weight in decays}
        self._decay = job.training.weight_decay
        self.slopes: list[tuple[int, float]] = []

    @torch.no_grad()
    def perturb(self, seed: int, length: float) -> None:
        """Add `length` times the direction of `seed` to the weights: standard normal numbers."""
        generators: dict[torch.device, torch.Generator] = {}
        for weight in self.parameters:
            if weight.device not in generators:
                generators[weight.device] = torch.Generator(device=weight.device).manual_seed(seed)
            weight.add_(_direction(weight, generators[weight.device]), alpha=length)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move against the mean over the directions of slope times direction."""
        for weight in self.parameters:
            if id(weight) in self._decays:
                decayed(weight, learning_rate, self._decay)
        for seed, value in self.slopes:
            self.perturb(seed, -learning_rate * value / len(self.slopes))
        self.slopes = []


def _direction(weight: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)


def measure_slopes(training: Training, backend: ZerothOrderBackend, index: int, totals: Totals) -> None:
    """Measure the slope of the step's loss along each direction, for the next `step`; add the terms to `totals`."""
    length = backend.settings.perturbation
    for number in range(backend.settings.directions):
        seed = seed_of(training.run.seed, "zeroth order", index, number)
        backend.perturb(seed, length)
        sides = (totals if number == 0 else Totals(totals.batch, None)), Totals(totals.batch, None)
        with torch.random.fork_rng():  # both sides see the same dropout
            above = _loss(training, index, sides[0])
        backend.perturb(seed, -2 * length)
        below = _loss(training, index, sides[1])
        totals.tokens += sum(side.tokens for side in sides if side is not totals)
        backend.perturb(seed, length)
        backend.slopes.append((seed, slope(above, below, length)))
    totals.report("slope", sum(value for _, value in backend.slopes) / len(backend.slopes))


@torch.no_grad()
def _loss(training: Training, index: int, totals: Totals) -> float:
    """Return the loss of the global batch at the current weights, equal on all ranks; add its terms to `totals`."""
    whole, weights = GlobalBatch(training, index), dict[str, float]()
    for step, _ in whole.steps():
        terms = training.active.terms(step)
        totals.add(terms, whole.counts(terms), step)
        weights |= {term.name: term.weight for term in terms}
    means = totals.means(training.ranks)
    return sum(weight * means[name] for name, weight in weights.items())
