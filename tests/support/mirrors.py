"""A sweep over recorded numbers with models and a mirror: real driver, study, stages and store, no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tests.faults.recorded_sweep import job_of, run
from tests.support.outcomes import ANY_OUTCOME
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.mirror.address import Mirror
from unlearn_sweep.engine.mirror.pull import pull
from unlearn_sweep.engine.mirror.push import Pusher
from unlearn_sweep.engine.stages.prepare import model_stages
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageRequest, StageStore

WEIGHTS = "model.safetensors"
FIRST, BEATEN, THIRD = 0, 2, 3
"""Numbers of the recorded trials. The study asked for the first one twice, and settled the second asking itself."""


def finished_sweep(storage: Path, *, model_bytes: int = 5000) -> SweepJob:
    """A sweep that ran to its end, with start, original and gold model as stages of its own."""
    job = job_of(storage)
    prepare_models(job, model_bytes)
    run(str(storage))
    return job


def prepare_models(job: SweepJob, model_bytes: int) -> None:
    store = StageStore(job.storage)
    runner = StageRunner(store, EventLog(job.directory / "events.jsonl"))
    for request in model_stages(job):

        def make(folder: Path, request: StageRequest[Any] = request) -> BaseModel:
            key = request.key
            (folder / "model").mkdir()
            (folder / "model" / WEIGHTS).write_bytes(key.encode() * (model_bytes // 16))
            (folder / "model" / "config.json").write_text("{}")
            store.keep_weights(key, folder / "model")
            return ANY_OUTCOME[request.outcome]

        runner.run(request, make)


def open_mirror(uri: str, *, writer: str = "test") -> Mirror:
    return Mirror(uri, writer=writer)


def push(job: SweepJob, uri: str) -> Pusher:
    """One pass to the end."""
    mirror = open_mirror(uri)
    pusher = Pusher(mirror, StageStore(job.storage), job.directory, mirror.listing(""))
    pusher.look()
    pusher.push(last=True)
    return pusher


def pulled(storage: Path, uri: str) -> tuple[SweepJob, list[str]]:
    """An empty storage after it has fetched what it needs, and what was said."""
    job, said = job_of(storage), []
    pull(open_mirror(uri), job, said.append)
    return job, said


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def record(job: SweepJob, number: int) -> dict[str, Any]:
    return json.loads((job.directory / "trials" / f"{number}.json").read_text())
