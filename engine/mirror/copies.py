"""Upload and download single stages and models. An interrupted transfer never counts as complete."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from unlearn_sweep.engine.mirror.address import Mirror
from unlearn_sweep.engine.mirror.plan import MARK, MODELS, STAGE_FILE, STAGES, Files
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.marks import first_damage
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.sealed import Record
from unlearn_sweep.engine.store.stages import ROWS_FILE, StageStore


class BrokenCopyError(RuntimeError):
    """A stage or model in the mirror does not match its stage.json or completion mark."""


class ModelMark(Record):
    """models/<key>/.complete: marks a completely uploaded model.

    `files` maps the relative path of each file to its size in bytes. `sweep` is the name of the uploading sweep.
    """

    files: dict[str, int]
    sweep: str


def put_stage(mirror: Mirror, store: StageStore, key: str) -> int:
    """Upload a finished stage, stage.json last. Return the bytes sent; 0 if files are missing (being replaced)."""
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
    """Upload a model, its completion mark last. Return the bytes sent.

    Returns 0 if the model is gone or is removed during the upload because it left the front.
    """
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
    """Fetch a stage, its model or both into the store. The model appears first, as after a training.

    `stage` is None if the stage is already in the local store. Returns the bytes received, or 0 if another local
    process holds the lock of this stage.

    Raises:
        BrokenCopyError: if the copy in the mirror is incomplete or damaged; nothing of it is kept.
    """
    if stage is None and not store.stage_folder(key).is_dir():
        raise BrokenCopyError(f"model {key}: its stage is neither here nor in the mirror")
    try:
        # If the stage already exists, the scratch folder is deleted at the end, after the model was moved out of it.
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
    """Download a stage's files and return their bytes.

    Raises:
        BrokenCopyError: if the files belong to another key, or one is missing, changed or truncated.
    """
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
    """Download the files listed in the model's completion mark and return their bytes.

    Raises:
        BrokenCopyError: if the mark is unreadable, or a file is missing, has another size or leads out of `folder`.
    """
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
    except FileNotFoundError as error:  # never uploaded, or removed since it was listed
        raise BrokenCopyError(f"{name} is not there") from error


def _keep_model(store: StageStore, key: str, made: Path) -> None:
    target = store.model_folder(key)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        durable.sync_tree(made)
        made.rename(target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
