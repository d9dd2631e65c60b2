"""Which weights of a storage may go, and when: all sweeps over it share one store of models.

Kept for good: the model of every trial on the front of any sweep over the storage. Kept for now: a model that a trial
works on, which that trial has written down under `<sweep>/in_use/`. Every other unlearned model may go; without a limit
this sweep's go at once, with one the oldest go first, of whatever sweep, as soon as room is needed. A record that
cannot be read might be that of a front member, so then nothing goes at all.

What is removed is trained again by whoever wants it: its stage counts as unfinished.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.stages import StageStore

LOCK = "retention"
UNLEARN = "unlearn"
LINKS = "-links"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """What a trial's record says of its models. `point` is None for a trial that cannot be on a front."""

    models: tuple[str, ...]
    point: tuple[float, float, float] | None
    finished: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Models by why they are there: on a front, in use, or free to go (oldest first), with the sweep's own apart."""

    on_front: frozenset[str]
    in_use: frozenset[str]
    free: tuple[str, ...]
    own: frozenset[str]

    @property
    def kept(self) -> frozenset[str]:
        return self.on_front | self.in_use


class Retention:
    """The weights of one storage, from the side of one sweep. `limit_bytes`: None keeps front members only."""

    def __init__(self, store: StageStore, sweep: Path, *, limit_bytes: int | None = None) -> None:
        self.store = store
        self.sweep = sweep
        self.limit_bytes = limit_bytes
        self._storage = store.root.parent
        self._keepers: dict[Path, tuple[tuple[int, int], Keeper]] = {}
        self._sizes: dict[str, int] = {}

    # --- models in use ------------------------------------------------------------------------------------------------

    def hold(self, holder: str, model: str) -> None:
        """Write down that `holder` (a trial of this sweep) works on a model, before it looks for it in the store."""
        with durable.file_lock(self.store.lock(LOCK)):
            durable.write_text(self.sweep / "in_use" / holder, model)

    def release(self, holder: str) -> None:
        """The holder's record is written: from now on the record decides."""
        for name in (holder, links_holder(holder)):
            (self.sweep / "in_use" / name).unlink(missing_ok=True)

    def drop_links(self, run: str, victim: str, links: Iterable[str]) -> None:
        """Remove what a run's attacks left of `victim`, unless another run is at it: the last one does."""
        with durable.file_lock(self.store.lock(LOCK)):
            (self.sweep / "in_use" / links_holder(run)).unlink(missing_ok=True)
            if not any(
                victim == model for sweep in self._sweeps() for path, model in _held(sweep) if is_for_links(path)
            ):
                for link in links:
                    self.store.evict_model(link)

    # --- what may go --------------------------------------------------------------------------------------------------

    def evict(self, *, reserve_bytes: int = 0) -> list[str]:
        """Remove what may and should go; returns the keys. `reserve_bytes`: room wanted below the limit.

        Without a limit only this sweep's models go: the others' drivers see to theirs.
        """
        with durable.file_lock(self.store.lock(LOCK)):
            found = self.holdings()
            if found is None:
                return []
            if self.limit_bytes is None:
                doomed = [model for model in found.free if model in found.own]
            else:
                doomed = self._over(found.free, self.limit_bytes - reserve_bytes)
            return [model for model in doomed if self.store.evict_model(model)]

    def obstacle(self, reserve_bytes: int) -> str | None:
        """Why no further model fits below the limit even without every model that may go; None where one does."""
        if self.limit_bytes is None:
            return None
        found = self.holdings()
        kept = sum(self._size(model) for model in found.kept) if found else self.used_bytes()
        if kept + reserve_bytes <= self.limit_bytes:
            return None
        gib = 2**30
        return (
            f"storage_limit_gib = {self.limit_bytes / gib:g} is used up: models on fronts and in use take "
            f"{kept / gib:.3g} GiB and the next trials need {reserve_bytes / gib:.3g} GiB"
        )

    def used_bytes(self) -> int:
        """Bytes of all models in the store, originals and gold models included."""
        folder = self.store.root / "models"
        return sum(self._size(path.name) for path in folder.iterdir()) if folder.is_dir() else 0

    def holdings(self) -> Holdings | None:
        """Every unlearned model that a record names. None where a record cannot be read.

        What is in use is read first: a trial writes its record before it lets go, so a model that is let go between
        the two readings is in the second.
        """
        in_use = frozenset(model for sweep in self._sweeps() for _, model in _held(sweep))
        on_front: set[str] = set()
        finished: dict[str, float] = {}
        own: set[str] = set()
        for sweep in self._sweeps():
            try:
                keepers = [self._keeper(path) for path in sorted((sweep / "trials").glob("*.json"))]
            except (ValueError, KeyError, TypeError):
                return None
            on_front |= front_models(keepers)
            for keeper in keepers:
                finished |= {model: max(keeper.finished, finished.get(model, 0.0)) for model in keeper.models}
                own |= set(keeper.models) if sweep == self.sweep else set()
        free = sorted(finished.keys() - on_front - in_use, key=lambda model: (finished[model], model))
        return Holdings(on_front=frozenset(on_front), in_use=in_use, free=tuple(free), own=frozenset(own))

    def _over(self, free: Iterable[str], allowed: int) -> Iterator[str]:
        """The oldest models that may go, until what is left fits."""
        used = self.used_bytes()
        for model in free:
            if used <= allowed:
                return
            used -= self._size(model)
            yield model

    def _sweeps(self) -> list[Path]:
        return sorted(path for path in self._storage.iterdir() if (path / "trials").is_dir() or _holders(path))

    def _keeper(self, path: Path) -> Keeper:
        """What a record says, read again only where the file has changed. Plain JSON: other versions' records count."""
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_ino)
        known = self._keepers.get(path)
        if known is None or known[0] != stamp:
            known = self._keepers[path] = (stamp, keeper_of(json.loads(path.read_bytes())))
        return known[1]

    def _size(self, model: str) -> int:
        folder = self.store.model_folder(model)
        if not folder.is_dir():
            return 0
        if model not in self._sizes:
            self._sizes[model] = folder_bytes(folder)
        return self._sizes[model]


def keeper_of(record: Mapping[str, Any]) -> Keeper:
    """The same rule for a front's points as `engine.study.front.point_of`, over a record as it is on disk."""
    own = record["stage_keys"].get(UNLEARN)
    seeds = [seed["stage_keys"].get(UNLEARN) for seed in record.get("seeds", [])]
    rob = 1.0 if record["rob"] is None and not record["attacks"] else record["rob"]
    objectives: tuple[Any, Any, Any] = (record["ue"], record["ut"], rob)
    feasible = record.get("infeasible") is None
    placed = record["state"] == "complete" and feasible and not record["rob_is_bound"] and None not in objectives
    models = dict.fromkeys(model for model in [own, *seeds] if model is not None)
    return Keeper(models=tuple(models), point=objectives if placed else None, finished=record["finished"])


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def front_models(keepers: Iterable[Keeper]) -> set[str]:
    """The model of each front member: that of its first seed, which is the one that is exported."""
    from unlearn_sweep.evaluators.front import non_dominated

    placed = [keeper for keeper in keepers if keeper.point is not None and keeper.models]
    members = non_dominated([keeper.point for keeper in placed if keeper.point is not None])
    return {keeper.models[0] for keeper, member in zip(placed, members, strict=True) if member}


def links_holder(run: str) -> str:
    """The name under which a run (a trial, a control) holds a model for the sake of what its chains leave of it."""
    return f"{run}{LINKS}"


def is_for_links(holder: Path) -> bool:
    return holder.name.endswith(LINKS)


def _held(sweep: Path) -> Iterator[tuple[Path, str]]:
    """What the sweep's runs hold. Letting go takes no lock, so a file that was listed may be gone."""
    for path in _holders(sweep):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.read_text(errors="replace")


def _holders(sweep: Path) -> list[Path]:
    """Files of models in use; a scratch file of a write in progress begins with a dot."""
    folder = sweep / "in_use"
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
