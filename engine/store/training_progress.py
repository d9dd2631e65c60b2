"""Progress of a training: a small file that the training process rewrites and the views read."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "progress.json"


class TrainingProgress(BaseModel):
    """Progress of a training at one moment.

    Attributes:
        step: Number of finished steps.
        steps: Total number of steps.
        left_s: Estimated seconds to the end at the speed of this process; None if no speed is known yet.
        loss_name: Name of the loss; None if none is recorded yet.
        loss: Last recorded value of the loss (for a cross entropy, nats per token); None if it is not finite or none is
            recorded yet.
        time: When the file was written, in Unix seconds.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    step: int
    steps: int
    left_s: float | None
    loss_name: str | None
    loss: float | None
    time: float

    def write(self, folder: Path) -> None:
        """Write the file into `folder` atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{FILE}.writing"
        scratch.write_text(self.model_dump_json(), encoding="utf-8")
        os.replace(scratch, folder / FILE)

    def text(self) -> str:
        """Format as "step 12 of 45, train cross entropy 0.812". The view adds the remaining time."""
        loss = (
            f", {self.loss_name.replace('_', ' ')} {self.loss:.3f}" if self.loss_name and self.loss is not None else ""
        )
        return f"step {self.step} of {self.steps}{loss}"


def read_progress(folder: Path, *, since: float | None = None) -> TrainingProgress | None:
    """Read the progress of a training in `folder`; None if there is no valid file or it is older than `since`."""
    try:
        found = TrainingProgress.model_validate(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
    return None if since is not None and found.time < since else found


class ProgressFile:
    """Write a training's progress, at most every `every_s` seconds."""

    def __init__(self, folder: Path, *, every_s: float = 2.0) -> None:
        self.folder, self.every_s = folder, every_s
        self.first: tuple[int, float] | None = None
        self.written = 0.0

    def write(self, step: int, steps: int, loss: tuple[str, float | None] | None) -> None:
        """Record that step `step` of `steps` is done. `loss` is the name of the loss with its last value."""
        now = time.time()
        self.first = self.first or (step, now)
        if now - self.written < self.every_s:
            return
        done, spent = step - self.first[0], now - self.first[1]
        left = spent / done * (steps - step) if done else None
        name, value = loss or (None, None)
        TrainingProgress(step=step, steps=steps, left_s=left, loss_name=name, loss=value, time=now).write(self.folder)
        self.written = now
