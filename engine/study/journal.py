"""The study's journal: Optuna's own file, opened, repaired after a crash, and taken back where a record is gone.

The records are what counts. The journal gives Optuna its memory, so one that is damaged is set aside and written again
from the records (`StudyBroker`), and what it says of a trial without a record is taken out of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection

from unlearn_sweep.engine.store import durable

PROPOSAL = "proposal"
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)
"""What Optuna raises while it replays damaged lines; those of json and of decoding are ValueErrors."""


class DamagedJournalError(RuntimeError):
    """The journal cannot be replayed, or says something else than the records."""


class SingleWriter(BaseJournalFileLock):
    """The sweep's own lock already excludes other writers; Optuna's link file would only be left behind by a kill."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def open_study(journal: Path, name: str, objectives: Sequence[str]) -> optuna.Study:
    """The study of a journal, created where there is none. Raises DamagedJournalError where it cannot be replayed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    drop_torn_tail(journal)
    directions = [StudyDirection.MAXIMIZE] * len(objectives)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=SingleWriter()))
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        study.get_trials(deepcopy=False)
    except UNREADABLE as error:
        raise DamagedJournalError(f"{type(error).__name__}: {error}") from error
    return study


def proposed(journal: Path) -> set[int]:
    """Numbers of the trials that a journal knows as proposed; none where there is no journal or it is damaged."""
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
    """Make these trials proposed and unsettled again: drop what was written of each after its proposal."""
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


def drop_torn_tail(journal: Path) -> None:
    """Cut off a last line without an end: Optuna would glue its next entry to it."""
    if not journal.exists():
        return
    data = journal.read_bytes()
    if data and not data.endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
