"""The stage store: a finished stage is found by its key and never run twice, in this sweep or another of the storage.

A stage is a function of its inputs (digests, parameters, code version). Its folder appears by one rename when it is
whole; two processes that want the same stage take turns on a lock, and the second finds the first one's result.

A stage whose record, rows or weights are not as they were written counts as not finished and runs again.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.damaged import DamagedFileError, read_record, why_unreadable
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.marks import first_damage, mark_files
from unlearn_sweep.engine.store.records import StageResult

if TYPE_CHECKING:
    import pandas as pd

ROWS_FILE = "rows.parquet"
STAGE_FILE = "stage.json"
RUN_AGAIN = "Run the same command again: that stage counts as not finished and runs again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest:
    """What identifies a stage: its name and all its result depends on. `weights`: it also leaves a model folder."""

    stage: str
    inputs: Mapping[str, Any]
    weights: bool = False
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", digest({"stage": self.stage, "inputs": self.inputs}))


class StageStore:
    """Finished stages and model folders under one storage root."""

    def __init__(self, storage: Path) -> None:
        self.root = storage / "store"

    def stage_folder(self, key: str) -> Path:
        return self.root / "stages" / key

    def model_folder(self, key: str) -> Path:
        return self.root / "models" / key

    def partial_folder(self, key: str) -> Path:
        """Where a training that is under way keeps its checkpoints; it removes them when it is done."""
        return self.root / "partial" / key

    def find(self, request: StageRequest) -> StageResult | None:
        """The finished stage, or None. One that is damaged, or whose weights were evicted, counts as not finished."""
        return self.look(request)[0]

    def look(self, request: StageRequest) -> tuple[StageResult | None, str | None]:
        """The finished stage, or None with the damage that is the reason; (None, None) where it was never finished."""
        try:
            result = self.result(request.key)
        except DamagedFileError as error:
            return None, f"{error.path}: {error.why}"
        if result is None or (request.weights and not self.model_folder(request.key).is_dir()):
            return None, None
        damage = first_damage(self.stage_folder(request.key), result.files)
        if damage is None and request.weights:
            damage = first_damage(self.model_folder(request.key), result.weights)
        return (result, None) if damage is None else (None, damage)

    def recall(self, request: StageRequest) -> StageResult | None:
        """The finished stage, or None; its weights may have been evicted since. One that is damaged counts as None."""
        if request.weights and self.has_weights(request.key):
            return self.find(request)
        try:
            result = self.result(request.key)
        except DamagedFileError:
            return None
        damaged = result is not None and first_damage(self.stage_folder(request.key), result.files) is not None
        return None if damaged else result

    def has_weights(self, key: str) -> bool:
        """Whether the model folder of a stage is there."""
        return self.model_folder(key).is_dir()

    def result(self, key: str) -> StageResult | None:
        """A finished stage by its key alone, whether or not its weights are still there; None where there is none.

        Raises DamagedFileError where its stage.json cannot be read or is another stage's.
        """
        path = self.stage_folder(key) / STAGE_FILE
        if not path.exists():
            return None
        try:
            result = read_record(path, StageResult)
        except DamagedFileError as error:
            raise DamagedFileError(path, error.why, RUN_AGAIN) from error
        if result.key != key:
            raise DamagedFileError(path, f"it is the stage {result.key}", RUN_AGAIN)
        return result

    def rows(self, key: str) -> pd.DataFrame:
        """The per-row table of a finished stage.

        Raises FileNotFoundError where that stage has none, DamagedFileError where it is not as it was written.
        """
        import pandas as pd

        path, result = self.stage_folder(key) / ROWS_FILE, self.result(key)
        marks = {name: mark for name, mark in (result.files if result else {}).items() if name == ROWS_FILE}
        damage = first_damage(path.parent, marks)
        if damage is not None:
            raise DamagedFileError(path, damage.removeprefix(f"{path}: "), RUN_AGAIN)
        try:
            return pd.read_parquet(path)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
            raise DamagedFileError(path, why_unreadable(error), RUN_AGAIN) from error

    def lock(self, key: str) -> Path:
        return self.root / "locks" / key

    def compute(self, request: StageRequest, run: Callable[[Path], dict[str, Any]]) -> StageResult:
        """Run a stage and keep its result. `run` gets a scratch folder for its files and returns its numbers.

        The caller holds the stage's lock and has looked for a finished one. What `run` raises goes through untouched
        and leaves nothing behind.
        """
        target = self.stage_folder(request.key)
        if target.exists():  # finished before, damaged or without weights since: the new result replaces the old
            shutil.rmtree(target)
        began = time.perf_counter()
        with durable.new_folder(target) as scratch:
            data = run(scratch)
            result: StageResult = StageResult(
                stage=request.stage,
                key=request.key,
                inputs=dict(request.inputs),
                seconds=time.perf_counter() - began,
                finished=time.time(),
                host=socket.gethostname(),
                data=data,
                has_rows=(scratch / ROWS_FILE).exists(),
                files=mark_files(scratch),
                weights=mark_files(self.model_folder(request.key)) if request.weights else {},
            ).sealed()
            (scratch / STAGE_FILE).write_text(result.model_dump_json(indent=1))
        return result

    def clear_remains(self) -> int:
        """Remove what killed processes left: scratch of stages nobody is at, evictions cut off. How many there were."""
        stages, models = self.root / "stages", self.root / "models"
        remains = [path for path in models.glob(".*.evicted")]
        for path in stages.glob(".*.tmp"):
            try:  # whoever runs a stage holds its lock
                with durable.file_lock(self.lock(path.name.split(".")[1]), wait=False):
                    shutil.rmtree(path, ignore_errors=True)
            except durable.LockedElsewhereError:
                continue
            remains.append(path)
        for path in remains:
            shutil.rmtree(path, ignore_errors=True)
        return len(remains)

    def evict_model(self, key: str) -> int:
        """Remove a model folder; returns the bytes freed. Its stage counts as unfinished from then on."""
        folder = self.model_folder(key)
        if not folder.is_dir():
            return 0
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        doomed = folder.with_name(f".{key}.evicted")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return size


def check_stored_weights(model: Path) -> None:
    """Raise DamagedFileError where a model folder of a store is not as its stage left it.

    A folder that is in no store, and a model whose stage has no marks, pass: nothing is known of them.
    """
    if (model.parent.name, model.parent.parent.name) != ("models", "store"):
        return
    result = StageStore(model.parents[2]).result(model.name)
    damage = first_damage(model, result.weights) if result is not None else None
    if damage is not None:
        path, _, why = damage.partition(": ")
        raise DamagedFileError(Path(path), why, RUN_AGAIN)
