"""Read the current state of a sweep from disk, for a view. Writes nothing. Damaged files are listed, not fatal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ValidationError

from unlearn_sweep.engine.store.damaged import CHANGED
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import Controls, Event, Front, TrialRecord
from unlearn_sweep.engine.store.starts import Starts, read_starts
from unlearn_sweep.user_error import UserError

Stored = TypeVar("Stored", Front, Controls)
SweepState = Literal["running", "finished", "stopped"]
_SWEEP_STATES: dict[str, SweepState] = {
    "sweep_started": "running",
    "sweep_resumed": "running",
    "sweep_finished": "finished",
    "sweep_stopped": "stopped",
}


class NotASweepError(UserError, ValueError):
    """The folder is not a sweep; the message contains what is missing."""

    advice = "Give the folder <storage>/<sweep name>."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTrial:
    """One settled trial with the digest of its file."""

    record: TrialRecord
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a view reads. `unreadable` maps each file that was left out to the reason.

    `identity` holds the digests that all trials share (original, data, training, code); empty until it is known.
    """

    folder: Path
    name: str
    benchmark: str | None
    spec: Mapping[str, Any]
    spec_text: str | None
    trials: tuple[StoredTrial, ...]
    front: Front | None
    controls: Controls | None
    state: SweepState
    first_event_s: float | None
    last_event_s: float | None
    events: Sequence[Event] = ()
    starts: Starts = field(default_factory=Starts)
    identity: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def records(self) -> list[TrialRecord]:
        return [trial.record for trial in self.trials]


def read_snapshot(folder: Path) -> Snapshot:
    """Read the folder of a sweep.

    Raises:
        NotASweepError: The folder is not a sweep.
    """
    spec_path = folder / "spec.lock.yaml"
    trials_folder = folder / "trials"
    if not spec_path.is_file() and not trials_folder.is_dir():
        raise NotASweepError(f"{folder} is no sweep: it has neither spec.lock.yaml nor trials/")
    unreadable: dict[str, str] = {}
    spec_text = _text_of(spec_path, unreadable)
    lock = _lock_of(spec_text, unreadable)
    spec = _spec_of(lock)
    events = EventLog(folder / "events.jsonl").read()
    states: list[SweepState] = [_SWEEP_STATES[event.event] for event in events if event.event in _SWEEP_STATES]
    return Snapshot(
        folder=folder,
        name=str(spec.get("name") or folder.name),
        benchmark=_benchmark_of(spec),
        spec=spec,
        spec_text=spec_text,
        trials=_read_trials(trials_folder, unreadable),
        front=_read_model(folder / "progress.json", Front, unreadable),
        controls=_read_model(folder / "controls.json", Controls, unreadable),
        state=states[-1] if states else "running",
        first_event_s=events[0].time if events else None,
        last_event_s=events[-1].time if events else None,
        events=events,
        starts=_starts_of(lock, unreadable),
        identity=_identity_of(lock),
        unreadable=unreadable,
    )


def _text_of(path: Path, unreadable: dict[str, str]) -> str | None:
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        unreadable[path.name] = str(error)
        return None


def _lock_of(text: str | None, unreadable: dict[str, str]) -> Mapping[str, Any]:
    """Return the parsed lock file; empty if it is missing or unreadable."""
    if text is None:
        return {}
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        unreadable["spec.lock.yaml"] = str(error)
        return {}
    if not isinstance(document, Mapping):
        unreadable["spec.lock.yaml"] = f"is a {type(document).__name__}, not a mapping of keys to values"
        return {}
    return document


def _spec_of(lock: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the resolved sweep: the value of "job" or "spec" in the lock file, or the whole file if it has neither."""
    inner = lock.get("job", lock.get("spec"))
    return inner if isinstance(inner, Mapping) else lock


def _starts_of(lock: Mapping[str, Any], unreadable: dict[str, str]) -> Starts:
    try:
        return read_starts(lock)
    except ValidationError as error:
        unreadable["spec.lock.yaml: starts"] = first_mistake(error)
        return Starts()


def _identity_of(lock: Mapping[str, Any]) -> Mapping[str, str]:
    identity = lock.get("identity")
    return {str(name): str(value) for name, value in identity.items()} if isinstance(identity, Mapping) else {}


def _benchmark_of(spec: Mapping[str, Any]) -> str | None:
    benchmark = spec.get("benchmark")
    if isinstance(benchmark, Mapping):
        benchmark = benchmark.get("name")
    return str(benchmark) if benchmark is not None else None


def _read_trials(folder: Path, unreadable: dict[str, str]) -> tuple[StoredTrial, ...]:
    """Return the settled trials by number. Skip other file names, such as temporary files, which start with a dot."""
    trials: list[StoredTrial] = []
    for path in folder.glob("*.json") if folder.is_dir() else ():
        if not re.fullmatch(r"\d+", path.stem):
            continue
        try:
            data = path.read_bytes()
            record = TrialRecord.model_validate_json(data)
        except OSError as error:
            unreadable[f"trials/{path.name}"] = error.strerror or str(error)
            continue
        except ValidationError as error:
            unreadable[f"trials/{path.name}"] = first_mistake(error)
            continue
        if not record.is_intact():
            unreadable[f"trials/{path.name}"] = CHANGED
            continue
        if record.state != "running":
            trials.append(StoredTrial(record=record, digest=hashlib.sha256(data).hexdigest()[:16]))
    return tuple(sorted(trials, key=lambda trial: trial.record.number))


def _read_model(path: Path, model: type[Stored], unreadable: dict[str, str]) -> Stored | None:
    if not path.is_file():
        return None
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        unreadable[path.name] = first_mistake(error)
        return None


def first_mistake(error: ValidationError) -> str:
    """Return how many mistakes a record has and the first of them."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    count = error.error_count()
    where = f" at {place}" if place else ""
    return f"{count} mistake{'s' if count > 1 else ''}, the first{where}: {first['msg'].removeprefix('Value error, ')}"
