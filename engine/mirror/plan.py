"""What goes into a sweep's mirror, what leaves it and what is fetched from it: decisions over listings, no transfers.

A mirror is laid out as a storage is, so that a copy of it is one:

<mirror>/<sweep>/...              the sweep's own files, with driver.json of whoever is at it
<mirror>/store/stages/<key>/      a finished stage; whole once its stage.json is there, which is uploaded last
<mirror>/store/models/<key>/      a model; whole once .complete is there, which names its files with their sizes
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath

Listing = Mapping[str, int]
"""Path below the mirror, to bytes."""
Files = Mapping[str, int]
"""Path below one stage's or model's folder, to bytes."""

STAGES = "store/stages"
MODELS = "store/models"
STAGE_FILE = "stage.json"
MARK = ".complete"
DRIVER = "driver.json"
JOURNAL = "study.journal"
LOCK_FILE = "spec.lock.yaml"
GROWING = (JOURNAL, "events.jsonl")
"""Read before the records are listed: a trial that the study knows as settled then has its record in the mirror."""
SPEC = ("spec.yaml", LOCK_FILE)
"""Before any record: whatever is there of a sweep can be told to be that sweep's."""
PLAIN = ("controls.json", "progress.json")
KEPT_STAGES = ("prepare:", "reinforce")
"""Stages whose models every later trial needs."""


def by_key(listing: Listing, folder: str) -> dict[str, dict[str, int]]:
    """The files of each entry below `folder`. Names with a dot before them are uploads under way, the mark is not."""
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
    """Files of every stage that was uploaded to its end, by key."""
    return {key: files for key, files in by_key(listing, STAGES).items() if STAGE_FILE in files}


def whole_models(listing: Listing) -> dict[str, dict[str, int]]:
    """Files of every model that was uploaded to its end, by key, without the mark."""
    models = {key: files for key, files in by_key(listing, MODELS).items() if MARK in files}
    return {key: {name: size for name, size in files.items() if name != MARK} for key, files in models.items()}


def records_of(listing: Listing, sweep: str) -> dict[int, int]:
    """Number to bytes of the settled trials of a sweep."""
    pattern = re.compile(re.escape(f"{sweep}/trials/") + r"(\d+)\.json")
    matches = ((pattern.fullmatch(path), size) for path, size in listing.items())
    return {int(match[1]): size for match, size in matches if match is not None}


def sweep_files(listing: Listing, sweep: str) -> list[str]:
    """What is fetched of a sweep, relative to its folder: all of its own files but the mark of its driver."""
    names = (path[len(sweep) + 1 :] for path in listing if path.startswith(f"{sweep}/"))
    return sorted(name for name in names if name != DRIVER and not PurePosixPath(name).name.startswith("."))


def missing(wanted: Iterable[str], there: Collection[str]) -> list[str]:
    """What is wanted and not there, each once, in the order wanted."""
    return [key for key in dict.fromkeys(wanted) if key not in there]


def models_worth_keeping(stages: Mapping[str, str], front: Iterable[str]) -> list[str]:
    """Keys of models to keep in the mirror: those that later trials need, then the front's. `stages`: key to name."""
    needed = [key for key, name in stages.items() if name.startswith(KEPT_STAGES)]
    return list(dict.fromkeys([*needed, *front]))


def models_to_remove(
    there: Collection[str], own: Collection[str], kept: Collection[str], others: Collection[str]
) -> list[str]:
    """Models in the mirror that may go: of this sweep's trials (`own`), not to be kept, and on no other's front."""
    return sorted(key for key in there if key in own and key not in kept and key not in others)


def conflict(here: Collection[int], there: Collection[int]) -> str | None:
    """Why the sweep's records here must not go over those in the mirror; None where they are as far or further."""
    absent = sorted(set(there) - set(here))
    if not absent:
        return None
    shown = ", ".join(str(number) for number in absent[:8]) + (", ..." if len(absent) > 8 else "")
    return f"the mirror has {counted(len(there), 'settled trial')}, here are {len(here)}, and not its {shown}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def bytes_told(count: int) -> str:
    """A number of bytes as people read it."""
    amount, units = float(count), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and (larger := next(units, None)) is not None:
        amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
