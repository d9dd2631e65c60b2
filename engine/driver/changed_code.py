"""Checks before a sweep starts: whether its folder holds a different sweep, and whether the code has changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.damaged import LOCK_ADVICE, DamagedFileError, read_lock_file, why_unreadable
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.starts import Start, Starts, read_starts
from unlearn_sweep.user_error import UserError

SHOWN_MODULES = 8


class SweepChangedError(UserError):
    """The folder holds a different sweep of the same name. Continuing would mix trials that are not comparable."""


def starts_of(directory: Path) -> Starts:
    """Return the starts of the sweep in a folder.

    Raises:
        DamagedFileError: the lock file cannot be read.
    """
    path = directory / "spec.lock.yaml"
    try:
        return read_starts(read_lock_file(path))
    except ValidationError as error:
        raise DamagedFileError(path, why_unreadable(error), LOCK_ADVICE) from error


def other_sweep(directory: Path, what: str) -> SweepChangedError:
    """Return the error for a folder that holds a different sweep: the reason and the options."""
    return SweepChangedError(
        f"{directory} already contains a sweep of this name, but {what}. Its trials are not comparable with new ones",
        advice="Give the sweep another name or another --storage, or delete that folder to start over.",
    )


def says_the_same(directory: Path, text: str) -> bool:
    """Return whether the folder's copy of the sweep file has the same content as `text`.

    Layout, comments and `search.trials` are ignored. Return False if the folder has no copy, or if the copy or `text`
    is empty or unreadable (`text` is empty for a job made in Python). The caller then compares the digests of the
    resolved jobs.
    """
    import yaml

    try:
        before, now = yaml.safe_load((directory / "spec.yaml").read_text(encoding="utf-8")), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(now, dict) and bool(now) and _without_trials(before) == _without_trials(now)


def _without_trials(file: object) -> object:
    if not isinstance(file, dict) or not isinstance(file.get("search"), dict):
        return file
    return {**file, "search": {key: value for key, value in file["search"].items() if key != "trials"}}


def other_code(directory: Path, starts: Starts, code: Mapping[str, str], settled: int) -> SweepChangedError:
    """Return the error for a sweep whose code changed: what changed, and the options."""
    trials = f"Its {settled} settled trials are not" if settled > 1 else "Its settled trial is not"
    return SweepChangedError(
        f"{directory}: {what_changed(starts, code)}. {trials} comparable with new ones",
        advice=f"Give the sweep another name, go back to {_old_version(starts.last)}, or continue with "
        "--accept-new-code, which records for each trial which code made it.",
    )


UNRECORDED_CODE = (
    "its trials were made by a version of unlearn-sweep that did not record its code; the report marks them, and "
    "they are not comparable with new ones if the code has changed since"
)


def what_changed(starts: Starts, code: Mapping[str, str]) -> str:
    changed = starts.changed_since_last(code)
    if not changed:
        return "the code that made its trials is not recorded, so it may differ from the current code"
    more = f" and {len(changed) - SHOWN_MODULES} more" if len(changed) > SHOWN_MODULES else ""
    return f"the code behind its numbers changed since its last start: {', '.join(changed[:SHOWN_MODULES])}{more}"


def _old_version(last: Start | None) -> str:
    if last is None:
        return "the version it was made with"
    return f"the version of its last start (unlearn-sweep {last.versions.get('unlearn-sweep')}, {last.date[:10]})"


def other_inputs(before: Mapping[str, str], now: Mapping[str, str], *, original_given: bool) -> list[str]:
    """Return the names of the shared inputs that differ from those of the first run.

    If changed code was accepted, three are not compared, because they depend on the code: an original that is trained
    from a recipe, the training settings with their defaults, and the rows as the code reads them (`other_rows`). Those
    of the sweep file are compared with the file.
    """
    same_code = before.get("code") == now.get("code")
    names = ["data", "training"] if same_code else []
    names += ["original"] if same_code or original_given else []
    return sorted(name for name in [*names, "ue_weights"] if before.get(name) != now.get(name))


def other_rows(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return a notice if accepted code reads other rows than the first run did, or None.

    The digest of the rows cannot tell whether the data changed or the code that reads it.
    """
    if before.get("data") == now.get("data") or before.get("code") == now.get("code"):
        return None
    return (
        "the rows differ from those of the first run: the data changed, or the code that reads it; trials before and "
        "after are not comparable"
    )


def trial_identity(job: SweepJob, original: str, data: str) -> dict[str, str]:
    """Return the inputs shared by all trials of a study. With method, parameters and seed they form the trial key."""
    shared = {
        "original": original,
        "data": data,
        "training": digest(job.training.identity()),
    }
    return shared | ({"ue_weights": digest(job.ue_weights)} if job.ue_weights else {})
