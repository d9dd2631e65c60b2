"""The study's journal, a file in Optuna's format: open it, repair it after a crash, remove results without a record.

The trial records are authoritative; the journal only stores Optuna's state. `StudyBroker` rebuilds a damaged journal
from the records, and removes the results of trials that have no record.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection
from optuna.trial import TrialState

from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES
from unlearn_sweep.engine.store import durable

PROPOSAL = "proposal"
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""Errors that Optuna raises while it replays damaged lines. JSON and decoding errors are ValueErrors."""


class DamagedJournalError(RuntimeError):
    """The journal cannot be replayed, or contradicts the records."""


class SingleWriter(BaseJournalFileLock):
    """A no-op lock: the sweep's lock excludes other writers, and a kill would leave Optuna's lock file behind."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def open_study(journal: Path, name: str, objectives: Sequence[str]) -> optuna.Study:
    """Open the study of a journal. Create it if it does not exist.

    The part of `name` after its last hyphen identifies the study; the rest is for people, and an existing study keeps
    its own. Objectives have names in Optuna's views.

    Raises:
        DamagedJournalError: the journal cannot be replayed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    drop_torn_tail(journal)
    directions = [StudyDirection.MAXIMIZE] * len(objectives)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=SingleWriter()))
        there = [study.study_name for study in storage.get_all_studies()]
        same = [known for known in there if known.rpartition("-")[2] == name.rpartition("-")[2]]
        study = optuna.create_study(
            storage=storage, study_name=[*same, name][0], directions=directions, load_if_exists=True
        )
        study.get_trials(deepcopy=False)
        _name_objectives(study, objectives)
    except UNREADABLE as error:
        raise DamagedJournalError(f"{type(error).__name__}: {error}") from error
    return study


def _name_objectives(study: optuna.Study, objectives: Sequence[str]) -> None:
    """Name the objectives unless they have names. Optuna still calls that an experiment, and warns."""
    if study.metric_names is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([OBJECTIVE_NAMES.get(name, name) for name in objectives])


def proposed(journal: Path) -> set[int]:
    """Return the numbers of the proposed trials in a journal. Empty if the journal is missing or damaged."""
    if not journal.exists():
        return set()
    drop_torn_tail(journal)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=SingleWriter()))
        studies = storage.get_all_studies()
        trials = [trial for study in studies for trial in storage.get_all_trials(study._study_id, deepcopy=False)]
    except UNREADABLE:
        return set()
    return {trial.number for trial in trials if PROPOSAL in trial.user_attrs}


def take_back(journal: Path, trial_ids: Collection[int]) -> None:
    """Make these trials unsettled again: delete each trial's entries after its proposal."""
    kept: list[bytes] = []
    was_proposed: set[int] = set()
    for line in journal.read_bytes().splitlines(keepends=True):
        entry = json.loads(line)
        trial = entry.get("trial_id")
        if trial in was_proposed:
            continue
        if trial in trial_ids and PROPOSAL in entry.get("user_attr", {}):
            was_proposed.add(trial)
        kept.append(line)
    durable.write_bytes(journal, b"".join(kept))


def take_back_asks(journal: Path, trial_ids: Collection[int]) -> None:
    """Undo asks that a kill cut off: delete the trial's entries, and its creation if it is the last trial created.

    A trial that was enqueued waits again with its fixed parameters. Ids count the creations of a journal.
    """
    entries = [(line, json.loads(line)) for line in journal.read_bytes().splitlines(keepends=True)]
    creations = [place for place, (_, entry) in enumerate(entries) if entry["op_code"] == JournalOperation.CREATE_TRIAL]
    last = len(creations) - 1
    enqueued = entries[creations[last]][1].get("state") == TrialState.WAITING
    dropped = creations[last] if last in trial_ids and not enqueued else None
    kept = [
        line
        for place, (line, entry) in enumerate(entries)
        if place != dropped and entry.get("trial_id") not in trial_ids
    ]
    durable.write_bytes(journal, b"".join(kept))


def drop_torn_tail(journal: Path) -> None:
    """Remove an incomplete last line, to which Optuna would append its next entry."""
    if not journal.exists():
        return
    data = journal.read_bytes()
    if data and not data.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
