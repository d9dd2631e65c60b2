"""Handle damaged files of a storage. A damaged file is never used silently.

A damaged trial record is renamed and its trial runs again; a damaged stage runs again (`engine.store.stages`). If only
the user can restore a file (`spec.lock.yaml`), reading it raises an error with the file's name and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from unlearn_sweep.engine.privacy.error_text import first_line
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.sealed import Record, Sealed
from unlearn_sweep.user_error import EXIT_FAILED, UserError

Stored = TypeVar("Stored", bound=Record)
SUFFIX = ".damaged"
CHANGED = "its content is not what was written"
MOVE_AWAY = "Move it away and rerun the same command"
UNREADABLE = (OSError, UnicodeDecodeError, ValidationError)


class DamagedFileError(UserError):
    """A file of the storage cannot be used. The message contains the file, the reason and what to do."""

    def __init__(self, path: Path, why: str, advice: str) -> None:
        super().__init__(f"{path} is damaged ({why})", advice=advice)
        self.path, self.why = path, why

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[Path, str, str]]:
        return type(self), (self.path, self.why, self.advice)


class DamagedStorageError(UserError):
    """A file of a finished stage was damaged while the sweep ran. The affected trial is not settled."""

    status = EXIT_FAILED


def read_record(path: Path, kind: type[Stored]) -> Stored:
    """Read one JSON record of the storage.

    Raises:
        FileNotFoundError: The file does not exist.
        DamagedFileError: The file cannot be read, is not a valid record, or does not match its seal.
    """
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
    """Return the reason why a file cannot be read, on one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else first["msg"]
    return first_line(error)


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder in place by adding a suffix, and return its new path. Overwrite nothing."""
    count, target = 1, path.with_name(f"{path.name}{SUFFIX}")
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}{SUFFIX}-{count}")
    path.rename(target)
    return target


def trial_files(sweep: Path) -> list[tuple[int, Path]]:
    """Return number and path of every trial record of a sweep, sorted by number. Ignore files with other names."""
    found = ((path.stem, path) for path in (sweep / "trials").glob("*.json"))
    return sorted((int(stem), path) for stem, path in found if stem.isascii() and stem.isdigit())


def whole_records(sweep: Path, damaged: list[DamagedFileError]) -> Iterator[TrialRecord]:
    """Yield the intact trial records. Append an error to `damaged` for each other one; change no file."""
    for number, path in trial_files(sweep):
        try:
            record = read_record(path, TrialRecord)
            if record.number != number:
                raise DamagedFileError(path, f"it is the record of trial {record.number}", "")
        except DamagedFileError as error:
            damaged.append(error)
            continue
        yield record


def set_records_aside(damaged: Iterable[DamagedFileError]) -> list[str]:
    """Rename damaged trial records, so that their trials run again. Return a line about each."""
    return [
        f"{error.path} is damaged ({error.why}): renamed to {set_aside(error.path).name}, and trial "
        f"{error.path.stem} runs again"
        for error in damaged
    ]


def read_lock_file(path: Path) -> dict[str, Any]:
    """Read the `spec.lock.yaml` that a sweep started with; return an empty dict if the file does not exist.

    Raises:
        DamagedFileError: The file cannot be read or is incomplete.
    """
    if not path.exists():
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        why = None if isinstance(document, dict) else "it is not a mapping of keys to values"
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        document, why = None, why_unreadable(error)
    if isinstance(document, dict) and not _is_lock(document):
        why = "it is truncated, or the sweep's job or digest is missing"
    if why is not None or document is None:
        raise DamagedFileError(path, why or "", LOCK_ADVICE)
    return document


def _is_lock(document: dict[str, Any]) -> bool:
    """Return whether a lock file is complete. YAML alone does not show this: a truncated file may still parse.

    Current files end with `LAST_LINE`. Older files have no such line and no `starts`; they end with `versions`.
    """
    last = document.get("whole") is True or ("starts" not in document and "versions" in document)
    return isinstance(document.get("job"), dict) and isinstance(document.get("digest"), str) and last


LAST_LINE = {"whole": True}
"""Last line of a lock file; shows that the file is complete."""
LOCK_ADVICE = (
    "It records what the sweep was started with, so that trials of two different sweeps never mix. Restore it (a "
    "mirror has a copy), or, if the sweep file, data and models are unchanged since the first run, move it away and "
    "rerun the same command"
)
