"""The stage store: a finished stage is found by its key and never run twice, in this sweep or another of the storage.

A stage is a function of its inputs (digests, parameters, code version). Its folder appears by one rename when it is
whole; two processes that want the same stage take turns on a lock, and the second finds the first one's result.
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
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.records import StageResult

if TYPE_CHECKING:
    import pandas as pd

ROWS_FILE = "rows.parquet"


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
        """The finished stage, or None. A stage whose weights were evicted since counts as not finished."""
        path = self.stage_folder(request.key) / "stage.json"
        if not path.exists() or (request.weights and not self.model_folder(request.key).is_dir()):
            return None
        return StageResult.model_validate_json(path.read_bytes())

    def result(self, key: str) -> StageResult | None:
        """A finished stage by its key alone, whether or not its weights are still there; None where there is none."""
        path = self.stage_folder(key) / "stage.json"
        return StageResult.model_validate_json(path.read_bytes()) if path.exists() else None

    def rows(self, key: str) -> pd.DataFrame:
        """The per-row table of a finished stage. FileNotFoundError where that stage has none."""
        import pandas as pd

        return pd.read_parquet(self.stage_folder(key) / ROWS_FILE)

    def lock(self, key: str) -> Path:
        return self.root / "locks" / key

    def compute(self, request: StageRequest, run: Callable[[Path], dict[str, Any]]) -> StageResult:
        """Run a stage and keep its result. `run` gets a scratch folder for its files and returns its numbers.

        The caller holds the stage's lock and has looked for a finished one. What `run` raises goes through untouched
        and leaves nothing behind.
        """
        target = self.stage_folder(request.key)
        if target.exists():  # finished before, weights evicted since: the new result replaces the old
            shutil.rmtree(target)
        began = time.perf_counter()
        with durable.new_folder(target) as scratch:
            data = run(scratch)
            result = StageResult(
                stage=request.stage,
                key=request.key,
                inputs=dict(request.inputs),
                seconds=time.perf_counter() - began,
                finished=time.time(),
                host=socket.gethostname(),
                data=data,
                has_rows=(scratch / ROWS_FILE).exists(),
            )
            (scratch / "stage.json").write_text(result.model_dump_json(indent=1))
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
