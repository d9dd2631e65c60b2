"""Decide from file listings what to upload to, remove from and fetch from a sweep's mirror. Transfers nothing.

A mirror has the layout of a storage folder, so a copy of a mirror is a valid storage:

<mirror>/<sweep>/...              the sweep's own files, and driver.json of the driver that runs it
<mirror>/store/stages/<key>/      a finished stage; complete once stage.json exists, which is uploaded last
<mirror>/store/models/<key>/      a model; complete once .complete exists, which lists its files with their sizes
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

from unlearn_sweep.engine.store.stages import STAGE_FILE

Listing = Mapping[str, int]
"""Map from path below the mirror to size in bytes."""
Files = Mapping[str, int]
"""Map from path below a stage's or model's folder to size in bytes."""

STAGES = "store/stages"
MODELS = "store/models"
MARK = ".complete"
DRIVER = "driver.json"
JOURNAL = "study.journal"
LOCK_FILE = "spec.lock.yaml"
GROWING = (JOURNAL, "events.jsonl")
"""Append-only files. Read before the records are listed, so that every settled trial in the uploaded journal has its
record in the mirror."""
SPEC = ("spec.yaml", LOCK_FILE)
"""Uploaded before any record, so that even an incomplete upload identifies its sweep."""
PLAIN = ("controls.json", "questions.parquet", "progress.json")
KEPT_STAGES = ("prepare:", "reinforce")
"""Name prefixes of stages whose models every later trial needs."""


def by_key(listing: Listing, folder: str) -> dict[str, dict[str, int]]:
    """Return the files of each entry below `folder`. Skips hidden files (uploads in progress), except the mark."""
    found: dict[str, dict[str, int]] = {}
    for path, size in listing.items():
        if not path.startswith(f"{folder}/"):
            continue
        key, _, name = path[len(folder) + 1 :].partition("/")
        files = found.setdefault(key, {})
        if name and (name == MARK or not PurePosixPath(name).name.startswith(".")):
            files[name] = size
    return found


def whole_stages(listing: Listing) -> dict[str, dict[str, int]]:
    """Return the files of every completely uploaded stage, by key."""
    return {key: files for key, files in by_key(listing, STAGES).items() if STAGE_FILE in files}


def whole_models(listing: Listing) -> dict[str, dict[str, int]]:
    """Return the files of every completely uploaded model, by key, without the mark."""
    models = {key: files for key, files in by_key(listing, MODELS).items() if MARK in files}
    return {key: {name: size for name, size in files.items() if name != MARK} for key, files in models.items()}


def records_of(listing: Listing, sweep: str) -> dict[int, int]:
    """Return the record size in bytes of each settled trial of a sweep, by trial number."""
    pattern = re.compile(re.escape(f"{sweep}/trials/") + r"(\d+)\.json")
    matches = ((pattern.fullmatch(path), size) for path, size in listing.items())
    return {int(match[1]): size for match, size in matches if match is not None}


def sweep_files(listing: Listing, sweep: str) -> list[str]:
    """Return the files of a sweep to fetch, relative to its folder: all except driver.json and hidden files."""
    names = (path[len(sweep) + 1 :] for path in listing if path.startswith(f"{sweep}/"))
    return sorted(name for name in names if name != DRIVER and not PurePosixPath(name).name.startswith("."))


def missing(wanted: Iterable[str], there: Collection[str]) -> list[str]:
    """Return the entries of `wanted` that are not in `there`, without duplicates, in order."""
    return [key for key in dict.fromkeys(wanted) if key not in there]


def models_worth_keeping(stages: Mapping[str, str], front: Iterable[str]) -> list[str]:
    """Return the keys of models to keep in the mirror: those that later trials need, then those on the front.

    `stages` maps stage keys to stage names.
    """
    needed = [key for key, name in stages.items() if name.startswith(KEPT_STAGES)]
    return list(dict.fromkeys([*needed, *front]))


def models_to_remove(
    there: Collection[str], own: Collection[str], kept: Collection[str], others: Collection[str]
) -> list[str]:
    """Return the models in the mirror to delete: made by this sweep's trials (`own`), not in `kept`, not in `others`.

    `others` are the models on the fronts of other sweeps.
    """
    return sorted(key for key in there if key in own and key not in kept and key not in others)


def conflict(here: Collection[int], there: Collection[int]) -> str | None:
    """Return why the records here must not overwrite those in the mirror, or None if no trial there is missing here."""
    absent = sorted(set(there) - set(here))
    if not absent:
        return None
    shown = ", ".join(str(number) for number in absent[:8]) + (", ..." if len(absent) > 8 else "")
    return f"the mirror has {counted(len(there), 'settled trial')}, here are {len(here)}, and not its {shown}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def bytes_told(count: int) -> str:
    """Return a number of bytes in a readable unit (powers of 1000)."""
    amount, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and (larger := next(units, None)) is not None:
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
