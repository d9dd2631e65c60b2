"""The driver runs one sweep from start to end and can resume it at any point.

    lock -> existing records -> Ray -> original, gold, controls -> search -> front, MLflow, done

The driver writes the trial records, the front and the sweep's own events. Other modules write the rest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.changed_code import (
    UNRECORDED_CODE,
    SweepChangedError,
    other_inputs,
    other_sweep,
    refusal,
    says_the_same,
    starts_of,
    what_changed,
)
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.plugin_files import keep_plugins
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.resources.placement import concurrency
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.stages import requests
from unlearn_sweep.engine.stages.attack_order import base_costs, outlooks
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.measurable import UnmeasurableError, check_measurable, unmeasurable
from unlearn_sweep.engine.stages.memory_limit import memory_packing
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.engine.stages.trial import TrialTask, holder_of, weights_holder
from unlearn_sweep.engine.stop import reason_of_stop
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.code import version_of
from unlearn_sweep.engine.store.damaged import (
    LAST_LINE,
    DamagedFileError,
    DamagedStorageError,
    read_lock_file,
    whole_records,
)
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.holder import holder_line
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.retention import Retention, folder_bytes
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.store.starts import Starts
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.budget import budget_spent
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.study.finalists import Finalists, missing_seeds, seed_score, with_seed
from unlearn_sweep.engine.study.front import GrowingFront, members_of, rivals_of
from unlearn_sweep.plugins import PluginFile, use
from unlearn_sweep.plugins import environment as plugin_environment

REPRODUCIBLE_WINDOW = 8


class SweepBusyError(RuntimeError):
    """Another driver is running this sweep."""


def run_sweep(
    job: SweepJob,
    *,
    environment: Mapping[str, str],
    address: str | None = None,
    watch: Callable[[Path, int], AbstractContextManager[Any]] | None = None,
    on_open: Callable[[], None] = lambda: None,
    on_settled: Callable[[], None] | None = None,
    announce: Callable[[str], None] = lambda _: None,
    accept_new_code: bool = False,
    fetch_weights: Callable[[str], None] | None = None,
) -> list[TrialRecord]:
    """Run or resume a sweep and return the records of all its trials.

    Args:
        job: the sweep.
        environment: environment variables of the Ray workers.
        address: address of a running Ray cluster. If None, start a private one on this machine.
        watch: creates the live view, a context manager, from the sweep's folder and the number of trials.
        on_open: called after all checks of the folder have passed (for the MLflow writer).
        on_settled: called after each settled trial (for the MLflow writer).
        announce: called with each line of text for the user.
        accept_new_code: continue a sweep although its code changed. Each trial record names the code that made it.

    Raises:
        SweepBusyError: another driver is running the sweep.
        SweepChangedError: the folder holds a different sweep, or trials made by other code.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(durable.file_lock(job.directory / "driver.lock", wait=False, holder=holder_line()))
        except durable.LockedElsewhereError as error:
            raise SweepBusyError(f"{job.directory} is being run by {error}") from None
        driver = Driver(job, address=address, on_settled=on_settled, accept_new_code=accept_new_code)
        driver.fetch_weights = fetch_weights
        driver.open(announce)
        on_open()
        if driver.is_finished():
            announce("nothing to do: every trial of this sweep is settled")
            if (lost := driver.lost_weights()) is not None:
                announce(lost)
            return driver.records()
        stack.push(driver.note_stop)  # runs after Ray has stopped, so no stage writes a later event
        if watch is not None:
            stack.enter_context(watch(job.directory, job.search.trials))
        driver.run(stack, environment, announce)
        return driver.records()


class Driver:
    """Manages broker, records and budget of one sweep. The caller must hold the sweep's lock."""

    def __init__(
        self,
        job: SweepJob,
        *,
        address: str | None = None,
        on_settled: Callable[[], None] | None = None,
        accept_new_code: bool = False,
        repeat_failed: bool = False,
    ) -> None:
        """Create the driver. With `repeat_failed`, failed trials do not count as done and run again."""
        self.job = job
        self.accept_new_code = accept_new_code
        self.repeat_failed = repeat_failed
        self.code = sweep_code(job)
        self.code_version = version_of(self.code)
        self.starts = Starts()
        self.address = address
        self.directory = job.directory
        self.events = EventLog(job.directory / "events.jsonl")
        self.store = StageStore(job.storage)
        limit = job.storage_limit_gib
        self.retention = Retention(self.store, job.directory, limit_bytes=None if limit is None else int(limit * 2**30))
        self.reserve_bytes = 0
        self.front = GrowingFront(job.search.trials)
        self.finalists = Finalists(job.search.seeds_for_finalists)
        self.attack_costs: dict[str, float] = {}
        self.settled: dict[int, TrialRecord] = {}
        self.plugins: tuple[PluginFile, ...] = ()
        self.broker: StudyBroker | None = None
        self.identity: dict[str, Any] | None = None
        self.asked: dict[int, Mapping[str, Any]] = {}
        self._made_again: set[int] = set()
        self.began = time.monotonic()  # monotonic: durations must not depend on clock changes
        self.stopped: str | None = None
        self.fetch_weights: Callable[[str], None] | None = None
        self._on_settled = on_settled

    # --- opening --------------------------------------------------------------------------------------------------

    def open(self, announce: Callable[[str], None] = lambda _: None) -> None:
        """Read the existing state of the folder and record the new start.

        A damaged trial record is renamed and announced, and its trial runs again.

        Raises:
            SweepChangedError: the folder holds a different sweep, or trials made by other code.
            DamagedFileError: the lock file cannot be read. No file is renamed in this case.
        """
        self.starts = starts_of(self.directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.plugins = keep_plugins(self.job.plugins, self.directory)
        use(self.plugins)
        notices: list[str] = []
        self.settled = {record.number: record for record in whole_records(self.directory, notices)}
        for notice in notices:
            announce(notice)
        logged: set[int] = set()
        for event in self.events.read():
            if event.event == "trial_asked" and event.trial is not None:
                self.asked[event.trial] = event.data
            elif event.event == "trial_settled" and event.trial is not None:
                logged.add(event.trial)
        self.store.clear_remains()
        self._release_settled()
        if not says_the_same(self.directory, self.job.spec_text):
            self._refuse_another_sweep("digest", self.job.digest(), "the sweep file differs from the one it began with")
        self._keep_first_settings()
        if not self.is_finished():
            self._refuse_changed_code(announce)
            self.starts = self.starts.with_one_more(self.code)
            event = "sweep_resumed" if self.asked else "sweep_started"
            self.events.append(event, data={"trials": self.job.search.trials, "code": self.code_version})
        for notice in notices:
            self.events.append("note", reason=notice)
        self._write_lock_file()
        self._mark_feasible()
        self._catch_up(logged)

    def _mark_feasible(self) -> None:
        """Mark infeasible trials in records written by a version that did not do so."""
        for record in list(self.settled.values()):
            now = marked(record, self.job.search.minimum)
            if now is not record:
                self.write_record(now)

    def _catch_up(self, logged: set[int]) -> None:
        """Rebuild the front from all records, and write the settled events that a killed driver did not write."""
        front = None
        for record in sorted(self.settled.values(), key=lambda record: record.finished):
            if record.number not in logged:
                self._say_settled(record)
            front = self.front.add(record)
        if front is not None:
            durable.write_text(self.directory / "progress.json", front.model_dump_json(indent=1) + "\n")

    def _release_settled(self) -> None:
        """Release the models of trials that have a record, in case a driver was killed before it released them."""
        for record in self.settled.values():
            self.retention.release(str(record.number))
            self.retention.release(weights_holder(record.number))
            for score in record.seeds:
                self.retention.release(holder_of(record.number, score.seed))

    def _refuse_changed_code(self, announce: Callable[[str], None]) -> None:
        """Raise SweepChangedError if other code made settled trials, unless the new code is accepted.

        A sweep of a version that did not record its code continues, because nothing shows that the code changed. Its
        trials are marked, as those of accepted code are.
        """
        settled = sum(self._counts(record) for record in self.settled.values())
        if not settled or self.starts.knows(self.code):
            return
        unrecorded = not self.starts.all and all(record.code is None for record in self.settled.values())
        if not (self.accept_new_code or unrecorded):
            raise SweepChangedError(refusal(self.directory, self.starts, self.code, settled))
        reason = UNRECORDED_CODE if unrecorded else what_changed(self.starts, self.code)
        notice = f"new code is accepted: {reason}"
        announce(notice)
        self.events.append("note", reason=notice, data={"code": self.code_version})

    def _refuse_another_sweep(self, field: str, now: object, what: str) -> None:
        """Raise SweepChangedError if `field` of the lock file differs from `now`."""
        before = read_lock_file(self.directory / "spec.lock.yaml")
        self.identity = before.get("identity") if self.identity is None else self.identity
        if before.get(field) is not None and before[field] != now:
            raise SweepChangedError(other_sweep(self.directory, what))

    def _keep_first_settings(self) -> None:
        """Keep `search.first` of the first run, even if the sweep that it was taken from has continued since."""
        locked = read_lock_file(self.directory / "spec.lock.yaml")
        first = locked.get("job", {}).get("search", {}).get("first")
        if first is not None:
            self.job = self.job.model_copy(update={"search": self.job.search.model_copy(update={"first": first})})

    def is_finished(self) -> bool:
        enough = sum(self._counts(record) for record in self.settled.values()) >= self.job.search.trials
        if not enough or any(missing_seeds(self.records(), self.job.search.seeds_for_finalists)):
            return False
        return not self._without_weights()

    def _can_be_rebuilt(self, record: TrialRecord) -> bool:
        """Return whether this code gives a trial the weights it had. Other code trains another model."""
        return record.code == self.code_version

    def _counts(self, record: TrialRecord) -> bool:
        """Return whether a record counts towards the sweep's number of trials."""
        return record.state != "duplicate" and not (self.repeat_failed and record.state == "failed")

    def records(self) -> list[TrialRecord]:
        return [self.settled[number] for number in sorted(self.settled)]

    def _write_lock_file(self) -> None:
        """Write spec.yaml, and spec.lock.yaml with the resolved job, its starts and the identity (once it is known)."""
        import yaml

        job = self.job.model_dump(mode="json", exclude={"spec_text"})
        content = {"job": job, "digest": self.job.digest()}
        if self.identity is not None:
            content["identity"] = self.identity
        content |= self.starts.for_lock_file() | LAST_LINE
        durable.write_text(
            self.directory / "spec.lock.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        )
        durable.write_text(self.directory / "spec.yaml", self.job.spec_text)

    # --- running --------------------------------------------------------------------------------------------------

    def run(self, stack: ExitStack, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
        """Run an opened sweep: start Ray, prepare the controls, search, and finish."""
        from unlearn_sweep.engine.on_ray.cluster import cluster

        environment = {**environment, **plugin_environment(self.plugins)}
        view = stack.enter_context(cluster(address=self.address, environment=environment))
        if view.dashboard_url:
            announce(f"Ray dashboard: {view.dashboard_url}")
        from unlearn_sweep.engine.on_ray.pool import Pool, RayExecutor
        from unlearn_sweep.engine.on_ray.search import driver_resources, search

        places = concurrency(self.job, view.resources, view.nodes, driver=driver_resources())
        pool = Pool(places, resources=self.job.evaluation_resources)
        workers, train_storage = self.job.training.worker_group, self.directory / "ray" / "train"
        limit_s = self.job.stage_timeout_s
        executors = [
            RayExecutor(name, workers=workers, storage=train_storage, timeout_s=limit_s) for name in pool.names
        ]
        self.events.append("note", reason="Ray is up", data={"concurrent_trials": places, "resources": view.resources})
        runner = StageRunner(
            self.store, self.events, stage_lock=ExclusiveStageLock(self.directory, executors[0].make_room)
        )
        prepared = Preparation(self.job, runner, list(executors), in_turn=workers.count > 0).run()
        self._check_controls(prepared)
        timed = not self.job.search.reproducible
        self.attack_costs = base_costs(self.job.attacks, prepared, self.store, timed=timed)
        packing = memory_packing(self.job, prepared, self.store, places, view.nodes)
        if packing.reason is not None:
            self.events.append("note", reason=packing.reason)
            pool.shrink(packing.at_once)
        self._reserve(prepared, packing.at_once)
        self._open_broker(prepared)
        search(self, self.job, prepared, pool)
        self.finish()

    def _check_controls(self, prepared: Prepared) -> None:
        """Write controls.json and check that the objectives are measurable.

        Raises:
            UnmeasurableError: no trial can have a value of some objective, and the sweep may not run without it.
        """
        controls = write_controls(self.job, prepared, self.store)
        lost = unmeasurable(self.job, prepared, controls, self.store)
        try:
            note = check_measurable(self.job, lost)
        except UnmeasurableError as error:
            self.stopped = str(error)
            self.finish()
            raise
        if note is not None:
            self.events.append("note", reason=note)

    def _reserve(self, prepared: Prepared, places: int) -> None:
        """Reserve storage for the models of concurrent trials. An unlearned model is as large as the original."""
        original = Path(prepared.paths["original"])
        self.reserve_bytes = places * folder_bytes(original) if original.is_dir() else 0
        self.retention.evict(reserve_bytes=self.reserve_bytes)

    def _open_broker(self, prepared: Prepared) -> None:
        settings = self.job.search
        window = max(REPRODUCIBLE_WINDOW, 2 * (self.job.concurrent_trials or 1))
        plan = SearchPlan.of(
            settings,
            seed=self.job.seed,
            objectives=("ue", "ut", "rob") if self.job.attacks else ("ue", "ut"),
            window=window if settings.reproducible else None,
        )
        identity = self._identity(prepared)
        self.identity = identity
        self.broker = StudyBroker(
            self.directory / "study.journal",
            self.job.spaces,
            plan,
            identity=identity,
            known=self.settled.values(),
            asked=self.asked,
            notice=lambda text: self.events.append("note", reason=text),
            on_duplicate=lambda number, twin: self.events.append(
                "note",
                trial=number,
                reason=f"the same configuration as trial {twin}: its result is reused, the sampler is asked again",
            ),
        )
        self._write_lock_file()

    def _identity(self, prepared: Prepared) -> dict[str, Any]:
        """Return what all trials share. The identity of the first run is kept: the name of the study depends on it.

        Raises:
            SweepChangedError: an input differs from that of the first run.
        """
        now = requests.trial_identity(self.job, prepared.ids["original"], prepared.data) | {"code": self.code_version}
        if self.identity is None:
            return now
        changed = other_inputs(self.identity, now, original_given=self.job.original.path is not None)
        if changed:
            raise SweepChangedError(other_sweep(self.directory, f"its {' and '.join(changed)} changed since"))
        return self.identity

    def finish(self) -> None:
        """End a run: evict models, tell Optuna all results, delete Ray's folder and write the last event."""
        self.store.clear_remains()
        self.retention.evict(reserve_bytes=self.reserve_bytes)
        if self.broker is not None:
            self.broker.flush()
        if (lost := self.lost_weights()) is not None:
            self.events.append("note", reason=lost)
        shutil.rmtree(self.directory / "ray", ignore_errors=True)
        event = "sweep_stopped" if self.stopped else "sweep_finished"
        self.events.append(event, seconds=time.monotonic() - self.began, reason=self.stopped)

    def note_stop(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Write the event of a run that a signal stopped, for the views."""
        if isinstance(error, KeyboardInterrupt):
            seconds = time.monotonic() - self.began
            self.events.append("sweep_stopped", seconds=seconds, reason=reason_of_stop(error))

    # --- interface for the searcher (SweepDriver) ---------------------------------------------------------------------

    def next_task(self) -> TrialTask | None:
        broker = self._broker()
        self.stopped = self.stopped or self._over_budget()
        proposal = None if self.stopped else broker.ask()
        if proposal is None:
            return self._finalist_task()
        if proposal.number not in self.asked:
            self.asked[proposal.number] = {"method": proposal.method, "params": proposal.params}
            data = {"method": proposal.method, "params": proposal.params, "key": proposal.key}
            self.events.append("trial_asked", trial=proposal.number, data=data)
        return self._task(proposal)

    def no_more_tasks(self) -> bool:
        broker = self._broker()
        if self.stopped is not None or not broker.finished_asking:
            return self.stopped is not None
        if not broker.all_settled:
            return self.job.search.seeds_for_finalists < 2
        return self.finalists.are_given(self.settled) and not self._without_weights()

    def settle(self, task: TrialTask, record: TrialRecord) -> None:
        """Write the record first, then the study, then the events, so that a crash in between loses nothing.

        A full disk or a damaged stage is no result of the trial: it is not settled, and the next run resumes it.

        Raises:
            DiskFullError: the trial failed because the disk is full.
            DamagedStorageError: a finished stage that the trial uses is damaged.
        """
        if record.state == "failed" and durable.says_disk_full(record.reason):
            raise durable.DiskFullError(f"trial {record.number}, {record.failed_stage}: {record.reason}")
        if record.state == "failed" and (record.reason or "").startswith(DamagedFileError.__name__):
            reason = (record.reason or "").partition(": ")[2]
            raise DamagedStorageError(f"trial {record.number} stopped in {record.failed_stage}: {reason}")
        if task.finalist:
            self._settle_finalist(task, record)
        elif task.weights_only:
            self._note_weights(record)
        else:
            self._settle_trial(record)
        self.retention.release(task.holder)
        self.retention.evict(reserve_bytes=self.reserve_bytes)
        if self._on_settled is not None:
            self._on_settled()

    def _settle_trial(self, record: TrialRecord) -> None:
        record = marked(record, self.job.search.minimum)
        self.write_record(record)
        self._broker().settle(record)
        self.publish(record)

    def publish(self, record: TrialRecord) -> None:
        """Write the event of a settled trial and the updated front, for the views."""
        self._say_settled(record)
        front = self.front.add(record)
        durable.write_text(self.directory / "progress.json", front.model_dump_json(indent=1) + "\n")

    def _say_settled(self, record: TrialRecord) -> None:
        compute = sum(record.stage_seconds.values())
        objectives = {name: getattr(record, name) for name in ("ue", "ut", "rob")}
        self.events.append(
            "trial_settled",
            trial=record.number,
            seconds=record.finished - record.started,
            reason=record.reason or record.unmoved or record.rob_reason,
            data={"state": record.state, "compute_s": compute, **objectives},
        )

    def _settle_finalist(self, task: TrialTask, record: TrialRecord) -> None:
        """Add the result of one more seed to the record of its trial."""
        score = seed_score(record)
        self.write_record(with_seed(self.settled[task.number], score))
        self.events.append(
            "finalist_settled",
            trial=task.number,
            seconds=score.finished - score.started,
            reason=score.reason,
            data={"seed": score.seed, "state": score.state, "ue": score.ue, "ut": score.ut, "rob": score.rob},
        )

    def _note_weights(self, record: TrialRecord) -> None:
        """Write an event if rebuilding the weights of a front member failed. Its record does not change."""
        if record.state == "failed":
            reason = f"trial {record.number} is on the front, and rebuilding its weights failed: {record.reason}"
            self.events.append("note", trial=record.number, reason=reason)

    def _without_weights(self) -> list[TrialRecord]:
        """Return the front members whose weights are missing, can be rebuilt and are not yet being rebuilt.

        Weights can be missing because a trial with only cache hits is settled without them.
        """
        members = [record for record in members_of(self.records()) if record.number not in self._made_again]
        return [record for record in members if self._can_be_rebuilt(record) and not self._has_weights(record)]

    def lost_weights(self) -> str | None:
        """Return a notice of the front members whose weights are missing and were made by other code, or None."""
        lost = [record for record in members_of(self.records()) if not self._can_be_rebuilt(record)]
        numbers = ", ".join(str(record.number) for record in lost if not self._has_weights(record))
        if not numbers:
            return None
        return (
            f"weights of front members {numbers} are not stored. Other code made these trials, so they are not trained "
            "again; to export one, go back to that version or run the sweep under another name"
        )

    def _has_weights(self, record: TrialRecord) -> bool:
        """Return whether the store has a trial's weights, after `fetch_weights` looked for them elsewhere.

        A trial without a training stage has none to lose.
        """
        key = record.stage_keys.get("unlearn")
        if key is None:
            return True
        if not self.store.has_weights(key) and self.fetch_weights is not None:
            self.fetch_weights(key)
        return self.store.has_weights(key)

    def write_record(self, record: TrialRecord) -> None:
        sealed = record.sealed()
        durable.write_text(self.directory / "trials" / f"{record.number}.json", sealed.model_dump_json(indent=1) + "\n")
        self.settled[record.number] = sealed

    def begun_again(self, task: TrialTask, reason: str) -> None:
        """Write an event: the process or machine of a trial was lost. The trial resumes from its finished stages."""
        event, mark = ("finalist_lost", {"seed": task.seed}) if task.finalist else ("trial_lost", {})
        self.events.append(event, trial=task.number, reason=reason, data=mark)

    def lost(self, task: TrialTask, reason: str) -> None:
        now = time.time()
        fields = task.model_dump(include={"number", "key", "method", "params", "seed"})
        self.settle(task, TrialRecord(**fields, state="failed", started=now, finished=now, reason=reason))

    def _finalist_task(self) -> TrialTask | None:
        """Return a task for after the search: first the missing seeds of front members, then their missing weights."""
        broker = self._broker()
        if self.stopped is not None or not (broker.finished_asking and broker.all_settled):
            return None
        found = self.finalists.next(self.settled)
        if found is None:
            return self._weights_task()
        record, seed = found
        proposal = broker.proposal_of(record.number, record.method, record.params, seed=seed)
        return make_task(proposal, [], self.job, self.attack_costs).model_copy(update={"finalist": True})

    def _weights_task(self) -> TrialTask | None:
        """Return a task that rebuilds the weights of a front member, or None if no weights are missing."""
        record = next(iter(self._without_weights()), None)
        if record is None:
            return None
        self._made_again.add(record.number)
        proposal = self._broker().proposal_of(record.number, record.method, record.params, seed=record.seed)
        return make_task(proposal, [], self.job, self.attack_costs).model_copy(update={"weights_only": True})

    def _task(self, proposal: Proposal) -> TrialTask:
        visible = [self.settled[number] for number in self._broker().visible_to(proposal.number)]
        visible = [
            record for record in visible if record.code == self.code_version
        ]  # results of other code are not comparable
        return make_task(proposal, visible, self.job, self.attack_costs)

    def _over_budget(self) -> str | None:
        """Return why no further trial may start, or None. Running trials finish."""
        spent = budget_spent(self.job, self.settled.values(), hours=(time.monotonic() - self.began) / 3600)
        return spent or self.retention.obstacle(self.reserve_bytes)

    def _broker(self) -> StudyBroker:
        if self.broker is None:
            raise RuntimeError("the study opens after the preparation")
        return self.broker


def make_task(
    proposal: Proposal, visible: Sequence[TrialRecord], job: SweepJob, attack_costs: Mapping[str, float]
) -> TrialTask:
    """Create the task of a proposal. `visible` are the settled trials whose results it may depend on."""
    return TrialTask(
        number=proposal.number,
        key=proposal.key,
        method=proposal.method,
        params=proposal.params,
        seed=proposal.seed,
        rivals=rivals_of(visible),
        outlook=outlooks(visible, job.attacks, attack_costs, timed=not job.search.reproducible),
    )
