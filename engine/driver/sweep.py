"""The driver runs one sweep from start to end and can resume it at any point.

    lock -> existing records -> Ray -> original, gold, controls -> search -> front, MLflow, done

The driver writes the trial records, the front and the sweep's own events (`engine.driver.sweep_folder`). Other modules
write the rest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.driver.changed_code import other_inputs, other_rows, other_sweep, trial_identity
from unlearn_sweep.engine.driver.sweep_folder import SweepFolder
from unlearn_sweep.engine.driver.waiting_settings import take_waiting
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.resources.placement import concurrency
from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.stages.attack_order import base_costs, outlooks, worst_of_last
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.measurable import UnmeasurableError, check_measurable, unmeasurable
from unlearn_sweep.engine.stages.memory_limit import memory_packing
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.training_requests import unlearn_stage
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.damaged import DamagedFileError, DamagedStorageError
from unlearn_sweep.engine.store.driver_lock import only_driver
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.retention import UNLEARN, folder_bytes
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.budget import budget_spent
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.study.finalists import Finalists, seed_score, with_seed
from unlearn_sweep.engine.study.front import rivals_of
from unlearn_sweep.engine.study.stopping import probing_of
from unlearn_sweep.engine.training_space import checkpoint_shares
from unlearn_sweep.plugins import environment as plugin_environment

REPRODUCIBLE_WINDOW = 8


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
        fetch_weights: called with the stage key of a front member's weights that are not in the store.

    Raises:
        SweepBusyError: another driver is running the sweep.
        SweepChangedError: the folder holds a different sweep, or trials made by other code.
    """
    with ExitStack() as stack:
        stack.enter_context(only_driver(job.directory))
        driver = Driver(
            job,
            address=address,
            on_settled=on_settled,
            accept_new_code=accept_new_code,
            fetch_weights=fetch_weights,
        )
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


class Driver(SweepFolder):
    """Runs the search of one sweep: broker, tasks and budget. The caller must hold the sweep's lock."""

    def __init__(
        self,
        job: SweepJob,
        *,
        address: str | None = None,
        on_settled: Callable[[], None] | None = None,
        accept_new_code: bool = False,
        fetch_weights: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(job, accept_new_code=accept_new_code, fetch_weights=fetch_weights)
        self.address = address
        self.reserve_bytes = 0
        self.finalists = Finalists(job.search.seeds_for_finalists)
        self.attack_costs: dict[str, float] = {}
        self.broker: StudyBroker | None = None
        self.stopped: str | None = None
        self._on_settled = on_settled

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self, stack: ExitStack, environment: Mapping[str, str], announce: Callable[[str], None]) -> None:
        """Run an opened sweep: start Ray, prepare the controls, search, and finish."""
        from unlearn_sweep.engine.on_ray.cluster import cluster, driver_resources

        environment = {**environment, **plugin_environment(self.plugins)}
        announce("starting Ray" if self.address is None else f"joining Ray at {self.address}")
        view = stack.enter_context(cluster(address=self.address, environment=environment, meanwhile=_load_search))
        from unlearn_sweep.engine.on_ray.dashboard import open_dashboard
        from unlearn_sweep.engine.on_ray.pool import Pool, RayExecutor

        self.job = self.job.on_capacity(view.resources)
        places = concurrency(self.job, view.resources, view.nodes, driver=driver_resources())
        pool = Pool.of(self.job, places)
        # From here on the workbenches load torch, and the driver does little, so that they have both cores.
        note = partial(self.events.append, "note")
        open_dashboard(view, announce, failed=lambda reason: note(reason=reason), hold=pool.await_warm)
        from unlearn_sweep.engine.on_ray.metrics import exported
        from unlearn_sweep.engine.on_ray.search import search

        stack.enter_context(exported(self.job))
        workers, executors = self.job.training.worker_group, [RayExecutor.of(self.job, name) for name in pool.names]
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
            self.events.append("note", reason=packing.reason, data={"concurrent_trials": packing.at_once})
            pool.shrink(packing.at_once)
        self.hold_stored(prepared)
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

    def hold_stored(self, prepared: Prepared) -> None:
        """Keep the models that this sweep measures and must not train (`rescore`), until their trials are settled."""
        if self.job.search.trains:
            return
        spaces = {space.method: space for space in self.job.spaces}
        for number, setting in enumerate(self.job.search.first):
            if number not in self.settled:
                params = spaces[setting.method].whole(setting.params)
                ids = (self.job.seed, prepared.ids["original"], prepared.data)
                self.retention.hold(str(number), unlearn_stage(self.job, setting.method, params, *ids).key)

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
            title=self.job.name,
            known=self.settled.values(),
            asked=self.asked,
            shares=partial(checkpoint_shares, self.job.training) if settings.trains else lambda params: (),
            notice=lambda text: self.events.append("note", reason=text),
            on_duplicate=lambda number, twin: self.events.append(
                "note",
                trial=number,
                reason=f"the same configuration as trial {twin}: its result is reused, the sampler is asked again",
            ),
        )
        self.write_lock_file()

    def _identity(self, prepared: Prepared) -> dict[str, str]:
        """Return what all trials share. The identity of the first run is kept: the name of the study depends on it.

        Raises:
            SweepChangedError: an input differs from that of the first run.
        """
        now = trial_identity(self.job, prepared.ids["original"], prepared.data) | {"code": self.code_version}
        if self.identity is None:
            return now
        changed = other_inputs(self.identity, now, original_given=self.job.original.path is not None)
        if changed:
            raise other_sweep(self.directory, f"its {' and '.join(changed)} changed since")
        if (notice := other_rows(self.identity, now)) is not None:
            self.events.append("note", reason=notice)
        return self.identity

    def finish(self) -> None:
        """End a run: evict models, tell Optuna all results, delete Ray's folder and write the last event."""
        self.store.clear_remains()
        self.retention.drop_shares()
        self.retention.evict(reserve_bytes=self.reserve_bytes)
        if self.broker is not None:
            self.broker.flush()
        if (lost := self.lost_weights()) is not None:
            self.events.append("note", reason=lost)
        shutil.rmtree(self.directory / "ray", ignore_errors=True)
        event = "sweep_stopped" if self.stopped else "sweep_finished"
        self.events.append(event, seconds=time.monotonic() - self.began, reason=self.stopped)

    # --- interface for the searcher (SweepDriver) -------------------------------------------------------------------

    def next_task(self) -> TrialTask | None:
        broker = self._broker()
        self.stopped = self.stopped or self._over_budget()
        take_waiting(self.directory, broker, self.events)
        proposal = None if self.stopped else broker.ask()
        if proposal is None:
            return self._finalist_task()
        if proposal.number not in self.asked:
            self.asked[proposal.number] = Configuration(method=proposal.method, params=proposal.params)
            data = {"method": proposal.method, "params": proposal.params, "key": proposal.key}
            self.events.append("trial_asked", trial=proposal.number, data=data)
        return self._task(proposal)

    def no_more_tasks(self) -> bool:
        broker = self._broker()
        if self.stopped is not None or not broker.finished_asking:
            return self.stopped is not None
        if not broker.all_settled:
            return self.job.search.seeds_for_finalists < 2
        return self.finalists.are_given(self.settled) and not self.weights.missing(self.records())

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
        self.retention.release_share(record.stage_keys.get(UNLEARN))
        self.retention.evict(reserve_bytes=self.reserve_bytes)
        if self._on_settled is not None:
            self._on_settled()

    def _settle_trial(self, record: TrialRecord) -> None:
        record = marked(record, self.job.search.minimum)
        self.write_record(record)
        self._broker().settle(record)
        self.publish(record)

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
        record = self.weights.take(self.records())
        if record is None:
            return None
        proposal = self._broker().proposal_of(record.number, record.method, record.params, seed=record.seed)
        return make_task(proposal, [], self.job, self.attack_costs).model_copy(update={"weights_only": True})

    def _task(self, proposal: Proposal) -> TrialTask:
        visible = [self.settled[number] for number in self._broker().visible_to(proposal.number)]
        visible = [
            record for record in visible if record.code == self.code_version
        ]  # results of other code are not comparable
        task = make_task(proposal, visible, self.job, self.attack_costs)
        probing = probing_of(self.job, task.number, visible, task.rivals)
        return task.model_copy(update={"probing": probing})

    def _over_budget(self) -> str | None:
        """Return why no further trial may start, or None. Running trials finish."""
        spent = budget_spent(self.job, self.settled.values(), hours=(time.monotonic() - self.began) / 3600)
        return spent or self.retention.obstacle(self.reserve_bytes)

    def _broker(self) -> StudyBroker:
        if self.broker is None:
            raise RuntimeError("the study opens after the preparation")
        return self.broker


def _load_search() -> None:
    """Import what the driver needs of Ray Tune, which takes a second of CPU."""
    import unlearn_sweep.engine.on_ray.dashboard
    import unlearn_sweep.engine.on_ray.metrics
    import unlearn_sweep.engine.on_ray.pool
    import unlearn_sweep.engine.on_ray.search  # noqa: F401


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
        tried_first=worst_of_last(visible) if job.attackers else [],
    )
