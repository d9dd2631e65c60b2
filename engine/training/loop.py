"""The training loop: schedule, loss and early stopping. The backend runs forward, backward and step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

import torch

from unlearn_sweep.engine.training.checkpoint import Checkpoints
from unlearn_sweep.engine.training.curvature import sampled_curvature
from unlearn_sweep.engine.training.first_rows import smallest
from unlearn_sweep.engine.training.global_batch import GlobalBatch
from unlearn_sweep.engine.training.gradients import shaped_gradient
from unlearn_sweep.engine.training.loss import MethodError
from unlearn_sweep.engine.training.memory import MemoryPeak
from unlearn_sweep.engine.training.schedule import learning_rate, steps_at
from unlearn_sweep.engine.training.smaller_batches import halved, shrink
from unlearn_sweep.engine.training.state import History, Totals, Training, TrainProgress
from unlearn_sweep.engine.training.steps import MicroStep
from unlearn_sweep.engine.training.torch_backend import TorchBackend
from unlearn_sweep.engine.training.zeroth_backend import ZerothOrderBackend, measure_slopes
from unlearn_sweep.methods.composition import Phased
from unlearn_sweep.methods.interface import GradientWrapper, Method, Needs, StatefulMethod

CURVE_POINTS = 200
LONGEST_BETWEEN_CHECKS = 25
PROGRESS_EVERY_S = 1.0


class Exporter(Protocol):
    """Writes the weights at some steps of a training. Every rank calls the methods alike."""

    def has_all_before(self, step: int) -> bool:
        """Whether the weights of all steps up to `step` that are to be written are there."""
        ...

    def write(self, history: History) -> bool:
        """Write the weights if they are wanted after the step that `history` ends with. Return whether they were."""
        ...

    def write_rest(self, history: History) -> None:
        """Write the weights under all later steps: the training ends here."""
        ...


class Watcher(Protocol):
    """Looks at the model of a training, and may end it. Every rank calls the methods alike."""

    def after_step(self, training: Training, history: History) -> str | None:
        """Look at the model after a step. Return why the training ends here; None if it goes on."""
        ...


def train(
    training: Training,
    on_progress: Callable[[TrainProgress], None] | None = None,
    checkpoints: Checkpoints | None = None,
    exporter: Exporter | None = None,
    watch: Callable[[Training, History], Watcher | None] = lambda training, history: None,
) -> History:
    """Run the steps up to `stop_at`; stop early if the loss has diverged.

    With `checkpoints`, resume an interrupted training from its newest checkpoint. With `exporter`, write the weights at
    some steps on the way; a training that diverges has the same weights at all later ones. `watch` is called
    before the first step, or where the training resumes.
    """
    history, memory = History(), MemoryPeak(training.run.device)
    steps, every = training.run.steps, check_interval(training.run.steps)
    written = exporter.has_all_before if exporter is not None else lambda step: True
    first = checkpoints.resume(training, history, written) if checkpoints is not None else 0
    training.micro_rows = smallest(history.micro_rows, training.micro_rows)
    history.resumed_at_step = first
    watcher = watch(training, history)
    began, before = time.perf_counter(), history.seconds
    reported = began
    for index in range(first, steps_at(training.job.stop_at, steps)):
        enter_phase(training, index)
        checked = index % every == 0 or index == steps - 1
        means = train_step(training, index, history, checked=checked)
        history.steps, history.micro_rows = index + 1, training.micro_rows
        now = time.perf_counter()
        history.seconds = before + now - began
        if checked:
            memory.look()
            history.curve.append({"step": index + 1, **means})
            history.stop_reason = why_stop(means, index + 1, training.loss_cap)
        if on_progress is not None and now - reported >= PROGRESS_EVERY_S:
            on_progress(TrainProgress(step=index + 1, steps=steps, seconds=now - began, values=history.curve[-1]))
            reported = now
        if watcher is not None and history.stop_reason is None:
            history.beaten = watcher.after_step(training, history)
            began += time.perf_counter() - now
        if history.stop_reason is not None or history.beaten is not None:
            break
        exports = exporter is not None and exporter.write(history)
        if (checked or exports) and checkpoints is not None and index < steps - 1:
            checkpoints.offer(training, history, now=exports)
    if exporter is not None and history.stop_reason is not None:
        exporter.write_rest(history)
    history.peak_memory_mib = max(history.peak_memory_mib, memory.mib)
    tokens = torch.tensor(history.tokens, dtype=torch.float64, device=training.run.device)
    history.tokens = int(training.ranks.sum(tokens))
    return history


def enter_phase(training: Training, index: int) -> None:
    """If the method has two phases, activate the phase of this step and its needs."""
    if isinstance(training.method, Phased):
        training.active = training.method.at(index / training.run.steps)
        training.run.needs = replace(training.active.needs(), gradients=training.method.needs().gradients)


def train_step(training: Training, index: int, history: History, *, checked: bool) -> dict[str, float]:
    """One optimizer step over the global batch.

    Return the means of its terms if `checked` or the method has state, else {}.
    """
    run, backend = training.run, training.backend
    totals = gradient_of_step(training, index, checked=checked)
    backend.step(learning_rate(training.job, index, run.steps))
    if training.average is not None:
        training.average.take(index, run.steps)
    if run.collapse is not None:
        run.collapse.after_step(index, training.ranks)
    history.tokens += totals.tokens
    history.conventions |= totals.conventions
    if not checked and not run.needs.state:
        return {}
    means = totals.means(training.ranks)
    if run.needs.state:
        reduced = {name: means[name] for name in totals.conventions}
        after_step(training.active, MicroStep(run, index, {}, joint=False), reduced)
    return means


def gradient_of_step(training: Training, index: int, *, checked: bool) -> Totals:
    """Compute the gradient of one step and place it; where memory gives out, again with smaller micro-batches.

    Raises:
        RowsDoNotFitError: memory gave out, and the training must start again with smaller ones.
    """
    kept = dict(training.memory.parts)
    while True:
        try:
            return _gradient_of_step(training, index, checked=checked)
        except (MemoryError, RuntimeError, OSError) as error:
            rows = halved(training, index, error)
            if rows is None:
                raise
        training.memory.parts = dict(kept)  # a wrapper may have replaced what it kept before it ran out
        shrink(training, index, rows)  # here the error no longer keeps the attempt's tensors alive


def _gradient_of_step(training: Training, index: int, *, checked: bool) -> Totals:
    needs, whole = training.run.needs, GlobalBatch(training, index)
    totals, backend = Totals(whole.rows, watched_view(needs) if checked else None), training.backend
    if isinstance(backend, TorchBackend) and backend.wants_curvature(index):
        backend.take_curvature(sampled_curvature(training, index, totals))
    if isinstance(backend, ZerothOrderBackend):
        measure_slopes(training, backend, index, totals)
    elif needs.gradients == "grouped":
        wrappers = gradient_wrappers(training.active)
        backend.place(shaped_gradient(training, index, totals, wrappers))
    else:
        accumulate(training, whole, totals)
    return totals


def accumulate(training: Training, whole: GlobalBatch, totals: Totals) -> None:
    """Run forward and backward for this rank's share of a global batch, one micro-batch at a time."""
    for step, last in whole.steps():
        with training.backend.micro_batch(last=last):
            terms = training.active.terms(step)
            training.backend.backward(whole.loss(terms))
        totals.add(terms, whole.counts(terms), step)


def watched_view(needs: Needs) -> str | None:
    """Return the view whose cross-entropy is monitored for divergence: "train" or "forget".

    Return None if the method reads neither view, or no logits.
    """
    if not needs.logits:
        return None
    return next((view for view in ("train", "forget") if view in needs.views), None)


def gradient_wrappers(method: Method) -> Sequence[GradientWrapper]:
    """Return a method's gradient wrappers, innermost first. If empty, both gradients are added unchanged."""
    return getattr(method, "gradient_wrappers", ())


def after_step(method: Method, step: MicroStep, reduced: Mapping[str, float]) -> None:
    if not hasattr(method, "after_step"):
        raise MethodError(f"{type(method).__name__}: needs().state is set, so it must have after_step(step, reduced)")
    cast("StatefulMethod", method).after_step(step, reduced)


def check_interval(steps: int) -> int:
    """Return the steps between two loss checks: at least 50 checks in a run of 50 steps or more.

    Checks are not done at every step, because each waits for the GPU.
    """
    return max(1, min(LONGEST_BETWEEN_CHECKS, steps // 50))


def why_stop(means: Mapping[str, float], step: int, loss_cap: float) -> str | None:
    """Return why training must stop, or None to continue. The means are equal on all ranks, so is the result."""
    for name, value in means.items():
        if not math.isfinite(value):
            return f"{name} is {value} at step {step}"
        if name.endswith("_cross_entropy") and value > loss_cap:
            return f"{name} is {value:.2f} nats a token at step {step}, above the cap of {loss_cap:.2f}"
    return None


def thinned(curve: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Reduce a curve to at most CURVE_POINTS evenly spaced points, including the first and the last."""
    if len(curve) <= CURVE_POINTS:
        return list(curve)
    return [curve[round(i * (len(curve) - 1) / (CURVE_POINTS - 1))] for i in range(CURVE_POINTS)]
