"""Check paths in a sweep file: tell paths from hub ids, report missing ones and suggest similar ones.

Relative paths start at the folder that the command runs in.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.models.inspection import inspect_folder
from unlearn_sweep.evaluators.hub_id import is_hub_id
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import near_miss, shown
from unlearn_sweep.sweeps.file.yaml_lines import KeyPath

VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|([A-Za-z_]\w*))")
DATA_ENDINGS = (".json", ".jsonl", ".csv", ".parquet")
MAX_CHARACTERS = 1024
MAX_PART = 200


def check_model_path(text: str, path: KeyPath, folder: Path, collector: ProblemCollector, **tokenizer: Any) -> str:
    """Return a model folder as an absolute path, or a hub id unchanged. Report models that cannot be loaded.

    The keyword arguments `tokenizer` and `elsewhere` are passed to `inspect_folder`.
    """
    if not readable(text, path, collector):
        return text
    place = absolute(text, folder)
    if not is_local(text, place):
        if not is_hub_id(text):
            allowed = "an existing folder, or a hub id owner/name[@revision]"
            collector.add(
                path, "neither a folder nor a hub id", given=shown(text), allowed=allowed, advice=_advice(place)
            )
        elif place.parent.is_dir() and nearest_path(place) is not None:
            wanted = "a model folder; for a hub id of this name, hf download it or run elsewhere"
            report_missing(text, place, path, collector, wanted=wanted)
        return text
    if not place.is_dir():
        report_missing(text, place, path, collector, wanted="a model folder")
    else:
        for fault in inspect_folder(place, **tokenizer).faults:
            collector.add(path, fault.message, given=shown(text), allowed=fault.allowed, advice=fault.advice)
    return str(place)


def check_data_path(text: str, path: KeyPath, folder: Path, collector: ProblemCollector) -> str:
    """Return the absolute path of a file or folder. Report it if it does not exist."""
    if not readable(text, path, collector):
        return text
    place = absolute(text, folder)
    if not place.exists():
        report_missing(text, place, path, collector, wanted="an existing file or folder")
    return str(place)


def check_data_file(text: str, path: KeyPath, folder: Path, collector: ProblemCollector) -> str:
    """Return the absolute path of a local data file, or the name of a data set unchanged."""
    if not readable(text, path, collector):
        return text
    place = absolute(text, folder)
    if is_local(text, place) or text.endswith(DATA_ENDINGS):
        return check_data_path(text, path, folder, collector)
    return text


def check_storage(text: str, path: KeyPath, folder: Path, collector: ProblemCollector) -> Path:
    """Return the absolute path of the folder of all results. It need not exist yet. Report URLs and files."""
    if not readable(text, path, collector):
        return folder
    place = absolute(text, folder)
    if "://" in text:
        message = "an address, not a folder: results need atomic renames and file locks, which object stores lack"
        advice = "use a folder, and keep a copy on the object store with mirror: s3://bucket/runs"
        allowed = "a folder that every machine of the sweep sees"
        collector.add(path, message, given=shown(text), allowed=allowed, advice=advice)
        return place
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    if not there.is_dir():
        collector.add(path, f"{there} is a file", given=shown(text), allowed="a folder, existing or new")
    return place


def readable(text: str, path: KeyPath, collector: ProblemCollector) -> bool:
    """Return whether a text can be a path. Report it if not."""
    if not text.isprintable() or len(text) > MAX_CHARACTERS or any(len(part) > MAX_PART for part in text.split("/")):
        collector.add(
            path, "not a path", given=shown(text), allowed=f"printable, each part at most {MAX_PART} characters"
        )
        return False
    if not text.strip():
        collector.add(path, "empty: no path", given=shown(text), advice="a variable of the shell may be unset")
        return False
    unset = sorted({name for name in _variables(text) if name not in os.environ})
    if unset:
        collector.add(
            path,
            f"the environment has no variable {', '.join(unset)}",
            given=shown(text),
            advice="set it, or write the path out",
        )
        return False
    if text.startswith("~") and os.path.expanduser(text) == text:
        collector.add(path, "no such home folder", given=shown(text), advice="write the path from /")
        return False
    return True


def absolute(text: str, folder: Path) -> Path:
    """Return an absolute path: expand `~`, $NAME and ${NAME}, resolve `..`. Relative paths start at `folder`.

    NUL, which `readable` reports and no path can contain, is left out.
    """
    return (folder / expanded(text).replace("\0", "")).resolve()


def expanded(text: str) -> str:
    """Expand `~` and environment variables. Unset variables stay unchanged."""
    return os.path.expanduser(os.path.expandvars(text))


def _variables(text: str) -> list[str]:
    """Return the names of the variables in a path."""
    return [braced or plain for braced, plain in VARIABLE.findall(text)]


def is_local(text: str, place: Path) -> bool:
    """Return whether a text is a path on this machine, not a hub id."""
    return text.startswith((".", "/", "~", "$")) or text.count("/") > 1 or text.endswith("/") or place.exists()


def report_missing(text: str, place: Path, path: KeyPath, collector: ProblemCollector, *, wanted: str) -> None:
    """Report a missing path and suggest the most similar existing one."""
    nearest = nearest_path(place)
    collector.add(path, "no such path", given=shown(text), allowed=wanted, nearest=nearest, advice=_advice(place))


def nearest_path(place: Path) -> str | None:
    """Return `place` with its first missing part replaced by the most similar name in that folder.

    None if no name is similar, if the rest of the path does not exist below it, or if the folder is not readable.
    """
    parts = [place, *place.parents]
    missing = next((part for part in reversed(parts) if not part.exists()), None)
    if missing is None or not missing.parent.is_dir() or not os.access(missing.parent, os.R_OK):
        return None
    rest = place.relative_to(missing)
    there = [name for name in os.listdir(missing.parent) if (missing.parent / name / rest).exists()]
    found = near_miss(missing.name, there)
    return str(missing.parent / found / rest) if found else None


def _advice(place: Path) -> str:
    return f"relative paths start where the command runs; this one is {place}"
