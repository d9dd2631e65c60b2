"""Paths in a sweep file: what is a path and what a hub id, whether it is there, and what it might have been.

A relative path is relative to the folder the command runs in, as for every other command-line tool.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.model_folder.inspection import inspect_folder
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import near_miss, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_]\w*))")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?\Z")
DATA_ENDINGS = (".json", ".jsonl", ".csv", ".parquet")
MAX_CHARACTERS = 1024
MAX_PART = 200


def check_model_path(text: str, path: KeyPath, folder: Path, draft: ProblemCollector, **tokenizer: Any) -> str:
    """A model folder made absolute, or a hub id as it is. What cannot be loaded is reported.

    `tokenizer` and `elsewhere` are those of `inspect_folder`.
    """
    if not readable(text, path, draft):
        return text
    place = absolute(text, folder)
    if not is_local(text, place):
        if not HUB_ID.match(text):
            allowed = "an existing folder, or a hub id owner/name[@revision]"
            draft.add(path, "neither a folder nor a hub id", given=shown(text), allowed=allowed, advice=_advice(place))
        elif place.parent.is_dir() and nearest_path(place) is not None:
            wanted = "a model folder; for a hub id of this name, hf download it or run elsewhere"
            report_missing(text, place, path, draft, wanted=wanted)
        return text
    if not place.is_dir():
        report_missing(text, place, path, draft, wanted="a model folder")
    else:
        for fault in inspect_folder(place, **tokenizer).faults:
            draft.add(path, fault.message, given=shown(text), allowed=fault.allowed, advice=fault.advice)
    return str(place)


def check_data_path(text: str, path: KeyPath, folder: Path, draft: ProblemCollector) -> str:
    """A file or folder that must exist, made absolute."""
    if not readable(text, path, draft):
        return text
    place = absolute(text, folder)
    if not place.exists():
        report_missing(text, place, path, draft, wanted="an existing file or folder")
    return str(place)


def check_data_file(text: str, path: KeyPath, folder: Path, draft: ProblemCollector) -> str:
    """A local data file made absolute, or the name of a data set as it is."""
    if not readable(text, path, draft):
        return text
    place = absolute(text, folder)
    if is_local(text, place) or text.endswith(DATA_ENDINGS):
        return check_data_path(text, path, folder, draft)
    return text


def check_storage(text: str, path: KeyPath, folder: Path, draft: ProblemCollector) -> Path:
    """The folder of all results, made absolute; it need not exist yet."""
    if not readable(text, path, draft):
        return folder
    place = absolute(text, folder)
    if "://" in text:
        message = "an address, not a folder: results appear by renames and under locks, which object stores do not have"
        advice = "work in a folder and put a copy beside it: mirror: s3://bucket/runs"
        allowed = "a folder that every machine of the sweep sees"
        draft.add(path, message, given=shown(text), allowed=allowed, advice=advice)
        return place
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    if not there.is_dir():
        draft.add(path, f"{there} is a file", given=shown(text), allowed="a folder, existing or new")
    return place


def readable(text: str, path: KeyPath, draft: ProblemCollector) -> bool:
    """Whether a text can be a path at all; reported where it cannot."""
    if not text.isprintable() or len(text) > MAX_CHARACTERS or any(len(part) > MAX_PART for part in text.split("/")):
        draft.add(path, "not a path", given=shown(text), allowed=f"printable, each part at most {MAX_PART} characters")
        return False
    if not text.strip():
        draft.add(path, "empty: no path", given=shown(text), advice="a variable of the shell may be unset")
        return False
    unset = sorted({name for name in _variables(text) if name not in os.environ})
    if unset:
        draft.add(
            path,
            f"the environment has no variable {', '.join(unset)}",
            given=shown(text),
            advice="set it, or write the path out",
        )
        return False
    if text.startswith("~") and os.path.expanduser(text) == text:
        draft.add(path, "no such home folder", given=shown(text), advice="write the path from /")
        return False
    return True


def absolute(text: str, folder: Path) -> Path:
    """Variables ($NAME, ${NAME}) and `~` expanded, `..` resolved, relative to `folder`."""
    return (folder / expanded(text)).resolve()


def expanded(text: str) -> str:
    """The text with `~` and variables of the environment replaced; a variable that is not set stays as it is."""
    return os.path.expanduser(os.path.expandvars(text))


def _variables(text: str) -> list[str]:
    """Names of the variables in a path."""
    return [braced or plain for braced, plain in VARIABLE.findall(text)]


def is_local(text: str, place: Path) -> bool:
    """Whether a text means a path on this machine and not a hub id."""
    return text.startswith((".", "/", "~", "$")) or text.count("/") > 1 or text.endswith("/") or place.exists()


def report_missing(text: str, place: Path, path: KeyPath, draft: ProblemCollector, *, wanted: str) -> None:
    """A path that is not there, with the nearest name beside it."""
    nearest = nearest_path(place)
    draft.add(path, "no such path", given=shown(text), allowed=wanted, nearest=nearest, advice=_advice(place))


def nearest_path(place: Path) -> str | None:
    """The closest existing path: the first missing part of it is compared with what lies beside it."""
    parts = [place, *place.parents]
    missing = next((part for part in reversed(parts) if not part.exists()), None)
    if missing is None or not missing.parent.is_dir() or not os.access(missing.parent, os.R_OK):
        return None
    found = near_miss(missing.name, os.listdir(missing.parent))
    return str(missing.parent / found / place.relative_to(missing)) if found else None


def _advice(place: Path) -> str:
    return f"relative paths start where the command runs; this one is {place}"
