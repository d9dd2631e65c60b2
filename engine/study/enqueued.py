"""Settings that a user asks for while a sweep runs: one file each in `<sweep>/enqueue`, taken by the driver.

Whoever writes a setting checks it first (`misfit`); the driver checks it again, since the folder is open to all. A file
goes only after the study's journal holds its setting under the file's name, so a kill in between tries nothing twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.search_space import MethodSpace, holds
from unlearn_sweep.engine.store import durable

FOLDER = "enqueue"
REFUSED = ".refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A setting that waits in a sweep's folder. `name` is unique; names sort in the order of writing."""

    name: str
    path: Path
    setting: Configuration


class UnusableSettingError(ValueError):
    """A file of the folder is not a setting that this sweep can try."""


def enqueue(sweep: Path, setting: Configuration) -> Path:
    """Write a setting for the driver of a sweep and return its file. The caller has checked it (`misfit`)."""
    path = sweep / FOLDER / f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
    durable.write_text(path, setting.model_dump_json() + "\n")
    return path


def waiting_files(sweep: Path) -> list[Path]:
    """Return the files of all settings that wait, in the order of writing; empty without a folder."""
    return sorted(path for path in (sweep / FOLDER).glob("*.json") if not path.name.startswith("."))


def read_setting(path: Path, spaces: Iterable[MethodSpace]) -> Enqueued:
    """Return the setting in a file.

    Raises:
        UnusableSettingError: the file is no setting, or one outside the search space.
    """
    try:
        setting = Configuration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise UnusableSettingError(f"not a setting: {str(error).partition(chr(10))[0]}") from error
    if (reason := misfit(setting, spaces)) is not None:
        raise UnusableSettingError(reason)
    return Enqueued(name=path.stem, path=path, setting=setting)


def waiting_texts(sweep: Path) -> list[str]:
    """Return the settings that wait as text, in order; of a file that cannot be read, its name."""
    texts = []
    for path in waiting_files(sweep):
        try:
            texts.append(setting_text(Configuration.model_validate_json(path.read_bytes())))
        except (OSError, ValidationError):  # taken just now, or not a setting: the driver will say so
            texts.append(f"unreadable {path.name}")
    return texts


def misfit(setting: Configuration, spaces: Iterable[MethodSpace]) -> str | None:
    """Return why a setting lies outside the search space, or None. Parameters may be left out."""
    space = next((space for space in spaces if space.method == setting.method), None)
    if space is None:
        return f"{setting.method!r} is not a method of this sweep"
    for name, value in setting.params.items():
        dimension = space.params.get(name)
        if dimension is None:
            return f"{name!r} is not a parameter of {setting.method}"
        if not holds(dimension, value):
            return f"{name} = {value!r} is outside the search space"
    return None


def setting_text(setting: Configuration) -> str:
    """Format as "npo learning_rate=1e-05, beta=0.1"."""
    values = ", ".join(f"{name}={value!r}" for name, value in setting.params.items())
    return f"{setting.method} {values}".rstrip()
