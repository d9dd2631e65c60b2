"""Ray Tune executes what the broker decides: a thin Searcher, a nearly free trial function, and one `Tuner.fit`."""

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
from unlearn_sweep.engine.on_ray.cluster import DRIVER_RESOURCE
from unlearn_sweep.engine.on_ray.compress import packed, unpacked
from unlearn_sweep.engine.on_ray.pool import Pool, RayExecutor
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import ClusterLostError, reason_of
from unlearn_sweep.engine.stages.trial import TrialTask
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord

DRIVER_CPU = 0.01
LOST_WORKER_RETRIES = 5
TUNE_END_S = 20.0
RECORD = "record"


class SweepDriver(Protocol):
    """What the searcher asks: the sweep's driver, which owns broker, records and budget."""

    def next_task(self) -> TrialTask | None: ...

    def no_more_tasks(self) -> bool: ...

    def settle(self, task: TrialTask, record: TrialRecord) -> None: ...

    def begun_again(self, task: TrialTask, reason: str) -> None: ...

    def lost(self, task: TrialTask, reason: str) -> None: ...


class BrokerSearcher(Searcher):
    """Gives Tune one task for each free workbench and takes the records back. Keeps nothing that must survive.

    `ended` is set when no trial runs and none will come, or when `error` ended the search. A task goes by way of a file
    in `tasks`: it names every rival on the front, and Tune keeps what it is given, several times, until the sweep ends.
    """

    def __init__(self, director: SweepDriver, workbenches: list[str], tasks: Path) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._abandoned = False
        self._director = director
        self._free = list(workbenches)
        self._tasks = tasks
        self._running: dict[str, tuple[TrialTask, str]] = {}
        self._again: list[TrialTask] = []
        self._losses: Counter[str] = Counter()

    def guard(self, run: Callable[[], Any]) -> None:
        """Run Tune; whatever ends it ends the search."""
        try:
            run()
        except BaseException as error:  # handed to the driver's thread, which raises it
            self.error = self.error or error
        self.ended.set()

    def abandon(self) -> None:
        """Give out and settle nothing any more: the driver is stopping, and what runs goes on at the next start."""
        self._abandoned = True

    def suggest(self, trial_id: str) -> Any:
        """A task for Tune, None for later, FINISHED for never again."""
        if self.error is not None or self._abandoned:
            return Searcher.FINISHED
        try:
            return self._suggest(trial_id)
        except Exception as error:  # Tune would try again for ever; the driver's thread raises it
            return self._fail(error)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        task = self._next_task() if self._free else None
        if task is not None:
            workbench = self._free.pop(0)
            self._running[trial_id] = (task, workbench)
            loss = self._losses[task.holder]
            durable.write_text(self._tasks / task.holder, task.model_dump_json())
            given = {"holder": task.holder, "task": str(self._tasks / task.holder)}
            return {**given, "workbench": workbench, "loss": loss}
        if self._running or not self._director.no_more_tasks():
            return None  # what runs may be lost and come again
        self.ended.set()
        return Searcher.FINISHED

    def _next_task(self) -> TrialTask | None:
        return self._again.pop(0) if self._again else self._director.next_task()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        task, workbench = self._running.pop(trial_id, (None, None))
        if task is None or workbench is None or self._abandoned:
            return
        self._free.append(workbench)
        try:
            if error or not result or RECORD not in result:
                self._lost(task)
            else:
                self._director.settle(task, unpacked(TrialRecord, result[RECORD]))
                (self._tasks / task.holder).unlink(missing_ok=True)
        except Exception as failure:  # as above
            self._fail(failure)
        if not self._again and not self._running and self._director.no_more_tasks():
            self.ended.set()

    def _lost(self, task: TrialTask) -> None:
        """Give the task out again, some times. Tune gives up at once where the process it would reuse has died."""
        if ray.is_initialized() and not own_machine_lives():
            raise ClusterLostError("Ray on the driver's machine is gone")
        self._losses[task.holder] += 1
        if self._losses[task.holder] <= LOST_WORKER_RETRIES:
            self._director.begun_again(task, "the trial's process was lost")
            self._again.append(task)
        else:
            self._director.lost(task, f"the trial's process was lost {self._losses[task.holder]} times")

    def _fail(self, error: BaseException) -> str:
        self.error = self.error or error
        self.ended.set()
        return Searcher.FINISHED

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the broker's journal and the records are the state."""
        Path(checkpoint_path).write_text(json.dumps({"state": "in the sweep's folder"}))

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore; a sweep resumes through its own folder."""

    def __getstate__(self) -> dict[str, Any]:
        return {"metric": None, "mode": None}


class TrialErrorLogger(tune.Callback):
    """Writes down what Tune knows of a trial's end, which it tells nobody who may decide on it."""

    def __init__(self, events: EventLog) -> None:
        self._events = events

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        path = trial.pickled_error_file  # of this machine; Tune's own reader looks where it is copied to later
        if path is None or not Path(path).exists():
            return
        reason = reason_of(cloudpickle.loads(Path(path).read_bytes())).partition("\n")[0]
        number = int(str(trial.config["holder"]).partition("-")[0])
        self._events.append("note", trial=number, reason=f"its process: {reason}")


def trial_function(config: dict[str, Any]) -> None:
    """One Tune trial: run the task on its workbench, report one record with everything in it."""
    from unlearn_sweep.engine.stages.trial import run_trial

    job = SweepJob.model_validate_json(config["job"])
    task = TrialTask.model_validate_json(Path(config["task"]).read_bytes())
    executor = RayExecutor(
        config["workbench"],
        workers=job.training.worker_group,
        storage=job.directory / "ray" / "train",
        timeout_s=job.stage_timeout_s,
    )
    executor.announce()
    prepared = Prepared.model_validate_json(config["prepared"])
    record = run_trial(task, job, prepared, executor)
    tune.report({RECORD: packed(record)})


def search(director: SweepDriver, job: SweepJob, prepared: Prepared, pool: Pool) -> None:
    """Run trials until the director has no more. Returns when the last one is settled and Tune is gone.

    Tune runs in a thread of its own, so that it can be helped at its end. An error in the driver (a full disk while a
    record is written) stops the search and is raised here.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"  # it would save all its trials again and again, for nobody
    # With fewer trials waiting to begin than may run, Tune ends processes that it would need again a moment later.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(pool.names))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost trial is an event here, and no traceback
    searcher = BrokerSearcher(director, pool.names, job.directory / "ray" / "tasks")
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
    """Whether the cluster still counts the driver's machine among its own."""
    own = ray.get_runtime_context().get_node_id()
    return any(node["NodeID"] == own and node["Alive"] for node in ray.nodes())


def driver_resources() -> dict[str, float]:
    """What a trial's driver holds: nothing of the machine's where the cluster is ours, next to nothing on another's."""
    return {DRIVER_RESOURCE: 1.0} if DRIVER_RESOURCE in ray.cluster_resources() else {"CPU": DRIVER_CPU}


def _tuner(job: SweepJob, prepared: Prepared, searcher: Searcher) -> tune.Tuner:
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
            callbacks=[TrialErrorLogger(EventLog(job.directory / "events.jsonl"))],
            failure_config=tune.FailureConfig(max_failures=0),  # a lost trial is given out again by the searcher
        ),
    )


def _with_constants(constants: dict[str, str]) -> Callable[[dict[str, Any]], None]:
    """The trial function with what all trials share; small text, so no object store is needed."""

    def run(config: dict[str, Any]) -> None:
        trial_function({**constants, **config})

    run.__name__ = "unlearning_trial"
    return run


def _trial_name(trial: Any) -> str:
    holder, loss = trial.config["holder"], trial.config["loss"]
    return f"trial-{holder}-again-{loss}" if loss else f"trial-{holder}"
