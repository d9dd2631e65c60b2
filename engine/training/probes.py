"""Probe the model of a training at some shares of its steps, and say when the training is to stop.

A probe reads a few rows by forward passes. It changes nothing of the training: a training that runs to its end has the
same weights, to the bit, as one without probes. Every rank computes the same probe, and all take rank 0's numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from unlearn_sweep.engine.stopping.decision import are_whole, stopping_rung
from unlearn_sweep.engine.stopping.records import Probing
from unlearn_sweep.engine.stopping.rows import probed_rows
from unlearn_sweep.engine.store.outcomes import ProbePoint
from unlearn_sweep.engine.training.forward import pack
from unlearn_sweep.engine.training.loop import Watcher
from unlearn_sweep.engine.training.schedule import steps_at
from unlearn_sweep.engine.training.state import History, Training
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.methods.token_losses import sequence_counts, sequence_sums, token_nll

ROWS_AT_ONCE = 4


def watcher_of(benchmark: Benchmark, training: Training, history: History) -> Watcher | None:
    """Return what probes this training; None if its job asks for no probes."""
    probing = training.job.probing
    return None if probing is None else Probes(probing, training, history, benchmark)


class Probes:
    """Implements `loop.Watcher`.

    It probes the model before the first step. A training that resumes without its earlier probes is not probed.

    Raises:
        ValueError: no forget or no utility row of the benchmark can be read.
    """

    def __init__(self, probing: Probing, training: Training, history: History, benchmark: Benchmark) -> None:
        self.probing = probing
        forget, utility = probed_rows(benchmark)
        self._items = self._encoded(training, "forget", forget), self._encoded(training, "utility", utility)
        self._off = False
        if not all(self._items):
            raise ValueError(f"benchmark {benchmark.name!r} has no forget or no utility rows that a probe can read")
        if history.steps == 0:
            history.probes = [self._look(training, 0.0, 0)]
            return
        behind = [rung for rung in self.probing.rungs if self._step(training, rung) <= history.steps]
        self._off = not are_whole(history.probes, behind, self.probing.rows)
        if self._off:
            history.probes = []

    def after_step(self, training: Training, history: History) -> str | None:
        """Probe the model if a rung is reached. Return why the training ends here; None if it goes on."""
        due = [rung for rung in self.probing.rungs if self._step(training, rung) == history.steps]
        if self._off or not due:
            return None
        found = self._look(training, due[0], history.steps)
        later = [found.model_copy(update={"share": rung, "seconds": 0.0}) for rung in due[1:]]
        history.probes = [*history.probes, found, *later]
        facts = self.probing.facts
        if facts is None or self.probing.finish_anyway or history.steps >= training.run.steps:
            return None
        place = stopping_rung(history.probes, facts, len(self.probing.rungs))
        if place is None:
            return None
        return (
            f"stopped after {self.probing.rungs[place]:.0%} of its steps: the front beats at least {facts.sure:.0%} of "
            "the ends that finished trials make likely"
        )

    def _step(self, training: Training, rung: float) -> int:
        return steps_at(rung, training.run.steps)

    def _encoded(self, training: Training, split: str, rows: Sequence[Row]) -> list[Item]:
        """Tokenise the first rows that have room for an answer."""
        encoder = training.views.encoder
        fitting = (row for row in rows if encoder.fits(row))
        items: list[Item] = []
        for row in fitting:
            items.append(Item((f"probe:{split}", len(items), 0), encoder.example(row, row.answer)))
            if len(items) == self.probing.rows:
                break
        return items

    def _look(self, training: Training, share: float, step: int) -> ProbePoint:
        began = time.perf_counter()
        device = training.run.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            means = torch.stack([mean_probability(training, items) for items in self._items])
        shared = training.ranks.sum(means if training.ranks.first else torch.zeros_like(means))
        forget, retain = (value if math.isfinite(value) else None for value in shared.tolist())
        return ProbePoint(
            share=share,
            step=step,
            forget=forget,
            retain=retain,
            seconds=time.perf_counter() - began,
            rows=self.probing.rows,
        )


def mean_probability(training: Training, items: Sequence[Item]) -> Tensor:
    """Return the mean over rows of exp(mean log-probability of an answer token), float64, on the batches' device."""
    size = min(ROWS_AT_ONCE, training.micro_rows or ROWS_AT_ONCE)
    found: list[Tensor] = []
    for start in range(0, len(items), size):
        packed = pack({"probed": items[start : start + size]}, training.run.device)
        part = packed.parts["probed"]
        nll = token_nll(training.backend.look(packed), packed.targets)
        sums = sequence_sums(nll, part.sequence, part.sequences)
        found.append(torch.exp(-sums / sequence_counts(part.sequence, part.sequences)).double())
    return torch.cat(found).mean()
