"""Stages and models on their way to a sweep's mirror and back. What is cut off in the middle never counts as whole."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from unlearn_sweep.engine.mirror.address import Mirror
from unlearn_sweep.engine.mirror.plan import MARK, MODELS, STAGE_FILE, STAGES, Files
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.marks import first_damage
from unlearn_sweep.engine.store.records import Record, StageResult
from unlearn_sweep.engine.store.stages import ROWS_FILE, StageStore


class BrokenCopyError(RuntimeError):
    """A stage or model in the mirror is not what its own last file says."""


class ModelMark(Record):
    """models/<key>/.complete: the files of a model that was uploaded to its end, with their sizes."""

    files: dict[str, int]
    sweep: str


def put_stage(mirror: Mirror, store: StageStore, key: str) -> int:
    """Upload a finished stage, its stage.json last. Bytes sent; 0 where it is not there (being replaced)."""
    folder = store.stage_folder(key)
    try:
        last = (folder / STAGE_FILE).read_bytes()
        others = {path.name: path.read_bytes() for path in _files(folder) if path.name != STAGE_FILE}
    except FileNotFoundError:
        return 0
    for name, data in sorted(others.items()):
        mirror.write(f"{STAGES}/{key}/{name}", data)
    mirror.write(f"{STAGES}/{key}/{STAGE_FILE}", last)
    return len(last) + sum(len(data) for data in others.values())


def put_model(mirror: Mirror, store: StageStore, key: str, sweep: str) -> int:
    """Upload a model, its mark last. Bytes sent; 0 where it is gone, or goes meanwhile: it left the front."""
    folder = store.model_folder(key)
    try:
        files = {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder)}
        for name in sorted(files):
            mirror.put(f"{MODELS}/{key}/{name}", folder / name)
    except FileNotFoundError:
        if folder.is_dir():
            raise
        return 0
    if not files or not folder.is_dir():
        return 0
    mirror.write(f"{MODELS}/{key}/{MARK}", ModelMark(files=files, sweep=sweep).model_dump_json(indent=1).encode())
    return sum(files.values())


def fetch(mirror: Mirror, store: StageStore, key: str, stage: Files | None, *, model: bool) -> int:
    """Fetch a stage, its model or both into the store as a training leaves them: the model appears first.

    `stage` None: the stage is here. Returns the bytes, 0 where somebody here is at this very stage. Raises
    BrokenCopyError where the copy is not whole; nothing of it is kept then.
    """
    if stage is None and not store.stage_folder(key).is_dir():
        raise BrokenCopyError(f"model {key}: its stage is neither here nor in the mirror")
    try:
        # Where the stage is here, the scratch folder vanishes at the end, without the model that was moved out of it.
        with (
            durable.file_lock(store.lock(key), wait=False),
            durable.new_folder(store.stage_folder(key)) as scratch,
        ):
            received = _get_model(mirror, key, scratch / "model") if model else 0
            received += _get_stage(mirror, key, scratch, stage) if stage is not None else 0
            if model:
                _keep_model(store, key, scratch / "model")
    except durable.LockedElsewhereError:
        return 0
    return received


def _get_stage(mirror: Mirror, key: str, folder: Path, files: Files) -> int:
    """A stage's files. BrokenCopyError where they are not those of that key, or one is missing or cut off."""
    for name in files:
        _get(mirror, f"{STAGES}/{key}/{name}", folder / name)
    try:
        result = StageResult.model_validate_json((folder / STAGE_FILE).read_bytes())
    except ValidationError as error:
        raise BrokenCopyError(f"stage {key}: unreadable {STAGE_FILE}") from error
    damage = f"{STAGE_FILE} has changed" if not result.is_intact() else first_damage(folder, result.files)
    if damage is not None:
        raise BrokenCopyError(f"stage {key}: {damage}")
    wrong = [name for name, size in files.items() if (folder / name).stat().st_size != size]
    if wrong or result.key != key or (result.has_rows and ROWS_FILE not in files):
        raise BrokenCopyError(f"stage {key}: {', '.join(wrong) or 'its content'} does not match")
    return sum(files.values())


def _get_model(mirror: Mirror, key: str, folder: Path) -> int:
    """The files that the model's mark names, each as large as it says."""
    data = mirror.read(f"{MODELS}/{key}/{MARK}")
    try:
        files = ModelMark.model_validate_json(data or b"").files
    except ValidationError as error:
        raise BrokenCopyError(f"model {key}: no readable {MARK}") from error
    for name, size in files.items():
        target = (folder / name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise BrokenCopyError(f"model {key}: {name} leads out of its folder")
        _get(mirror, f"{MODELS}/{key}/{name}", target)
        if target.stat().st_size != size:
            raise BrokenCopyError(f"model {key}: {name} has {target.stat().st_size} bytes, not {size}")
    return sum(files.values())


def _get(mirror: Mirror, name: str, target: Path) -> None:
    try:
        mirror.get(name, target)
    except FileNotFoundError as error:  # or it was removed since it was listed
        raise BrokenCopyError(f"{name} is not there") from error


def _keep_model(store: StageStore, key: str, made: Path) -> None:
    target = store.model_folder(key)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        durable.sync_tree(made)
        made.rename(target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
