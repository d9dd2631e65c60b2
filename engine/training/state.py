"""The parts of a training and its history: types shared by loop, checkpoints and gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn_sweep.engine.store.outcomes import ProbePoint
from unlearn_sweep.engine.training.backend import StepBackend
from unlearn_sweep.engine.training.batches import BatchPlan
from unlearn_sweep.engine.training.gradient_memory import GradientMemory
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.steps import MicroStep, Run
from unlearn_sweep.engine.training.training_views import Item, Views
from unlearn_sweep.engine.training.weight_average import RunningAverage
from unlearn_sweep.methods.interface import Method, Term
from unlearn_sweep.methods.token_losses import token_nll

Batch = Mapping[str, Sequence[Item]]
"""The global batch of a step: the rows of each view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainProgress:
    """Progress of a training, reported about once per second on rank 0.

    Attributes:
        step: Steps done.
        steps: Steps planned.
        seconds: Time since this process began its first step.
        values: Last recorded point of the loss curve.
    """

    step: int
    steps: int
    seconds: float
    values: Mapping[str, float]


@dataclass(slots=True, kw_only=True)
class Training:
    """Everything a training needs, loaded and connected.

    Attributes:
        job: The request.
        method: The method as a whole.
        views: The tokenised rows.
        plan: Which rows each step uses.
        run: What all steps share.
        backend: Runs forward, backward and step.
        ranks: This process's rank.
        loss_cap: Cross-entropy, in nats per token, above which the training stops as diverged.
        active: The method of the current step: `method`, or its current phase if it has two.
        average: The running mean of the weights; None unless the method has one.
        memory: What gradient wrappers keep from one step to the next.
        micro_rows: Rows of a view that a rank holds in one pass; None: its whole share. Starts as the job's
            `micro_batch_size`, and falls where memory gives out (`smaller_batches`).
    """

    job: TrainJob
    method: Method
    views: Views
    plan: BatchPlan
    run: Run
    backend: StepBackend
    ranks: Ranks
    loss_cap: float
    active: Method
    average: RunningAverage | None = None
    memory: GradientMemory = field(default_factory=GradientMemory)
    micro_rows: int | None = None

    def close(self) -> None:
        """Free what the frozen models and the backend hold. May be called twice."""
        for model in self.run.frozen_models:
            model.close()
        self.backend.close()


@dataclass(slots=True, kw_only=True)
class History:
    """What a training has done so far. Checkpoints save it.

    Attributes:
        steps: Steps done.
        tokens: Tokens fed through the trained model by this rank; summed over ranks once `train` returns.
        seconds: Duration of the steps, including those before a resume, without probes.
        curve: Recorded points, {"step": ..., term name: value, ...}.
        conventions: For each term, what its value is a mean of.
        stop_reason: Why the training stopped early; None if it did not.
        peak_memory_mib: Peak memory in MiB.
        resumed_at_step: Step at which this process resumed; 0 if it started from the beginning.
        micro_rows: As `Training.micro_rows` after the last step, so that a resumed training does not search again.
        probes: Looks at the model so far.
        beaten: Why the training was stopped for the front's sake; None if it was not.
    """

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    conventions: dict[str, str] = field(default_factory=dict)
    stop_reason: str | None = None
    peak_memory_mib: float = 0.0
    resumed_at_step: int = 0
    micro_rows: int | None = None
    probes: list[ProbePoint] = field(default_factory=list)
    beaten: str | None = None


class Totals:
    """Sums over the micro-batches of one step, for the loss curve and early stopping.

    Attributes:
        batch: The global batch of the step.
        watched: View whose cross-entropy is computed too; None for no view.
        tokens: Tokens fed through the trained model by this rank.
        values: This rank's share of each mean, by name.
        reported: Numbers from gradient wrappers, by name.
        squared: Names of the terms whose mean is squared.
        conventions: For each term, what its value is a mean of.
    """

    def __init__(self, batch: Batch, watched: str | None) -> None:
        self.batch = batch
        self.watched = watched
        self.tokens = 0
        self.values: dict[str, Tensor] = {}
        self.reported: dict[str, float] = {}
        self.squared: set[str] = set()
        self.conventions: dict[str, str] = {}

    def add(self, terms: Sequence[Term], counts: Mapping[str, int], step: MicroStep) -> None:
        for term in terms:
            self._add(term.name, term.total.detach() / counts[term.name])
            self.conventions[term.name] = convention(term)
            if term.squared:
                self.squared.add(term.name)
        if self.watched is not None:
            supervised = step.forward(self.watched)
            nll = token_nll(supervised.logits.detach(), supervised.targets).sum()
            tokens = sum(item.supervised for item in self.batch[self.watched])
            self._add(f"{self.watched}_cross_entropy", nll / tokens)
        self.tokens += step.tokens

    def means(self, ranks: Ranks) -> dict[str, float]:
        """Return means over the global batch and reported numbers, by name; equal on every rank."""
        names = sorted(self.values)
        summed = ranks.sum(torch.stack([self.values[name].float() for name in names]))
        means = dict(zip(names, summed.tolist(), strict=True))
        return {name: value**2 if name in self.squared else value for name, value in means.items()} | self.reported

    def report(self, name: str, value: float) -> None:
        """Record a number. It must be equal on every rank."""
        self.reported[name] = value

    def _add(self, name: str, value: Tensor) -> None:
        self.values[name] = self.values[name] + value if name in self.values else value


def convention(term: Term) -> str:
    """Describe what a term's value is a mean of."""
    if term.per == "micro_batch":
        return f"mean over {term.view} in each micro-batch, then over micro-batches"
    left_out = f", first {term.skip_tokens} tokens of each left out" if term.skip_tokens else ""
    squared = ", then squared" if term.squared else ""
    return f"sum over {term.view} / its {term.per}s in the global batch{left_out}{squared}"
