"""Files of a storage that cannot be read: named, set aside, or refused; never used in silence.

A record or stage that can be computed again is set aside under a new name and computed again. A file that only the
person can bring back (`spec.lock.yaml`) is refused with its name and the ways out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from unlearn_sweep.engine.store.records import Record, Sealed, TrialRecord

Stored = TypeVar("Stored", bound=Record)
SUFFIX = ".damaged"
CHANGED = "its content is not what was written"
MOVE_AWAY = "Move it away and run the same command again"
UNREADABLE = (OSError, UnicodeDecodeError, ValidationError)


class DamagedFileError(RuntimeError):
    """A file of the storage cannot be used. The message names the file, says why, and what to do."""

    def __init__(self, path: Path, why: str, advice: str) -> None:
        super().__init__(f"{path} is damaged ({why}). {advice}")
        self.path, self.why, self.advice = path, why, advice

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[Path, str, str]]:
        return type(self), (self.path, self.why, self.advice)


class DamagedStorageError(RuntimeError):
    """A file that finished stages left was damaged while the sweep ran. No trial is settled for it."""


def read_record(path: Path, kind: type[Stored]) -> Stored:
    """One JSON record of the storage. Raises DamagedFileError where the file is not a whole one."""
    try:
        record = kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise DamagedFileError(path, why_unreadable(error), MOVE_AWAY) from error
    if isinstance(record, Sealed) and not record.is_intact():
        raise DamagedFileError(path, CHANGED, MOVE_AWAY)
    return record


def why_unreadable(error: Exception) -> str:
    """Why a file cannot be read, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else first["msg"]
    return str(error).strip().partition("\n")[0] or type(error).__name__


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder beside itself, and return its new name. Earlier ones are kept."""
    count, target = 1, path.with_name(f"{path.name}{SUFFIX}")
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}{SUFFIX}-{count}")
    path.rename(target)
    return target


def trial_files(sweep: Path) -> list[tuple[int, Path]]:
    """Number and path of every trial record of a sweep, by number; files of other names are no records."""
    found = ((path.stem, path) for path in (sweep / "trials").glob("*.json"))
    return sorted((int(stem), path) for stem, path in found if stem.isascii() and stem.isdigit())


def whole_records(sweep: Path, notices: list[str]) -> Iterator[TrialRecord]:
    """The trial records of a sweep. A damaged one is set aside, with a line in `notices`; its trial then runs again."""
    for number, path in trial_files(sweep):
        try:
            record = read_record(path, TrialRecord)
            if record.number != number:
                raise DamagedFileError(path, f"it is the record of trial {record.number}", "")
        except DamagedFileError as error:
            kept = set_aside(path)
            notices.append(f"{path} is damaged ({error.why}): renamed to {kept.name}, and trial {number} runs again")
            continue
        yield record


def read_lock_file(path: Path) -> dict[str, Any]:
    """What a sweep began with, by `spec.lock.yaml`; empty where there is none. Raises DamagedFileError."""
    if not path.exists():
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        why = None if isinstance(document, dict) else "it holds no keys and values"
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        document, why = None, why_unreadable(error)
    if isinstance(document, dict) and not _is_lock(document):
        why = "it is cut off, or lacks the sweep's job or digest"
    if why is not None or document is None:
        raise DamagedFileError(path, why or "", LOCK_ADVICE)
    return document


def _is_lock(document: dict[str, Any]) -> bool:
    """Whether all of it is there: a file cut at a line's end is still YAML. Before the last line there was, `versions`
    was the end of the file.
    """
    last = document.get("whole") is True or ("starts" not in document and "versions" in document)
    return isinstance(document.get("job"), dict) and isinstance(document.get("digest"), str) and last


LAST_LINE = {"whole": True}
"""The end of a lock file."""
LOCK_ADVICE = (
    "It says what the sweep was begun with, so that trials of two different sweeps never mix. Copy it back (a mirror "
    "has one), or, if the sweep file, data and models are those of the first run, move it away and run the same "
    "command again"
)
