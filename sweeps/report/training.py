"""Describe running trainings for `status` and the live view: step, loss and remaining time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.store.training_progress import read_progress
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.timeline import OpenStage, Timeline


def training_text(directory: Path, key: str | None, since: float | None) -> str | None:
    """Return the progress of the training stage `key` in one line; None if the stage has reported no progress.

    Ignore reports from before `since` (Unix seconds): they belong to an earlier attempt.
    """
    if key is None:
        return None
    found = read_progress(StageStore(directory.resolve().parent).partial_folder(key), since=since)
    if found is None:
        return None
    left = f", about {duration(found.left_s)} left" if found.left_s is not None else ""
    return f"{found.text()}{left}"


def open_stages(timeline: Timeline) -> Iterator[tuple[str, OpenStage]]:
    """Yield every running stage with the prefix of its name: "trial N: ", or empty for preparation stages."""
    for part in timeline.preparation.values():
        if part.state == "running" and part.started is not None:
            yield "", OpenStage(stage=part.stage, started=part.started, key=part.key)
    for trial in timeline.open_trials.values():
        yield from ((f"trial {trial.number}: ", stage) for stage in trial.stages.values())
    for (number, seed), trial in timeline.open_finalists.items():
        yield from ((f"trial {number} seed {seed}: ", stage) for stage in trial.stages.values())
