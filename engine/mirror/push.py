"""Upload new files of a sweep's folder and the store to its mirror. Local files are only read.

Order within a pass: the spec, stages, records, the study's journal and events, other small files, models. If a pass is
interrupted at any point, every record in the mirror has its stages, and every trial settled in the journal has its
record. A record whose trial is missing in the journal is dropped when the sweep is fetched.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.mirror.address import Mirror
from unlearn_sweep.engine.mirror.copies import put_model, put_stage
from unlearn_sweep.engine.mirror.plan import (
    GROWING,
    MODELS,
    PLAIN,
    SPEC,
    STAGE_FILE,
    STAGES,
    Listing,
    by_key,
    counted,
    missing,
    models_to_remove,
    models_worth_keeping,
    records_of,
    whole_models,
    whole_stages,
)
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.retention import Keeper, front_models, keeper_of
from unlearn_sweep.engine.store.stages import StageStore

REMOVE_EVERY_S = 300.0
NAMED = ("stage_finished", "stage_reused")
Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Counts of local items that are not known to be in the mirror."""

    stages: int
    trials: int
    models: int
    files: int

    def __str__(self) -> str:
        parts = (
            (self.stages, "finished stage"),
            (self.trials, "record"),
            (self.models, "model"),
            (self.files, "other file"),
        )
        return ", ".join(counted(count, noun) for count, noun in parts if count) or "nothing"


class Pusher:
    """Uploads one sweep to a mirror. `there` is the listing of the mirror when the sweep began."""

    def __init__(self, mirror: Mirror, store: StageStore, sweep: Path, there: Listing) -> None:
        self.mirror = mirror
        self._store, self._sweep, self._name = store, sweep, sweep.name
        self._events, self._offset = EventLog(sweep / "events.jsonl"), 0
        self._stages: dict[str, str] = {}
        self._keepers: dict[str, tuple[Stamp, Keeper]] = {}
        self._growing: dict[str, bytes] = {}
        self._sent: dict[str, Stamp] = {}
        self._sizes_there = records_of(there, self._name)
        self._stages_there = set(whole_stages(there))
        self._others: dict[tuple[str, int], Keeper] = {}
        self._removed = time.monotonic()
        self._models_there = set(whole_models(there))
        self._models_begun = set(by_key(there, MODELS))

    def look(self) -> None:
        """Read the local state.

        The journal is read before the records, so every trial that it has as settled has a record. Stage names are read
        after the records, so every stage of a record is known.
        """
        self._growing = self._read_growing()
        self._read_trials()
        self._read_events()

    def push(self, *, last: bool = False) -> None:
        """Upload the state of the last `look`. Errors are raised; a later call does not repeat finished uploads.

        With `last`, list the models in the mirror again: another sweep may have removed models that were on no front.
        """
        if last:
            self._models_there &= whole_models(self.mirror.listing(MODELS)).keys()
        self._push_plain(SPEC)
        self._push_stages()
        self._push_trials()
        self._push_growing()
        self._push_plain((*PLAIN, *self._report()))
        self._push_models()
        if last or time.monotonic() - self._removed > REMOVE_EVERY_S:
            self._remove_models()

    def forget_lost(self) -> None:
        """Count as uploaded only what the mirror still lists: it may have lost what it took."""
        there = self.mirror.listing(STAGES, MODELS, self._name)
        self._stages_there &= whole_stages(there).keys()
        self._models_there &= whole_models(there).keys()
        self._sent = {name: stamp for name, stamp in self._sent.items() if f"{self._name}/{name}" in there}

    def left(self) -> Left:
        """Count what has not been uploaded yet."""
        files = (*SPEC, *PLAIN, *self._report())
        return Left(
            stages=len(self._missing_stages()),
            trials=len(self._changed([f"trials/{name}" for name in list(self._keepers)])),
            models=len(self._missing_models()),
            files=len(self._changed(files)) + len([name for name in GROWING if self._grew(name)]),
        )

    # --- local state --------------------------------------------------------------------------------------------------

    def _read_growing(self) -> dict[str, bytes]:
        """Return the complete lines of each append-only file that has changed size since its last upload."""
        found = {name: (self._sweep / name).read_bytes() for name in GROWING if self._grew(name)}
        return {name: data[: data.rfind(b"\n") + 1] for name, data in found.items()}

    def _grew(self, name: str) -> bool:
        path = self._sweep / name
        return path.is_file() and (path.stat().st_size,) != self._sent.get(name)

    def _read_events(self) -> None:
        """Record the name of every stage that the sweep has finished or reused, by key."""
        for event, offset in self._events.read_from(self._offset):
            self._offset = offset
            if event.event in NAMED and event.stage is not None and event.stage_key is not None:
                self._stages[event.stage_key] = event.stage

    def _read_trials(self) -> None:
        """Read the models of each new or changed record. A record of the same size in the mirror counts as uploaded."""
        for path in (self._sweep / "trials").glob("*.json"):
            if path.name.startswith("."):
                continue
            stamp = _stamp(path)
            known = self._keepers.get(path.name)
            if known is not None and known[0] == stamp:
                continue
            self._keepers[path.name] = (stamp, keeper_of(json.loads(path.read_bytes())))
            if known is None and path.stem.isdigit() and self._sizes_there.get(int(path.stem)) == path.stat().st_size:
                self._sent[f"trials/{path.name}"] = stamp

    def _report(self) -> list[str]:
        folder = self._sweep / "report"
        paths = sorted(folder.rglob("*")) if folder.is_dir() else []
        return [str(path.relative_to(self._sweep)) for path in paths if path.is_file() and path.name[0] != "."]

    def _front(self) -> set[str]:
        return front_models(keeper for _, keeper in list(self._keepers.values()))

    # --- uploads ------------------------------------------------------------------------------------------------------

    def _missing_stages(self) -> list[str]:
        wanted = missing(list(self._stages), self._stages_there)
        return [key for key in wanted if (self._store.stage_folder(key) / STAGE_FILE).is_file()]

    def _push_stages(self) -> None:
        self.mirror.each(self._push_stage, self._missing_stages())

    def _push_stage(self, key: str) -> None:
        if put_stage(self.mirror, self._store, key):
            self._stages_there.add(key)

    def _push_trials(self) -> None:
        self.mirror.each(self._push_file, self._changed([f"trials/{name}" for name in self._keepers]))

    def _push_growing(self) -> None:
        for name, data in self._growing.items():
            self.mirror.write(f"{self._name}/{name}", data)
            self._sent[name] = (len(data),)

    def _push_plain(self, names: tuple[str, ...]) -> None:
        for name in self._changed(names):
            self._push_file(name)

    def _changed(self, names: tuple[str, ...] | list[str]) -> list[str]:
        paths = {name: self._sweep / name for name in names}
        return [name for name, path in paths.items() if path.is_file() and self._sent.get(name) != _stamp(path)]

    def _push_file(self, name: str) -> None:
        path = self._sweep / name
        stamp = _stamp(path)  # taken before reading: a write in between causes another upload
        self.mirror.write(f"{self._name}/{name}", path.read_bytes())
        self._sent[name] = stamp

    # --- models -------------------------------------------------------------------------------------------------------

    def _missing_models(self) -> list[str]:
        wanted = missing(models_worth_keeping(dict(self._stages), self._front()), self._models_there)
        return [key for key in wanted if self._store.model_folder(key).is_dir()]

    def _push_models(self) -> None:
        for key in self._missing_models():
            self._models_begun.add(key)
            if put_model(self.mirror, self._store, key, self._name):
                self._models_there.add(key)

    def _remove_models(self) -> None:
        """Remove this sweep's models that are on no front, unless later trials need them.

        Other sweeps' fronts are computed from their records. Nothing is removed if one of these cannot be read.
        """
        self._removed = time.monotonic()
        own = {model for _, keeper in self._keepers.values() for model in keeper.models}
        kept = models_worth_keeping(self._stages, self._front())
        if not models_to_remove(self._models_begun, own, kept, ()):
            return
        others = self._fronts_of_others()
        if others is None:
            return
        for key in models_to_remove(self._models_begun, own, kept, others):
            self.mirror.remove_model(key)
            self._models_begun.discard(key)
            self._models_there.discard(key)

    def _fronts_of_others(self) -> set[str] | None:
        """Return the models on the front of any other sweep in the mirror, or None if a record cannot be read."""
        found: set[str] = set()
        for sweep in self.mirror.sweeps():
            records = {} if sweep == self._name else self.mirror.listing(f"{sweep}/trials")
            records = {name: size for name, size in records.items() if not name.rpartition("/")[2].startswith(".")}
            new = [name for name, size in records.items() if (name, size) not in self._others]
            try:
                read = self.mirror.read_all(new)
                self._others |= {(name, records[name]): keeper_of(json.loads(read[name])) for name in new}
            except (ValueError, KeyError, TypeError):
                return None
            found |= front_models(self._others[item] for item in records.items())
        return found


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
