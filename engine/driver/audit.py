"""Audit one existing model with the metrics and the whole attack battery. No search, no unlearning.

An audit is a sweep of one trial whose model is given. It uses the same stages, store, controls and report as a sweep,
and runs in this process. A killed audit resumes from its finished stages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.driver.sweep_folder import SweepFolder
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.loading import model_digest, refuse_other_vocabulary
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import WHICH, Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.raw_scoring import RawScorer
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial import Trial, run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.driver_lock import only_driver
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.records import TrialRecord

METHOD = "audit"


class Audit(Trial):
    """A trial whose model already exists. It skips the collapse gate: a collapsed model is attacked as well."""

    def __init__(
        self,
        task: TrialTask,
        job: SweepJob,
        prepared: Prepared,
        executor: Executor,
        runner: StageRunner,
        *,
        model: str,
        path: str,
    ) -> None:
        super().__init__(task, job, prepared, executor, runner)
        self.model = model
        self.model_path = self.path = path
        if set(prepared.evaluations) != set(WHICH):
            self.scorer = RawScorer(job, prepared, runner.store)

    def need_weights(self) -> None:
        """Train the original if a recipe makes it and its weights are missing. The audited model already exists."""
        if "original" in self.prepared.paths:
            self.trainings.need_original()

    def run(self) -> TrialRecord:
        self.evaluation = self.scorer.evaluation(self.evaluate(self.path))
        self.attack_all(self.path)
        self.robustness = self.scorer.robustness(self.attacks)
        return self.record(state="complete")


def run_audit(
    job: SweepJob,
    path: str,
    *,
    controls: Sequence[str] = WHICH,
    watch: Callable[[Path, int], AbstractContextManager[Any]] | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> TrialRecord:
    """Audit the model at `path` (folder or hub id) against the given `controls` ("original", "gold", or a subset).

    Return the record, which is also written to the job's folder. The next call repeats a failed audit.

    Raises:
        SweepBusyError: another process is running an audit in that folder.
        SweepChangedError: the folder holds a different audit.
        StageFailedError: a control cannot be prepared.
        ValueError: `path` is not a usable model, or its vocabulary differs from the original's.
    """
    with ExitStack() as stack:
        stack.enter_context(only_driver(job.directory))
        folder = SweepFolder(job, repeat_failed=True)
        folder.open(announce)
        done = folder.settled.get(0)
        if done is not None and done.state != "failed":
            announce("nothing to do: the audit of this model is complete")
            return done
        stack.push(folder.note_stop)
        if watch is not None:
            stack.enter_context(watch(job.directory, 1))
        record = _audit(folder, path, controls, announce)
        folder.events.append("sweep_finished", seconds=time.monotonic() - folder.began, reason=record.reason)
        return record


def _audit(folder: SweepFolder, path: str, controls: Sequence[str], announce: Callable[[str], None]) -> TrialRecord:
    job, executor = folder.job, InProcessExecutor(timeout_s=folder.job.stage_timeout_s)
    runner = StageRunner(folder.store, folder.events, stage_lock=ExclusiveStageLock(job.directory, executor.make_room))
    prepared = Preparation(job, runner, [executor], in_turn=True, which=controls, here=True, probe_refuses=False).run()
    if prepared.prompt_note:
        folder.events.append("note", reason=prepared.prompt_note)
        announce(f"warning: {prepared.prompt_note}")
    if set(controls) == set(WHICH):
        write_controls(job, prepared, folder.store)
    used = job.original.tokenizer or prepared.paths.get("original")
    if job.original.tokenizer is None and used is not None:
        refuse_other_vocabulary(path, used)
    model = model_digest(path)
    key = digest({"model": model, "data": prepared.data, "controls": prepared.ids})
    task = TrialTask(number=0, key=key, method=METHOD, params={"model": path}, seed=job.seed)
    folder.events.append("trial_asked", trial=0, data={"method": METHOD, "params": task.params, "key": key})
    record = run_trial(task, job, prepared, executor, begin=lambda *parts: Audit(*parts, model=model, path=path))
    folder.write_record(record)
    folder.publish(record)
    return folder.settled[record.number]
