"""The study broker proposes trials and records their results, through Optuna's ask and tell. Does not use Ray.

It manages the journal. It gives each proposal its trial number and parameters, and hashes it to a trial key. If the key
is already known, it settles the duplicate at once and asks again. Only one process writes: the caller must hold the
sweep's lock.

Reproducible search: in a parallel search, proposals depend on which results have arrived. With `window` set, trial n is
proposed only from the results of the trials up to n - window, told to Optuna in order of their numbers, with random
numbers seeded by n. The same file then gives the same trials, whatever the timing and also after a kill. The cost: the
sampler sees new results later, and asking waits for a trial that is more than `window` behind.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from unlearn_sweep.engine.samplers.catalog import is_by_turn, sampler_card
from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.search_space import Fixed, MethodSpace, Scalar, share_of
from unlearn_sweep.engine.store.damaged import set_aside
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.constraints import constrain, short_by
from unlearn_sweep.engine.study.further_shares import FOLLOWER, Shares, at_measured_share, from_the_end, next_share
from unlearn_sweep.engine.study.journal import PROPOSAL, DamagedJournalError, open_study, take_back, take_back_asks
from unlearn_sweep.engine.study.measured_errors import measured_errors
from unlearn_sweep.engine.study.method_choice import method_by_front
from unlearn_sweep.engine.study.noisy_sampler import DUPLICATE_OF
from unlearn_sweep.engine.study.sampling import grid_points, make_sampler, suggest
from unlearn_sweep.engine.study.turns import point_by_turn, seed_of

logger = logging.getLogger(__name__)

TRIES_BEFORE_EXHAUSTED = 60
ENQUEUED = "enqueued"
"""User attribute of a trial that `StudyBroker.enqueue` added: the name it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One trial to run: a method configuration and a seed. `key` is a hash of its content."""

    number: int
    key: str
    method: str
    params: dict[str, Scalar]
    seed: int


class StudyBroker:
    """Proposes trials, detects duplicates and settles results.

    Args:
        journal: Optuna's journal file. If it is lost or damaged, the study is rebuilt from `known` and `asked`.
        spaces: the search space of each method.
        plan: the search settings.
        identity: what all trials of the study share; part of every trial key.
        title: name of the study in Optuna's views; its identity is appended.
        known: records of the trials settled in previous runs.
        asked: configuration of every trial proposed in previous runs, by number.
        notice: called with a line of text if a damaged journal is rebuilt or results without a record are removed.
        shares: the shares of a training at which trials with these parameters are measured; each is a trial of its
            own and follows the first one.
        on_duplicate: called with the numbers of a duplicate and of the trial it repeats.

    Raises:
        ValueError: no such sampler.
    """

    def __init__(
        self,
        journal: Path,
        spaces: Iterable[MethodSpace],
        plan: SearchPlan,
        *,
        identity: Mapping[str, str],
        title: str = "sweep",
        known: Iterable[TrialRecord] = (),
        asked: Mapping[int, Configuration] | None = None,
        notice: Callable[[str], object] = lambda _: None,
        on_duplicate: Callable[[int, int], object] | None = None,
        shares: Shares = lambda params: (),
    ) -> None:
        self.plan = plan
        sampler_card(plan.sampler)  # refuses an unknown one
        self.spaces = {space.method: space for space in spaces}
        self.identity, self.title = dict(identity), title
        self.settled: dict[int, TrialRecord] = {record.number: record for record in known}
        self.proposals: dict[int, Proposal] = {}
        self.resumable: list[Proposal] = []
        self._told: set[int] = set()
        self._on_duplicate = on_duplicate
        self._shares = shares
        self._exhausted = False
        self.study = self._open(journal, asked or {}, notice)
        self._reconcile()

    # --- asking ---------------------------------------------------------------------------------------------------

    @property
    def finished_asking(self) -> bool:
        """Whether there will be no further proposal."""
        return not self.resumable and (self._exhausted or len(self.proposals) >= self.plan.trials)

    @property
    def all_settled(self) -> bool:
        """Whether every proposal so far has a record."""
        return all(number in self.settled for number in self.proposals)

    def ask(self) -> Proposal | None:
        """Return the next trial. None if all are asked, the space is exhausted, or a trial must finish first."""
        if self.resumable:
            return self.resumable.pop(0)
        if self.finished_asking or not self._tell_visible():
            return None
        for _ in range(TRIES_BEFORE_EXHAUSTED):
            proposal = self._propose()
            if proposal is not None:
                self.proposals[proposal.number] = proposal
                return proposal
        self._exhausted = True
        logger.warning("every configuration of the search space was tried: %d distinct trials", len(self.proposals))
        return None

    def enqueue(self, setting: Configuration, name: str) -> bool:
        """Make a setting of the search space the next proposal; the sampler chooses the parameters it leaves out.

        It counts as one of the sweep's trials. A `name` that the journal holds already is not added again.

        Returns:
            False if it cannot be taken now: settings of `plan.first` come first, or no trial is left.
        """
        trials = self.study.get_trials(deepcopy=False)
        if any(trial.user_attrs.get(ENQUEUED) == name for trial in trials):
            return True
        waiting = sum(trial.state is TrialState.WAITING for trial in trials)
        full = self.finished_asking or len(self.proposals) + waiting >= self.plan.trials
        if full or len(trials) < len(self.plan.first):
            return False
        values = {f"{setting.method}.{key}": value for key, value in setting.params.items()}
        self.study.enqueue_trial({"method": setting.method, **values}, user_attrs={ENQUEUED: name})
        return True

    def _propose(self) -> Proposal | None:
        """Ask Optuna once. If the configuration is a duplicate, settle it and return None."""
        number = self._next_number()
        seed = seed_of(self.plan.seed, number)
        self.study.sampler = make_sampler(self.plan.sampler, seed=seed, startup=self.plan.startup_trials)
        trial = self.study.ask()
        method = trial.suggest_categorical("method", list(self.spaces))
        params = {
            name: suggest(trial, f"{method}.{name}", dimension)
            for name, dimension in self.spaces[method].params.items()
        }
        params = at_measured_share(self.spaces[method].canonical(params), self._shares)
        proposal = self.proposal_of(trial.number, method, params, seed=self.plan.seed)
        twin = next((other.number for other in self.proposals.values() if other.key == proposal.key), None)
        if twin is not None:
            self._settle_duplicate(trial, twin)
            return None
        trial.set_user_attr(PROPOSAL, {"method": method, "params": params, "seed": proposal.seed, "key": proposal.key})
        return proposal

    def _next_number(self) -> int:
        """Enqueue what is decided without the sampler. Return the number of the next ask.

        A point that was still enqueued at a crash comes first.
        """
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if waiting:
            return waiting[0].number
        trials = self.study.get_trials(deepcopy=False)
        number, followers = len(trials), sum(FOLLOWER in trial.user_attrs for trial in trials)
        if (point := next_share(self.proposals.values(), self.spaces, self._shares)) is not None:
            self.study.enqueue_trial(point, user_attrs={FOLLOWER: True})
        elif (fixed := self._fixed_params(number, number - followers)) is not None:
            given = number - followers < len(self.plan.first) or self.plan.sampler == "grid"
            self.study.enqueue_trial(from_the_end(fixed, self.spaces, given=given))
        return number

    def proposal_of(self, number: int, method: str, params: Mapping[str, Scalar], *, seed: int) -> Proposal:
        """Create a proposal with its key. In one study, equal method, parameters and seed give equal keys."""
        key = digest({"identity": self.identity, "method": method, "params": params, "seed": seed})
        return Proposal(number=number, key=key, method=method, params=dict(params), seed=seed)

    def _fixed_params(self, number: int, place: int) -> dict[str, Scalar] | None:
        """Return what is decided without Optuna's sampler: the whole point, only the method, or nothing (None).

        `place` counts the asks so far without those of further shares.
        """
        if place < len(self.plan.first):
            point = self.plan.first[place]
            return {"method": point.method, **{f"{point.method}.{name}": value for name, value in point.params.items()}}
        if self.plan.sampler == "grid":
            points = grid_points(self.spaces.values(), self.plan.grid_points)
            return points[(place - len(self.plan.first)) % len(points)]
        if self.plan.allocation == "free" and not is_by_turn(self.plan.sampler):
            if self.plan.sampler not in ("tpe", "noisy"):
                return None
            method = self._method_by_front(number)
            return self._point_by_turn(self.spaces[method], number) or {"method": method}
        asked_of = {method: 0 for method in self.spaces}
        for proposal in self.proposals.values():
            if proposal.method in asked_of:
                asked_of[proposal.method] += 1
        method = min(asked_of, key=asked_of.__getitem__)
        return self._point_by_turn(self.spaces[method], number) or {"method": method}

    def _method_by_front(self, number: int) -> str:
        """Return the method that a bandit chooses for trial `number`."""
        seed = seed_of(self.plan.seed, f"method {number}")
        startup = math.ceil(self.plan.startup_trials / len(self.spaces))
        trials = self.study.get_trials(deepcopy=False)
        return method_by_front(list(self.spaces), trials, seed=seed, startup=startup)

    def _point_by_turn(self, space: MethodSpace, number: int) -> dict[str, Scalar] | None:
        """Return the whole point if a belief or the sampler works on one method at a time, else None."""
        trials = self.study.get_trials(deepcopy=False)
        directions = self.study.directions
        return point_by_turn(self.plan, self.spaces, space, trials, directions, number=number, errors=self._errors)

    def _errors(self, trials: Sequence[FrozenTrial]) -> dict[int, dict[str, float]]:
        """Return the standard errors of the trials that Optuna was told as complete, by number."""
        told = {trial.number for trial in trials if trial.state is TrialState.COMPLETE}
        return {number: measured_errors(self.settled[number]) for number in sorted(told & self.settled.keys())}

    def _settle_duplicate(self, trial: Trial, twin: int) -> None:
        """Tell Optuna the known values of a duplicate if it has already seen them, else a failure."""
        trial.set_user_attr(DUPLICATE_OF, twin)
        values = self._values(self.settled[twin]) if twin in self._told else None
        if values is None:
            self.study.tell(trial.number, state=TrialState.FAIL)
        else:
            self._tell_values(trial, self.settled[twin], values)
        self._told.add(trial.number)
        if self._on_duplicate is not None:
            self._on_duplicate(trial.number, twin)

    # --- settling -------------------------------------------------------------------------------------------------

    def settle(self, record: TrialRecord) -> None:
        """Process the record of a finished trial. The caller has already written it, so a crash loses nothing."""
        self.settled[record.number] = record
        if self.plan.window is None:
            self._tell(record)
        elif self.finished_asking and len(self.settled) >= len(self.proposals):
            self.flush()

    def flush(self) -> None:
        """Tell Optuna the results of all settled trials, in order of their numbers."""
        for number in sorted(self.settled):
            self._tell(self.settled[number])

    def _tell_visible(self) -> bool:
        """Tell Optuna the results that the next proposal may see. Return False if one of them is still missing."""
        if self.plan.window is None:
            return True
        next_position = len(self.proposals)
        must_see = sorted(self.proposals)[: max(0, next_position - self.plan.window + 1)]
        if any(number not in self.settled for number in must_see):
            return False
        for number in must_see:
            self._tell(self.settled[number])
        return True

    def visible_to(self, number: int) -> list[int]:
        """Return the numbers of the settled trials with which trial `number` may be compared (to prune its attacks)."""
        if self.plan.window is None:
            return sorted(self.settled)
        before = [other for other in sorted(self.proposals) if other < number]
        return [other for other in before[: max(0, len(before) - self.plan.window + 1)] if other in self.settled]

    def _tell(self, record: TrialRecord) -> None:
        if record.number in self._told or record.number not in self.proposals:
            return
        self._told.add(record.number)
        trial = Trial(self.study, self._trial_id(record.number))
        values = self._values(record)
        if record.state in ("collapsed", "stopped"):  # a stopped one's end is unknown, and to be kept away from alike
            constrain(trial, {"collapse": 1.0})
            self.study.tell(record.number, state=TrialState.PRUNED)
        elif values is None:
            self.study.tell(record.number, state=TrialState.FAIL)
        else:
            self._tell_values(trial, record, values)

    def _tell_values(self, trial: Trial, record: TrialRecord, values: list[float]) -> None:
        """Tell Optuna a measured trial with its constraints. A duplicate has those of its twin: GP refuses any less."""
        wanted = {name: short_by(getattr(record, name), least) for name, least in self.plan.minimum.items()}
        constrain(trial, {**wanted, "collapse": -1.0})
        trial.set_user_attr("rob_is_bound", record.rob_is_bound)
        self.study.tell(trial.number, values)

    def _values(self, record: TrialRecord) -> list[float] | None:
        """Return the objectives of a complete trial. None if it is not complete or an objective is missing."""
        values = [getattr(record, objective) for objective in self.plan.objectives]
        return None if record.state != "complete" or any(value is None for value in values) else values

    # --- resuming -------------------------------------------------------------------------------------------------

    def _open(self, journal: Path, asked: Mapping[int, Configuration], notice: Callable[[str], object]) -> optuna.Study:
        """Open the study, matched to the records: a trial without a record becomes unsettled and keeps its number."""
        name = f"{self.title}-{digest(self.identity)}"
        there = journal.exists()
        try:
            study = open_study(journal, name, self.plan.objectives)
            trials = study.get_trials(deepcopy=False)
            self._compare(trials)
        except DamagedJournalError as error:
            if there:
                kept = set_aside(journal)
                notice(f"{journal} is damaged ({error}): renamed to {kept.name} and rebuilt from the records")
            return self._from_records(open_study(journal, name, self.plan.objectives), asked)
        gone = [trial for trial in trials if self._lost_its_record(trial)]
        if gone:
            take_back(journal, {trial._trial_id for trial in gone})
            numbers = ", ".join(str(trial.number) for trial in gone)
            notice(f"the study has results of trials without a record ({numbers}): they run again")
        cut_off = [trial for trial in trials if trial.state is TrialState.RUNNING and PROPOSAL not in trial.user_attrs]
        if cut_off:
            take_back_asks(journal, {trial._trial_id for trial in cut_off})
        return open_study(journal, name, self.plan.objectives) if gone or cut_off else study

    def _lost_its_record(self, trial: FrozenTrial) -> bool:
        return trial.state.is_finished() and PROPOSAL in trial.user_attrs and trial.number not in self.settled

    def _compare(self, trials: list[FrozenTrial]) -> None:
        """Raise DamagedJournalError if the journal contradicts the records or its own keys."""
        for trial in trials:
            stored = trial.user_attrs.get(PROPOSAL)
            if stored is not None:
                proposal = self.proposal_of(trial.number, stored["method"], stored["params"], seed=stored["seed"])
                if proposal.key != stored["key"]:
                    raise DamagedJournalError(f"the settings of trial {trial.number} are not those of its key")
        proposed = {trial.number for trial in trials if PROPOSAL in trial.user_attrs}
        lacking = sorted(number for number in self.settled if number not in proposed)
        if lacking:
            raise DamagedJournalError(f"trial {lacking[0]} has a record but is missing from it")

    def _from_records(self, study: optuna.Study, asked: Mapping[int, Configuration]) -> optuna.Study:
        """Rebuild the study: propose every known configuration under its number. Other numbers become failed asks."""
        settings = {number: (point.method, point.params) for number, point in asked.items()}
        settings |= {number: (record.method, record.params) for number, record in self.settled.items()}
        for number in range(max(settings, default=-1) + 1):
            if number not in settings:
                study.tell(study.ask().number, state=TrialState.FAIL)
                continue
            self._propose_again(study, *settings[number])
        return study

    def _propose_again(self, study: optuna.Study, method: str, params: Mapping[str, Scalar]) -> None:
        space = self.spaces[method].params
        fixed = {f"{method}.{name}": value for name, value in params.items() if not isinstance(space[name], Fixed)}
        follows = share_of(params) < 1
        study.enqueue_trial({"method": method, **fixed}, user_attrs={FOLLOWER: True} if follows else None)
        trial = study.ask()
        trial.suggest_categorical("method", list(self.spaces))
        for name, dimension in space.items():
            suggest(trial, f"{method}.{name}", dimension)
        proposal = self.proposal_of(trial.number, method, params, seed=self.plan.seed)
        stored = {"method": method, "params": dict(params), "seed": proposal.seed, "key": proposal.key}
        trial.set_user_attr(PROPOSAL, stored)

    def _reconcile(self) -> None:
        """Restore the broker's state from the journal and the records after any kind of stop.

        A trial with a record is settled, whether or not Optuna was told. A running trial without a record resumes under
        its number and key. An ask that a kill cut off is taken back before, so that its number is asked again; one that
        could not be is marked as failed, because no trial was started for it.
        """
        for trial in self.study.get_trials(deepcopy=False):
            stored = trial.user_attrs.get(PROPOSAL)
            if stored is not None:
                proposal = Proposal(number=trial.number, **stored)
                self.proposals[trial.number] = proposal
            if trial.state.is_finished():
                self._told.add(trial.number)
            elif stored is None and trial.state is TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
                self._told.add(trial.number)
            elif stored is not None and trial.number not in self.settled:
                self.resumable.append(self.proposals[trial.number])
        if self.plan.window is None:
            self.flush()

    def _trial_id(self, number: int) -> int:
        frozen: FrozenTrial = self.study.get_trials(deepcopy=False)[number]
        return frozen._trial_id
