"""Where a training is: one small file that its process rewrites and the views read."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FILE = "progress.json"


class TrainingProgress(BaseModel):
    """Step `step` of `steps`. `left_s`: seconds to the end at the pace of this process; None before there is a pace.

    `loss` is the last recorded value of `loss_name`, nats a token for a cross-entropy; None where it is not finite or
    none is recorded yet. `time` is when the file was written, in Unix seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    step: int
    steps: int
    left_s: float | None
    loss_name: str | None
    loss: float | None
    time: float

    def write(self, folder: Path) -> None:
        """Put it into `folder`, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{FILE}.writing"
        scratch.write_text(self.model_dump_json(), encoding="utf-8")
        os.replace(scratch, folder / FILE)

    def text(self) -> str:
        """For a person: "step 12 of 45, train cross entropy 0.812"; how long is left is the view's to word."""
        loss = (
            f", {self.loss_name.replace('_', ' ')} {self.loss:.3f}" if self.loss_name and self.loss is not None else ""
        )
        return f"step {self.step} of {self.steps}{loss}"


def read_progress(folder: Path, *, since: float | None = None) -> TrainingProgress | None:
    """What a training in `folder` last said; None where there is none, or it is older than `since`."""
    try:
        found = TrainingProgress.model_validate(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
    return None if since is not None and found.time < since else found


class ProgressFile:
    """Writes a training's progress, at most every `every_s` seconds."""

    def __init__(self, folder: Path, *, every_s: float = 2.0) -> None:
        self.folder, self.every_s = folder, every_s
        self.first: tuple[int, float] | None = None
        self.written = 0.0

    def write(self, step: int, steps: int, loss: tuple[str, float | None] | None) -> None:
        """Step `step` of `steps` is done; `loss` is a name with its last value."""
        now = time.time()
        self.first = self.first or (step, now)
        if now - self.written < self.every_s:
            return
        done, spent = step - self.first[0], now - self.first[1]
        left = spent / done * (steps - step) if done else None
        name, value = loss or (None, None)
        TrainingProgress(step=step, steps=steps, left_s=left, loss_name=name, loss=value, time=now).write(self.folder)
        self.written = now
