"""Trainings under way, for the views: at which step, with which loss, and how long they will still take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.store.training_progress import read_progress
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.timeline import OpenStage, Timeline


def training_text(directory: Path, key: str | None, since: float | None) -> str | None:
    """Where the training of the stage `key` is, in one line; None for a stage that does not train or has said nothing.

    What an earlier attempt said, before `since`, is left out.
    """
    if key is None:
        return None
    found = read_progress(StageStore(directory.resolve().parent).partial_folder(key), since=since)
    if found is None:
        return None
    left = f", about {duration(found.left_s)} left" if found.left_s is not None else ""
    return f"{found.text()}{left}"


def open_stages(timeline: Timeline) -> Iterator[tuple[str, OpenStage]]:
    """Every stage under way with what stands before its name in a line: nothing, or its trial."""
    for part in timeline.preparation.values():
        if part.state == "running" and part.started is not None:
            yield "", OpenStage(stage=part.stage, started=part.started, key=part.key)
    for trial in timeline.open_trials.values():
        yield from ((f"trial {trial.number}: ", stage) for stage in trial.stages.values())
    for (number, seed), trial in timeline.open_finalists.items():
        yield from ((f"trial {number} seed {seed}: ", stage) for stage in trial.stages.values())
