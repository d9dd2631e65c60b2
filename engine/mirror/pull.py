"""Fetch finished work from a sweep's mirror before the sweep starts, so that it is not computed again.

Existing local results are never changed. The sweep's folder is fetched if it does not exist locally. If both exist, the
local folder is used; a MirrorError is raised if the mirror has records that the local folder lacks. Stages of all
sweeps in the mirror are fetched, since they are small tables. Models are fetched only if the preparation or this
sweep's trials need them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.mirror.address import Mirror, MirrorError
from unlearn_sweep.engine.mirror.copies import BrokenCopyError, fetch
from unlearn_sweep.engine.mirror.plan import (
    JOURNAL,
    LOCK_FILE,
    MODELS,
    STAGES,
    Listing,
    bytes_told,
    conflict,
    counted,
    missing,
    models_worth_keeping,
    records_of,
    sweep_files,
    whole_models,
    whole_stages,
)
from unlearn_sweep.engine.stages.prepare import model_stages
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore

Say = Callable[[str], None]


class _LockFile(BaseModel):
    """The part of spec.lock.yaml that identifies a sweep."""

    digest: str
    identity: dict[str, str] | None = None


class _Told(BaseModel):
    """The part of a trial record that shows whether two records with one number are the same trial."""

    key: str
    finished: float


def pull(mirror: Mirror, job: SweepJob, say: Say) -> Listing:
    """Fetch what is in the mirror but not here. Return the mirror's listing without incomplete stages and models.

    Raises:
        MirrorError: if the mirror has another sweep of this name, or records that the local folder lacks; nothing has
            been fetched then.
    """
    store = StageStore(job.storage)
    there = mirror.listing(job.name, STAGES, MODELS)
    begun = f"{job.name}/{LOCK_FILE}" in there
    if begun:
        _refuse_another_sweep(mirror, job)
    _clear_remains(job)
    words = []
    if begun and job.directory.exists():
        _refuse_to_go_over(mirror, job, there)
    elif begun:
        words = _fetch_sweep(mirror, job, there)
    broken = _fetch_finished(mirror, job, store, there, words, say)
    return {path: size for path, size in there.items() if not broken.intersection(path.split("/"))}


def is_another_sweep(job: SweepJob) -> bool:
    """Return whether the local folder has another sweep of this name. The driver refuses to run then."""
    path = job.directory / LOCK_FILE
    ours = _lock_file(path.read_bytes()) if path.is_file() else None
    return ours is not None and ours.digest != job.digest()


def fetch_model(mirror: Mirror, store: StageStore, key: str) -> int:
    """Fetch the model of one stage. Return the bytes received; 0 if it is incomplete in the mirror or already here."""
    there = mirror.listing(f"{STAGES}/{key}", f"{MODELS}/{key}")
    if key not in whole_models(there) or store.model_folder(key).is_dir():
        return 0
    stage = None if store.stage_folder(key).is_dir() else whole_stages(there).get(key)
    return fetch(mirror, store, key, stage, model=True)


# --- what is refused --------------------------------------------------------------------------------------------------


def _refuse_another_sweep(mirror: Mirror, job: SweepJob) -> None:
    """Raise MirrorError if the mirror has another sweep of this name."""
    theirs = _lock_file(mirror.read(f"{job.name}/{LOCK_FILE}"))
    path = job.directory / LOCK_FILE
    ours = _lock_file(path.read_bytes()) if path.is_file() else None
    here = ours.identity if ours else None
    same_data = theirs is None or here is None or theirs.identity is None or theirs.identity == here
    if theirs is None or theirs.digest != job.digest() or not same_data:
        raise MirrorError(
            f"the mirror {mirror.shown} has a different sweep named {job.name} (other file, data, model or code "
            f"version)",
            advice=f"Give the sweep another name or another mirror, or delete {job.name}/ there to start over.",
        )


def _lock_file(data: bytes | None) -> _LockFile | None:
    try:
        return _LockFile.model_validate(yaml.safe_load(data or b""))
    except (yaml.YAMLError, ValidationError, RecursionError, ValueError):
        return None


def _refuse_to_go_over(mirror: Mirror, job: SweepJob, there: Listing) -> None:
    """Raise MirrorError if the mirror has records that are missing here or belong to other trials."""
    paths = {int(path.stem): path for path in (job.directory / "trials").glob("*.json") if path.stem.isdigit()}
    theirs = records_of(there, job.name)
    obstacle = conflict(paths.keys(), theirs.keys()) or _another_trial(mirror, job.name, paths, theirs)
    if obstacle is not None:
        raise MirrorError(
            f"{obstacle}: the mirror {mirror.shown} is not overwritten",
            advice=f"To continue from the mirror, move {job.directory} away and rerun the same command. To continue "
            f"from here, delete {job.name}/ in the mirror, or run without it.",
        )


def _another_trial(mirror: Mirror, sweep: str, here: dict[int, Path], there: dict[int, int]) -> str | None:
    """Return a message naming the first trial that differs between here and the mirror, or None.

    Records of the same size count as equal.
    """
    for number in sorted(here.keys() & there.keys()):
        if here[number].stat().st_size == there[number]:
            continue
        try:
            ours = _Told.model_validate_json(here[number].read_bytes())
            theirs = _Told.model_validate_json(mirror.read(f"{sweep}/trials/{number}.json") or b"")
        except ValidationError:
            return f"trial {number} is unreadable here or in the mirror"
        if ours != theirs:
            return f"trial {number} differs between the mirror and here: the two copies were continued separately"
    return None


def _clear_remains(job: SweepJob) -> None:
    """Remove scratch folders left by a killed fetch of this sweep."""
    scratch = re.compile(rf"\.{re.escape(job.name)}\.\d+\.[0-9a-f]{{8}}\.tmp")
    for path in job.storage.iterdir() if job.storage.is_dir() else ():
        if scratch.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


# --- what is fetched --------------------------------------------------------------------------------------------------


def _fetch_sweep(mirror: Mirror, job: SweepJob, there: Listing) -> list[str]:
    """Fetch the sweep's own folder atomically. Return a description of it for the log line.

    A record whose trial is missing in the study's journal is dropped: the upload was killed after the record and before
    the journal. The trial is proposed again, and all of its stages are cache hits.
    """
    from unlearn_sweep.engine.study.journal import proposed

    names = sweep_files(there, job.name)
    with durable.new_folder(job.directory) as scratch:
        mirror.each(lambda name: mirror.get(f"{job.name}/{name}", scratch / name), names)
        known = proposed(scratch / JOURNAL)
        records = [path for path in (scratch / "trials").glob("*.json") if path.stem.isdigit()]
        strangers = [path for path in records if int(path.stem) not in known]
        for path in strangers:
            path.unlink()
    return [f"the sweep with {counted(len(records) - len(strangers), 'settled trial')}"]


def _fetch_finished(
    mirror: Mirror, job: SweepJob, store: StageStore, there: Listing, words: list[str], say: Say
) -> set[str]:
    """Fetch stages and models that are missing here and log one line. Return the keys of incomplete ones."""
    stages, models = whole_stages(there), whole_models(there)
    lacking = {key: files for key, files in sorted(stages.items()) if not store.stage_folder(key).is_dir()}
    needed = {key: models[key] for key in _models_needed(job, models) if not store.model_folder(key).is_dir()}
    if words or lacking or needed:
        total = sum(sum(files.values()) for files in (*lacking.values(), *needed.values()))
        words = [*words, counted(len(lacking), "finished stage"), counted(len(needed), "model")]
        say(f"mirror {mirror.shown}: fetching {', '.join(words)} ({bytes_told(total)})")

    def one(key: str) -> tuple[str, str] | None:
        try:
            fetch(mirror, store, key, lacking.get(key), model=key in needed)
        except BrokenCopyError as error:
            return key, str(error)
        return None

    broken = dict(found for found in mirror.each(one, missing([*needed, *lacking], ())) if found is not None)
    for why in list(broken.values())[:1]:
        say(f"mirror {mirror.shown}: {len(broken)} of these are incomplete there and were not copied ({why})")
    return set(broken)


def _models_needed(job: SweepJob, there: Iterable[str]) -> list[str]:
    """Return the keys of complete models in `there` that the preparation or, by the event log, this sweep needs."""
    whole = set(there)
    if not whole:
        return []
    stages = {request.key: request.stage for request in model_stages(job)}
    events = EventLog(job.directory / "events.jsonl").read()
    stages |= {event.stage_key: event.stage for event in events if event.stage_key and event.stage}
    return [key for key in models_worth_keeping(stages, ()) if key in whole]
