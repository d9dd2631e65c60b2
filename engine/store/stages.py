"""The stage store: a cache of finished stages by key, shared by all sweeps of a storage.

A stage is a function of its inputs (digests, parameters, code version). Its folder appears by one rename when it is
complete. If two processes need the same stage, one waits for the lock and then finds the other one's result.

A stage whose record, rows or weights were changed after writing counts as unfinished and runs again.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from pydantic import ValidationError

from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.damaged import DamagedFileError, read_record, why_unreadable
from unlearn_sweep.engine.store.keys import digest, plain
from unlearn_sweep.engine.store.marks import first_damage, mark_files
from unlearn_sweep.engine.store.records import Outcome, StageResult

if TYPE_CHECKING:
    import pandas as pd

ROWS_FILE = "rows.parquet"
STAGE_FILE = "stage.json"
ADAPTER_FILE = "adapter.safetensors"
"""Beside a LoRA training's stage.json: its adapter, which stays when the model goes."""
RUN_AGAIN = "Rerun the same command: that stage counts as unfinished and runs again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRequest(Generic[Outcome]):
    """Identity of a stage, and what its work returns.

    Attributes:
        stage: name of the stage.
        inputs: everything that its result depends on; JSON values.
        outcome: what its work returns.
        weights: whether it also writes a model folder.
        keyed_as: name that the key is made of; the stage's where None. Stages that compute the same share a key by it.
        key: digest of that name and `inputs`.
    """

    stage: str
    inputs: Mapping[str, object]
    outcome: type[Outcome]
    weights: bool = False
    keyed_as: str | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", digest({"stage": self.keyed_as or self.stage, "inputs": self.inputs}))


class StageStore:
    """Finished stages and model folders under one storage root."""

    def __init__(self, storage: Path) -> None:
        self.root = storage / "store"

    def stage_folder(self, key: str) -> Path:
        return self.root / "stages" / key

    def model_folder(self, key: str) -> Path:
        return self.root / "models" / key

    def keep_weights(self, key: str, made: Path) -> None:
        """Move a trained model from a stage's scratch folder to its folder in the store, by one rename."""
        target = self.model_folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # left by a crash after the rename and before the stage's record was written
            shutil.rmtree(target)
        made.rename(target)

    def partial_folder(self, key: str) -> Path:
        """Return the folder for checkpoints of a running training, which deletes them when it is done."""
        return self.root / "partial" / key

    @property
    def empty(self) -> bool:
        """Whether nothing was ever computed here; then no key needs to be made in order to look."""
        return not (self.root / "stages").is_dir()

    def find(self, request: StageRequest[Outcome]) -> StageResult | None:
        """Return the finished stage, or None. It counts as unfinished if it is damaged or its weights were evicted."""
        return self.look(request)[0]

    def look(self, request: StageRequest[Outcome]) -> tuple[StageResult | None, str | None]:
        """Return (stage, None) on a cache hit and (None, damage) if the stage is damaged.

        Return (None, None) if it was never finished or if its weights were evicted.
        """
        try:
            result = self.result(request.key)
        except DamagedFileError as error:
            return None, f"{error.path}: {error.why}"
        if result is None or (request.weights and not self.model_folder(request.key).is_dir()):
            return None, None
        damage = self._unreadable_outcome(request, result)
        damage = damage or first_damage(self.stage_folder(request.key), result.files)
        if damage is None and request.weights:
            damage = first_damage(self.model_folder(request.key), result.weights)
        return (result, None) if damage is None else (None, damage)

    def recall(self, request: StageRequest[Outcome]) -> StageResult | None:
        """Return the finished stage even if its weights were evicted; None if it is unfinished or damaged."""
        if request.weights and self.has_weights(request.key):
            return self.find(request)
        try:
            result = self.result(request.key)
        except DamagedFileError:
            return None
        if result is None or self._unreadable_outcome(request, result) is not None:
            return None
        return None if first_damage(self.stage_folder(request.key), result.files) is not None else result

    def _unreadable_outcome(self, request: StageRequest[Outcome], result: StageResult) -> str | None:
        """Return why the numbers of a finished stage are not those of its kind of work, or None if they are."""
        try:
            result.outcome(request.outcome)
        except ValidationError as error:
            return f"{self.stage_folder(request.key) / STAGE_FILE}: {why_unreadable(error)}"
        return None

    def has_weights(self, key: str) -> bool:
        """Return whether the model folder of a stage exists."""
        return self.model_folder(key).is_dir()

    def has_adapter(self, key: str) -> bool:
        """Return whether the model of a stage can be made again from the adapter that its training left."""
        return (self.stage_folder(key) / ADAPTER_FILE).is_file()

    def restore(self, request: StageRequest[Outcome], make: Callable[[Path, Path, Outcome], None]) -> str | None:
        """Put an evicted model back that `make(adapter file, output folder, outcome)` makes from its adapter.

        The caller holds the stage's lock. Return why it was not put back, or None: there is no adapter, or the model
        made differs from the trained one, of whose files the stage keeps the hashes.
        """
        adapter, result = self.stage_folder(request.key) / ADAPTER_FILE, self.recall(request)
        if result is None or not self.has_adapter(request.key):
            return "no adapter is kept"
        scratch = self.root / "stages" / f".{request.key}.restored.tmp"  # `clear_remains` deletes it after a kill
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            make(adapter, scratch / "model", result.outcome(request.outcome))
            damage = first_damage(scratch / "model", result.weights)
            if damage is None:
                self.keep_weights(request.key, scratch / "model")
            return damage
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def result(self, key: str) -> StageResult | None:
        """Return the finished stage with this key, whether or not its weights still exist; None if there is none.

        Raises:
            DamagedFileError: Its stage.json cannot be read or belongs to another stage.
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
        """Read the per-row table of a finished stage.

        Raises:
            FileNotFoundError: The stage has no rows.
            DamagedFileError: The file was changed after writing or cannot be read.
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
        except (OSError, ValueError) as error:  # pyarrow errors are ValueErrors
            raise DamagedFileError(path, why_unreadable(error), RUN_AGAIN) from error

    def lock(self, key: str) -> Path:
        return self.root / "locks" / key

    def compute(self, request: StageRequest[Outcome], run: Callable[[Path], Outcome]) -> StageResult:
        """Run a stage and store its result. `run` writes its files to the given scratch folder and returns its outcome.

        The caller must hold the stage's lock and have checked that the stage is unfinished. Exceptions of `run`
        propagate unchanged; the scratch folder is then deleted.
        """
        target = self.stage_folder(request.key)
        if target.exists():  # damaged, or its weights were evicted: replace it
            shutil.rmtree(target)
        began = time.perf_counter()
        with durable.new_folder(target) as scratch:
            outcome = run(scratch)
            result: StageResult = StageResult(
                stage=request.stage,
                key=request.key,
                inputs=plain(request.inputs),
                seconds=time.perf_counter() - began,
                finished=time.time(),
                host=socket.gethostname(),
                data=outcome.model_dump(mode="json"),
                has_rows=(scratch / ROWS_FILE).exists(),
                files=mark_files(scratch),
                weights=mark_files(self.model_folder(request.key)) if request.weights else {},
            ).sealed()
            (scratch / STAGE_FILE).write_text(result.model_dump_json(indent=1))
        return result

    def clear_remains(self) -> int:
        """Delete leftovers of killed processes and return their number.

        These are scratch folders of stages that no process is running, and interrupted evictions.
        """
        stages, models = self.root / "stages", self.root / "models"
        remains = [path for path in models.glob(".*.evicted")]
        for path in stages.glob(".*.tmp"):
            try:  # a process that runs a stage holds its lock
                with durable.file_lock(self.lock(path.name.split(".")[1]), wait=False):
                    shutil.rmtree(path, ignore_errors=True)
            except durable.LockedElsewhereError:
                continue
            remains.append(path)
        for path in remains:
            shutil.rmtree(path, ignore_errors=True)
        return len(remains)

    def evict_model(self, key: str) -> int:
        """Delete a model folder and return the bytes freed. Its stage counts as unfinished afterwards."""
        folder = self.model_folder(key)
        if not folder.is_dir():
            return 0
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        evicted = folder.with_name(f".{key}.evicted")
        folder.rename(evicted)
        shutil.rmtree(evicted, ignore_errors=True)
        return size


def check_stored_weights(model: Path) -> None:
    """Check that a model folder of a store is as its stage wrote it.

    A folder outside any store, and a model whose stage has no marks, are not checked.

    Raises:
        DamagedFileError: A file of the model, or the record of its stage, is damaged.
    """
    if (model.parent.name, model.parent.parent.name) != ("models", "store"):
        return
    result = StageStore(model.parents[2]).result(model.name)
    damage = first_damage(model, result.weights) if result is not None else None
    if damage is not None:
        path, _, why = damage.partition(": ")
        raise DamagedFileError(Path(path), why, RUN_AGAIN)
