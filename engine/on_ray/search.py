"""Run trials in Ray Tune: the broker decides, a thin Searcher passes tasks on, a light function runs each trial."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.on_ray.cluster import driver_resources
from unlearn_sweep.engine.on_ray.compress import packed, unpacked
from unlearn_sweep.engine.on_ray.pool import Pool, RayExecutor
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import ClusterLostError, reason_of
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord

LOST_WORKER_RETRIES = 5
TUNE_END_S = 20.0
RECORD = "record"


class SweepDriver(Protocol):
    """Interface of the sweep's driver for the searcher. The driver owns the broker, the records and the budget."""

    def next_task(self) -> TrialTask | None: ...

    def no_more_tasks(self) -> bool: ...

    def settle(self, task: TrialTask, record: TrialRecord) -> None: ...

    def begun_again(self, task: TrialTask, reason: str) -> None: ...

    def lost(self, task: TrialTask, reason: str) -> None: ...


class BrokerSearcher(Searcher):
    """Passes one task per free workbench to Tune and the records back to the driver. Has no state to save.

    `ended` is set when no trial runs and no more will come, or when `error` ends the search. Tasks are passed as files
    in the folder `tasks`: a task lists all rivals on the front, and Tune keeps several copies of each configuration
    until the sweep ends.
    """

    def __init__(self, driver: SweepDriver, workbenches: list[str], tasks: Path) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._abandoned = False
        self._driver = driver
        self._free = list(workbenches)
        self._tasks = tasks
        self._running: dict[str, tuple[TrialTask, str]] = {}
        self._again: list[TrialTask] = []
        self._losses: Counter[str] = Counter()

    def guard(self, run: Callable[[], Any]) -> None:
        """Run Tune. Store any error in `error`; set `ended` when Tune returns or fails."""
        try:
            run()
        except BaseException as error:  # `search` raises it in the driver's thread
            self.error = self.error or _without_tune(error)
        self.ended.set()

    def abandon(self) -> None:
        """Stop handing out tasks and settling trials: the driver stops. Running trials resume at the next start."""
        self._abandoned = True

    def suggest(self, trial_id: str) -> Any:
        """Return a task for Tune, None if there is no task yet, or FINISHED if there will be no more."""
        if self.error is not None or self._abandoned:
            return Searcher.FINISHED
        try:
            return self._suggest(trial_id)
        except Exception as error:  # Tune would retry forever; `search` raises it in the driver's thread
            return self.fail(error)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        task = self._next_task() if self._free else None
        if task is not None:
            workbench = self._free.pop(0)
            self._running[trial_id] = (task, workbench)
            loss = self._losses[task.holder]
            durable.write_text(self._tasks / task.holder, task.model_dump_json())
            given = {"holder": task.holder, "task": str(self._tasks / task.holder)}
            return {**given, "workbench": workbench, "loss": loss}
        if self._running or not self._driver.no_more_tasks():
            return None  # a running trial may be lost and need another attempt
        self.ended.set()
        return Searcher.FINISHED

    def _next_task(self) -> TrialTask | None:
        return self._again.pop(0) if self._again else self._driver.next_task()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        task, workbench = self._running.pop(trial_id, (None, None))
        if task is None or workbench is None or self._abandoned:
            return
        self._free.append(workbench)
        try:
            if error or not result or RECORD not in result:
                self._lost(task)
            else:
                self._driver.settle(task, unpacked(TrialRecord, result[RECORD]))
                (self._tasks / task.holder).unlink(missing_ok=True)
        except Exception as failure:  # `search` raises it in the driver's thread
            self.fail(failure)
        if not self._again and not self._running and self._driver.no_more_tasks():
            self.ended.set()

    def _lost(self, task: TrialTask) -> None:
        """Retry a task a limited number of times. Tune itself fails a trial if the process to reuse has died."""
        if ray.is_initialized() and not own_machine_lives():
            raise ClusterLostError("Ray on the driver's machine has died")
        self._losses[task.holder] += 1
        if self._losses[task.holder] <= LOST_WORKER_RETRIES:
            self._driver.begun_again(task, "the trial's process was lost")
            self._again.append(task)
        else:
            self._driver.lost(task, f"the trial's process was lost {self._losses[task.holder]} times")

    def fail(self, error: BaseException) -> str:
        """End the search with an error; the first one counts."""
        self.error = self.error or error
        self.ended.set()
        return Searcher.FINISHED

    def save(self, checkpoint_path: str) -> None:
        """Save a placeholder: the state is in the broker's journal and the records."""
        Path(checkpoint_path).write_text(json.dumps({"state": "in the sweep's folder"}))

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a sweep resumes from its own folder."""

    def __getstate__(self) -> dict[str, Any]:
        return {"metric": None, "mode": None}


class TrialErrorLogger(tune.Callback):
    """Logs the exception that Tune stored for a failed trial. Tune does not pass it to the searcher.

    A full disk, of the trial's process or under the log, is passed to `fail`: it is no fault of the trial.
    """

    def __init__(self, events: EventLog, fail: Callable[[BaseException], object]) -> None:
        self._events, self._fail = events, fail

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        path = trial.pickled_error_file  # local path; Tune's own reader uses the path it is copied to later
        if path is not None and Path(path).exists():
            self.log(int(str(trial.config["holder"]).partition("-")[0]), Path(path))

    def log(self, number: int, path: Path) -> None:
        """Log the exception of a trial's process that Tune stored in a file. An error of its own goes to `fail`."""
        try:
            reason = reason_of(cloudpickle.loads(path.read_bytes())).splitlines()
            if any(durable.says_disk_full(line) for line in reason):
                raise durable.DiskFullError(f"trial {number}: {reason[-1]}")
            self._events.append("note", trial=number, reason=f"its process: {reason[0]}")
        except (OSError, EOFError, durable.DiskFullError) as error:  # Tune would end with an error of its own
            self._fail(error)


def _without_tune(error: BaseException) -> BaseException:
    """Return the full disk behind an error that Tune raised, or `error` itself."""
    behind: BaseException | None = error
    while behind is not None:
        if durable.says_disk_full(behind):
            return error if isinstance(error, OSError) else durable.DiskFullError(str(behind).strip().splitlines()[-1])
        behind = behind.__cause__ or behind.__context__
    return error


class FinishedTrials(tune.Callback):
    """Drops what Tune keeps of a finished trial and nothing reads again.

    That is a history of each number it reports, the trial's record, and both as JSON: two fifths of what a trial takes
    of the driver's memory.
    """

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        kept = trial.run_metadata
        kept.metric_analysis, kept.metric_n_steps = {}, {}
        if RECORD in kept.last_result:
            kept.last_result = {**kept.last_result, RECORD: ""}


def trial_function(config: dict[str, Any]) -> None:
    """Run one Tune trial: execute the task on its workbench and report one complete record."""
    from unlearn_sweep.engine.stages.trial import run_trial

    job = SweepJob.model_validate_json(config["job"])
    task = TrialTask.model_validate_json(Path(config["task"]).read_bytes())
    executor = RayExecutor.of(job, config["workbench"])
    executor.announce()
    prepared = Prepared.model_validate_json(config["prepared"])
    record = run_trial(task, job, prepared, executor)
    tune.report({RECORD: packed(record)})


def search(driver: SweepDriver, job: SweepJob, prepared: Prepared, pool: Pool) -> None:
    """Run trials until `driver` has no more. Return after the last is settled, waiting up to 20 s for Tune to end.

    Tune runs in its own thread, so that its actors can be killed here at the end. An error in the driver (such as a
    full disk while a record is written) stops the search and is raised here.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"  # Tune would save all its trials repeatedly, for no use
    # If fewer trials may be pending than may run, Tune ends processes that it needs again a moment later.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(pool.names))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost trial is logged as an event, without a traceback
    searcher = BrokerSearcher(driver, pool.names, job.directory / "ray" / "tasks")
    tuner = _tuner(job, prepared, searcher)
    thread = threading.Thread(target=searcher.guard, args=(tuner.fit,), name="ray-tune", daemon=True)
    thread.start()
    try:
        searcher.ended.wait()
    except BaseException:
        searcher.abandon()
        raise
    pool.end_trial_processes()
    thread.join(timeout=TUNE_END_S)
    if searcher.error is not None:
        raise searcher.error


def own_machine_lives() -> bool:
    """Return whether the cluster still lists the driver's machine as alive."""
    own = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == own and node["Alive"] for node in ray.nodes())


def _tuner(job: SweepJob, prepared: Prepared, searcher: BrokerSearcher) -> tune.Tuner:
    space = {"job": job.model_dump_json(), "prepared": prepared.model_dump_json()}
    return tune.Tuner(
        tune.with_resources(_with_constants(space), driver_resources()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(job.directory / "ray"),
            verbose=0,
            callbacks=[TrialErrorLogger(EventLog(job.directory / "events.jsonl"), searcher.fail), FinishedTrials()],
            failure_config=tune.FailureConfig(max_failures=0),  # the searcher retries a lost trial
        ),
    )


def _with_constants(constants: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    """Return the trial function with the shared `constants` bound. They are short, so no object store is needed."""

    def run(config: dict[str, Any]) -> None:
        trial_function({**constants, **config})

    run.__name__ = "unlearning_trial"
    return run


def _trial_name(trial: Any) -> str:
    holder, loss = trial.config["holder"], trial.config["loss"]
    return f"trial-{holder}-again-{loss}" if loss else f"trial-{holder}"
