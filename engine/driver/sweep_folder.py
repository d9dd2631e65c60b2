"""The folder of one sweep: read what is there, refuse what does not fit, and write records, events and the front."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from unlearn_sweep.engine.driver.changed_code import (
    UNRECORDED_CODE,
    other_code,
    other_sweep,
    says_the_same,
    starts_of,
    what_changed,
)
from unlearn_sweep.engine.driver.front_weights import FrontWeights
from unlearn_sweep.engine.driver.plugin_files import keep_plugins
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_settings import Configuration, LearntTrial, OtherSweep
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.engine.stages.trial_task import holder_of, weights_holder
from unlearn_sweep.engine.stop import reason_of_stop
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.code import version_of
from unlearn_sweep.engine.store.compact import compact
from unlearn_sweep.engine.store.damaged import (
    LAST_LINE,
    DamagedFileError,
    read_lock_file,
    set_records_aside,
    whole_records,
)
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.retention import UNLEARN, Retention
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.store.starts import Starts
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.study.finalists import missing_seeds
from unlearn_sweep.engine.study.front import SweepFront
from unlearn_sweep.plugins import PluginFile, use


class SweepFolder:
    """Records, events, lock file and front of one sweep or audit. The caller must hold the sweep's lock."""

    def __init__(
        self,
        job: SweepJob,
        *,
        accept_new_code: bool = False,
        repeat_failed: bool = False,
        fetch_weights: Callable[[str], None] | None = None,
    ) -> None:
        """Create the view of a folder; `open` reads it.

        Args:
            job: the sweep.
            accept_new_code: continue although other code made settled trials.
            repeat_failed: failed trials do not count as done and run again.
            fetch_weights: look for the weights of a stage key elsewhere, such as in a mirror, before they count as
                missing.
        """
        self.job = job
        self.accept_new_code = accept_new_code
        self.repeat_failed = repeat_failed
        self.code = sweep_code(job)
        self.code_version = version_of(self.code)
        self.starts = Starts()
        self.directory = job.directory
        self.events = EventLog(job.directory / "events.jsonl")
        self.store = StageStore(job.storage)
        limit = job.storage_limit_gib
        self.retention = Retention(
            self.store,
            job.directory,
            limit_bytes=None if limit is None else int(limit * 2**30),
            evicts=job.search.trains,
        )
        self.front = SweepFront(job.search.trials)
        self.weights = FrontWeights(self.store, self.code_version, fetch=fetch_weights)
        self.settled: dict[int, TrialRecord] = {}
        self.plugins: tuple[PluginFile, ...] = ()
        self.identity: dict[str, str] | None = None
        self.asked: dict[int, Configuration] = {}
        self.began = time.monotonic()  # monotonic: durations must not depend on clock changes

    # --- opening --------------------------------------------------------------------------------------------------

    def open(self, announce: Callable[[str], None] = lambda _: None) -> None:
        """Read the existing state of the folder and record the new start. If it is refused, no file is changed.

        A damaged trial record is renamed and announced, and its trial runs again.

        Raises:
            SweepChangedError: the folder holds a different sweep, or trials made by other code.
            DamagedFileError: the lock file cannot be read.
            PluginError: a plugin's file changed after it was read.
        """
        self.starts = starts_of(self.directory)
        use(self.job.plugins)
        if not says_the_same(self.directory, self.job.spec_text):
            self._refuse_another_sweep("digest", self.job.digest(), "the sweep file differs from the one it began with")
        damaged: list[DamagedFileError] = []
        self.settled = {record.number: record for record in whole_records(self.directory, damaged)}
        logged = self._read_events()
        self._keep_first_settings()
        finished = self.is_finished()
        new_code = [] if finished else self._accepted_code()
        self.directory.mkdir(parents=True, exist_ok=True)  # nothing is written before this line
        self.plugins = keep_plugins(self.job.plugins, self.directory)
        use(self.plugins)
        notices = set_records_aside(damaged)
        for notice in (*notices, *new_code):
            announce(notice)
        self.store.clear_remains()
        self._release_settled()
        for notice in new_code:
            self.events.append("note", reason=notice, data={"code": self.code_version})
        if not finished:
            self.starts = self.starts.with_one_more(self.code)
            event = "sweep_resumed" if self.asked else "sweep_started"
            self.events.append(event, data={"trials": self.job.search.trials, "code": self.code_version})
        for notice in notices:
            self.events.append("note", reason=notice)
        self.write_lock_file()
        self._mark_feasible()
        self._catch_up(logged)

    def _read_events(self) -> set[int]:
        """Read what was asked from the log. Return the trials whose settling is logged."""
        logged: set[int] = set()
        for event in self.events.read():
            if event.event == "trial_asked" and event.trial is not None and "params" in event.data:
                self.asked[event.trial] = Configuration(method=event.data["method"], params=event.data["params"])
            elif event.event == "trial_settled" and event.trial is not None:
                logged.add(event.trial)
        return logged

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
            self.retention.release_share(record.stage_keys.get(UNLEARN))
            self.retention.release(weights_holder(record.number))
            for score in record.seeds:
                self.retention.release(holder_of(record.number, score.seed))

    def _accepted_code(self) -> list[str]:
        """Return a notice if other code made settled trials and the sweep continues all the same, else an empty list.

        A sweep of a version that did not record its code continues, because nothing shows that the code changed. Its
        trials are marked, as those of accepted code are.

        Raises:
            SweepChangedError: the new code is not accepted.
        """
        settled = sum(self._counts(record) for record in self.settled.values())
        if not settled or self.starts.knows(self.code):
            return []
        unrecorded = not self.starts.all and all(record.code is None for record in self.settled.values())
        if not (self.accept_new_code or unrecorded):
            raise other_code(self.directory, self.starts, self.code, settled)
        reason = UNRECORDED_CODE if unrecorded else what_changed(self.starts, self.code)
        return [f"new code is accepted: {reason}"]

    def _refuse_another_sweep(self, field: str, now: object, what: str) -> None:
        """Raise SweepChangedError if `field` of the lock file differs from `now`."""
        before = read_lock_file(self.directory / "spec.lock.yaml")
        if before.get(field) is not None and before[field] != now:
            raise other_sweep(self.directory, what)

    def _keep_first_settings(self) -> None:
        """Keep identity, first settings and learnt trials of the first run, even if the other sweep has continued."""
        locked = read_lock_file(self.directory / "spec.lock.yaml")
        self.identity = locked.get("identity")
        before = locked.get("job", {}).get("search", {})
        kept: dict[str, Sequence[Configuration | OtherSweep]] = {}
        for name, kind in (("first", Configuration), ("learnt", LearntTrial), ("others", OtherSweep)):
            if before.get(name) is not None:
                kept[name] = [kind.model_validate(configuration) for configuration in before[name]]
        self.job = self.job.model_copy(update={"search": self.job.search.model_copy(update=kept)})

    def is_finished(self) -> bool:
        enough = sum(self._counts(record) for record in self.settled.values()) >= self.job.search.trials
        if not enough or any(missing_seeds(self.records(), self.job.search.seeds_for_finalists)):
            return False
        return not self.weights.missing(self.records())

    def _counts(self, record: TrialRecord) -> bool:
        """Return whether a record counts towards the sweep's number of trials."""
        return record.state != "duplicate" and not (self.repeat_failed and record.state == "failed")

    def records(self) -> list[TrialRecord]:
        return [self.settled[number] for number in sorted(self.settled)]

    def lost_weights(self) -> str | None:
        """Return a notice of the front members whose weights are missing and cannot be rebuilt, or None."""
        return self.weights.lost(self.records())

    # --- writing --------------------------------------------------------------------------------------------------

    def write_record(self, record: TrialRecord) -> None:
        sealed = record.sealed()
        durable.write_text(self.directory / "trials" / f"{record.number}.json", sealed.model_dump_json(indent=1) + "\n")
        compact(sealed)
        self.settled[record.number] = sealed

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

    def note_stop(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Write the event of a run that a signal stopped, for the views."""
        if isinstance(error, KeyboardInterrupt):
            seconds = time.monotonic() - self.began
            self.events.append("sweep_stopped", seconds=seconds, reason=reason_of_stop(error))

    def write_lock_file(self) -> None:
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
