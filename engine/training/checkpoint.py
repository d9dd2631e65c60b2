"""Checkpoints from which an interrupted training resumes, bit-identical on a CPU.

A checkpoint contains weights, optimizer state, the method's own state, what its gradient wrappers keep, the history so
far and the random state. It is a folder that is created atomically. The previous one is deleted once the next exists,
and all are deleted when the training finishes.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unlearn_sweep.engine.models.loading import model_digest
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.marks import first_damage, mark_files
from unlearn_sweep.engine.store.outcomes import ProbePoint
from unlearn_sweep.engine.store.sealed import FileMark
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.state import History, Training

NOT_IDENTITY = {
    "output_dir", "checkpoint_dir", "training", "threads", "start_model", "teacher_model",
    "stop_at", "export_shares", "export_dir", "adapter_file", "kept_adapter", "micro_rows", "probing",
}  # fmt: skip
"""Job fields that are not part of a checkpoint's identity as they are.

Paths and the thread count do not change the result enough to restart for. `training` counts by its `identity()`, the
start model and the teacher by the digest of their content. Where a training ends, and what it writes and probes on its
way, change no step before; how many rows are held in one pass changes rounding alone.
"""
PREFIX = "step-"
FACTS = "facts.json"

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training. Every rank must call `resume` and `offer`, in the same order; rank 0 `clear`s.

    Attributes:
        folder: Contains the checkpoint folders.
        every_s: Least time between two checkpoints, in seconds.
        last: Monotonic time of the last checkpoint, or of the start.
    """

    def __init__(self, folder: Path, job: TrainJob) -> None:
        self.folder = folder
        self.every_s = job.training.checkpoint_every_s
        # DeepSpeed's shards require the number of ranks that wrote them; the torch backend has no shards.
        self._one_share = job.training.backend != "deepspeed"
        shares = 1 if self._one_share else Ranks.current().world_size
        offload = {} if job.training.offload == "none" else {"offload": job.training.offload}
        self._form: dict[str, object] = {"shares": shares, **offload}
        self._job = job
        self.last = time.monotonic()

    @cached_property
    def identity(self) -> str:
        """Digest that a checkpoint must match to be resumed. Computed lazily, because it reads the start model."""
        content = self._job.model_dump(mode="json", exclude=NOT_IDENTITY) | {"training": self._job.training.identity()}
        models = [model_digest(path) for path in (self._job.start_model, self._job.teacher_model) if path is not None]
        return digest({"job": content, "models": models, **self._form})

    def resume(self, training: Training, history: History, accepts: Callable[[int], bool] = lambda step: True) -> int:
        """Restore the newest checkpoint of this job. Return the step to resume at; 0 if there is none.

        `accepts` says on rank 0 whether what the training has left behind so far is there, given the step.

        If the checkpoint is damaged, or of another job, log a warning and return 0.
        """
        step = self._newest()
        training.ranks.wait()
        if step is None:
            return 0
        place = self.folder / f"{PREFIX}{step}"
        facts = whole_facts(place)
        if facts is not None and training.ranks.first and not accepts(step):
            logger.warning("%s: weights of an earlier step are missing; training restarts from step 0", place)
            facts = None
        readable = training.ranks.sum(torch.tensor(float(facts is not None), device=training.run.device)).item()
        if facts is None or readable < training.ranks.world_size:
            return 0
        if facts["identity"] != self.identity:
            logger.warning(
                "%s: the checkpoint is from other settings, data or another start model; training restarts from step 0",
                place,
            )
            return 0
        tensors = load_file(place / "state.safetensors")
        training.backend.load(place)
        training.run.state.update(facts["state"] | under("state.", tensors))
        if training.average is not None:
            training.average.load(place, training.ranks)
        if training.run.collapse is not None:
            training.run.collapse.load(place, training.ranks)
        training.memory.load(place, training.ranks, training.run.device, shared=self._one_share)
        torch.set_rng_state(tensors["random"])
        for name, value in facts["history"].items():
            setattr(history, name, value)
        history.probes = [ProbePoint.model_validate(probe) for probe in facts["history"].get("probes", ())]
        if not training.ranks.first:
            history.tokens = 0  # rank 0's count is already the sum over all ranks
        return step

    def offer(self, training: Training, history: History, *, now: bool = False) -> None:
        """Write a checkpoint, at once or if `every_s` seconds have passed since the last one, by rank 0's clock."""
        old = training.ranks.first and (now or time.monotonic() - self.last >= self.every_s)
        if training.ranks.sum(torch.tensor(float(old), device=training.run.device)).item() > 0:
            self._write(training, history)
            self.last = time.monotonic()

    def clear(self) -> None:
        """Delete the checkpoints of a finished training."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, training: Training, history: History) -> None:
        place, before = self.folder / f"{PREFIX}{history.steps}", self._newest()
        shared = self.folder / f".{place.name}.writing"
        if training.ranks.first:
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir(parents=True)
        training.ranks.wait()
        training.backend.save(shared)
        if training.average is not None:
            training.average.save(shared, training.ranks)
        if training.run.collapse is not None:
            training.run.collapse.save(shared, training.ranks)
        training.memory.save(shared, training.ranks, shared=self._one_share)
        tokens = int(training.ranks.sum(torch.tensor(history.tokens, dtype=torch.float64, device=training.run.device)))
        if training.ranks.first:
            probes = [probe.model_dump(mode="json") for probe in history.probes]
            self._write_own(training, asdict(history) | {"tokens": tokens, "probes": probes}, shared)
            durable.sync_tree(shared)
            shutil.rmtree(place, ignore_errors=True)  # one that was refused
            shared.rename(place)
            durable.sync_folder(self.folder)
            if before is not None and before != history.steps:
                shutil.rmtree(self.folder / f"{PREFIX}{before}", ignore_errors=True)
        training.ranks.wait()

    def _write_own(self, training: Training, history: dict[str, Any], folder: Path) -> None:
        """Write what is the same on every rank: method state, random state and history."""
        state = training.run.state
        tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
        tensors |= {f"state.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(plain, folder / "state.safetensors")
        facts: dict[str, Any] = {
            "identity": self.identity,
            "state": {name: value for name, value in state.items() if not isinstance(value, Tensor)},
            "history": history,
            # Record sizes only: hashing a checkpoint takes about as long as writing it.
            "files": {name: mark.model_dump() for name, mark in mark_files(folder, content=False).items()},
        }
        durable.write_json(folder / FACTS, facts)

    def _newest(self) -> int | None:
        steps = [int(place.name.removeprefix(PREFIX)) for place in self.folder.glob(f"{PREFIX}*")]
        return max(steps, default=None)


def whole_facts(place: Path) -> dict[str, Any] | None:
    """Read the facts of a checkpoint. If one of its files is damaged, log a warning and return None."""
    try:
        facts = json.loads((place / FACTS).read_bytes())
        marks = {name: FileMark.model_validate(mark) for name, mark in facts["files"].items()}
        damage = first_damage(place, marks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        damage, facts = f"{place / FACTS}: {type(error).__name__}: {error}", None
    if damage is not None:
        logger.warning("the checkpoint is damaged; training restarts from step 0: %s", damage)
        return None
    return facts


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, keyed by the rest of the name."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
