"""Decide which model weights of a storage to delete, and when. All sweeps of a storage share one model store.

- The model of every trial on the front of any sweep of the storage is kept.
- A model in use is kept while its trial uses it. The trial registers it in a file under `<sweep>/in_use/`.
- The weights of a training's further shares are kept until a trial measures them, or the sweep ends without one.
- Every other unlearned model may be evicted. Without a limit, this sweep's models are evicted at once. With a limit,
  the oldest models of any sweep are evicted first, when space is needed.
- A sweep that trains none evicts only its own unused models that can be made again from a kept LoRA adapter.
- If any trial record cannot be read, nothing is evicted, because that trial may be on a front.

The stage of an evicted model counts as unfinished, so the model is made again when it is needed: from the adapter that
a LoRA training leaves in its stage folder, or by another training.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.records import front_point
from unlearn_sweep.engine.store.stages import StageStore

LOCK = "retention"
UNLEARN = "unlearn"
LINKS = "-links"
SHARE = "share-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """The models of one trial record.

    Attributes:
        models: Keys of the trial's unlearned models; the trial's own seed first.
        point: (UE, UT, Rob); None if the trial cannot be on a front.
        finished: Unix time in seconds.
    """

    models: tuple[str, ...]
    point: tuple[float, float, float] | None
    finished: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Keys of the unlearned models of a storage, by status.

    Attributes:
        on_front: Models of front members of any sweep.
        in_use: Models that a running trial or control uses.
        free: Models that may be evicted, oldest first.
        own: All models of this sweep's trials, whatever their status.
    """

    on_front: frozenset[str]
    in_use: frozenset[str]
    free: tuple[str, ...]
    own: frozenset[str]

    @property
    def kept(self) -> frozenset[str]:
        return self.on_front | self.in_use


class Retention:
    """Evict model weights of one storage on behalf of one sweep.

    If `limit_bytes` is None, there is no limit, and of this sweep's unused models only those on a front are kept.
    A sweep that trains none (`evicts` is False) deletes only what a kept adapter can restore.
    """

    def __init__(self, store: StageStore, sweep: Path, *, limit_bytes: int | None = None, evicts: bool = True) -> None:
        self.store = store
        self.sweep = sweep
        self.limit_bytes = limit_bytes
        self.evicts = evicts
        self._storage = store.root.parent
        self._keepers: dict[Path, tuple[tuple[int, int], Keeper]] = {}
        self._sizes: dict[str, int] = {}

    # --- models in use ------------------------------------------------------------------------------------------------

    def hold(self, holder: str, model: str) -> None:
        """Mark a model as in use by `holder` (a run of this sweep). Call this before looking for it in the store."""
        with durable.file_lock(self.store.lock(LOCK)):
            durable.write_text(self.sweep / "in_use" / holder, model)

    def release(self, holder: str) -> None:
        """Unmark the models of `holder`. Call this after its record is written; the record then decides."""
        for name in (holder, links_holder(holder)):
            (self.sweep / "in_use" / name).unlink(missing_ok=True)

    def drop(self, holder: str, model: str, *, keep: bool) -> None:
        """Unmark the model of `holder` and delete its weights, unless `keep` or another run still marks it."""
        with durable.file_lock(self.store.lock(LOCK)):
            (self.sweep / "in_use" / holder).unlink(missing_ok=True)
            if not keep and not any(model == held for sweep in self._sweeps() for _, held in _held(sweep)):
                self.store.evict_model(model)

    def hold_share(self, model: str) -> None:
        """Mark the weights of a training's share as waiting for the trial that measures them."""
        self.hold(f"{SHARE}{model}", model)

    def release_share(self, model: str | None) -> None:
        """Unmark the weights of a share: a trial measured them, so its record decides. None: it has no weights."""
        if model is not None:
            (self.sweep / "in_use" / f"{SHARE}{model}").unlink(missing_ok=True)

    def drop_shares(self) -> None:
        """Delete the weights of shares that no trial of this sweep measured. Call this when it proposes no more trials.

        Those on a front stay, and nothing is deleted while a record cannot be read.
        """
        found = self.holdings()
        if found is None:
            return
        for path, model in list(_held(self.sweep)):
            if path.name.startswith(SHARE):
                self.drop(path.name, model, keep=model in found.on_front)

    def drop_links(self, run: str, victim: str, links: Iterable[str]) -> None:
        """Delete `links`, the intermediate models of attack chains on `victim`, once no other run attacks it by chains.

        While another run still does, only unmark `victim` for this run. The last run deletes the links.
        """
        with durable.file_lock(self.store.lock(LOCK)):
            (self.sweep / "in_use" / links_holder(run)).unlink(missing_ok=True)
            if not any(
                victim == model for sweep in self._sweeps() for path, model in _held(sweep) if is_for_links(path)
            ):
                for link in links:
                    self.store.evict_model(link)

    # --- what may go --------------------------------------------------------------------------------------------------

    def evict(self, *, reserve_bytes: int = 0) -> list[str]:
        """Evict models as described in the module docstring and return their keys.

        `reserve_bytes` is the space to keep free below the limit. Without a limit, evict only models of this sweep;
        the drivers of other sweeps evict theirs.
        """
        with durable.file_lock(self.store.lock(LOCK)):
            found = self.holdings()
            if found is None:
                return []
            if not self.evicts:
                to_remove = [model for model in found.free if model in found.own and self.store.has_adapter(model)]
            elif self.limit_bytes is None:
                to_remove = [model for model in found.free if model in found.own]
            else:
                to_remove = self._over(found.free, self.limit_bytes - reserve_bytes)
            return [model for model in to_remove if self.store.evict_model(model)]

    def obstacle(self, reserve_bytes: int) -> str | None:
        """Return why `reserve_bytes` do not fit below the limit even without all free models; None if they fit."""
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
        """Return the size of all models in the store in bytes, including original and gold models."""
        folder = self.store.root / "models"
        return sum(self._size(path.name) for path in folder.iterdir()) if folder.is_dir() else 0

    def holdings(self) -> Holdings | None:
        """Return the status of every unlearned model of the storage; None if a record cannot be read.

        The models in use are read before the records. A trial writes its record before it releases its model, so a
        model that is released between the two reads appears in the records.
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
        """Yield free models, oldest first, until the rest fits into `allowed` bytes."""
        used = self.used_bytes()
        for model in free:
            if used <= allowed:
                return
            used -= self._size(model)
            yield model

    def _sweeps(self) -> list[Path]:
        return sorted(path for path in self._storage.iterdir() if (path / "trials").is_dir() or _holders(path))

    def _keeper(self, path: Path) -> Keeper:
        """Return the models of a trial record. Read the file again only if it has changed.

        The record is parsed as plain JSON, so that records of other versions count too.
        """
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
    """Extract the models and the point of a record as parsed JSON, which is faster than a whole `TrialRecord`."""
    own = record["stage_keys"].get(UNLEARN)
    seeds = [seed["stage_keys"].get(UNLEARN) for seed in record.get("seeds", [])]
    point = front_point(
        (record["ue"], record["ut"], record["rob"]),
        state=record["state"],
        infeasible=record.get("infeasible"),
        rob_is_bound=record["rob_is_bound"],
        attacked=bool(record["attacks"]),
    )
    models = dict.fromkeys(model for model in [own, *seeds] if model is not None)
    return Keeper(models=tuple(models), point=point, finished=record["finished"])


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def front_models(keepers: Iterable[Keeper]) -> set[str]:
    """Return the model of each front member. With several seeds, it is the first one, which is also exported."""
    from unlearn_sweep.evaluators.front import non_dominated

    placed = [keeper for keeper in keepers if keeper.point is not None and keeper.models]
    members = non_dominated([keeper.point for keeper in placed if keeper.point is not None])
    return {keeper.models[0] for keeper, member in zip(placed, members, strict=True) if member}


def links_holder(run: str) -> str:
    """Return the holder name under which a run (trial or control) marks a model whose attack chains it runs."""
    return f"{run}{LINKS}"


def is_for_links(holder: Path) -> bool:
    return holder.name.endswith(LINKS)


def _held(sweep: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file of a model in use with the model's key. A run may delete its file at any time: skip it."""
    for path in _holders(sweep):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.read_text(errors="replace")


def _holders(sweep: Path) -> list[Path]:
    """Return the files of models in use. Skip names that start with a dot: temporary files of a write in progress."""
    folder = sweep / "in_use"
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
