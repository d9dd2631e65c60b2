"""The settings of a sweep as parameters of its MLflow run, its provenance as tags, and its data as a dataset."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store.snapshot import Snapshot
from unlearn_sweep.engine.tracking.fields import Fields

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

OF_THIS_MACHINE = frozenset({"name", "storage", "directory", "spec_path", "mirror", "mlflow", "threads"})
NAMED_BY = ("label", "method", "name")
"""Keys that name an entry of a list: attacks have a label, search spaces a method, tasks a name."""
DIGEST_CHARS = 36


def add_settings(fields: Fields, snapshot: Snapshot) -> None:
    """Add every setting of the resolved sweep that is not specific to the machine, as `search.trials`.

    Ranges of a search space are `npo.beta`, as the value in a trial's run. A setting without a value is left out.
    """
    for name, value in _settings(snapshot.spec, ()):
        fields.param(name, value)


def _settings(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and "kind" not in value:
        for name, inner in value.items():
            if path or name not in OF_THIS_MACHINE:
                yield from _settings(inner, (*path, str(name)))
    elif isinstance(value, list) and value and all(_name_of(item) is not None for item in value):
        for item in value:
            rest = {name: inner for name, inner in item.items() if name not in NAMED_BY}
            head = () if path == ("spaces",) else path
            yield from _settings(rest.get("params") if path == ("spaces",) else rest, (*head, str(_name_of(item))))
    elif value is not None and value not in ([], {}):
        yield ".".join(path), _range_text(value) if isinstance(value, Mapping) else value


def _name_of(item: object) -> object:
    return next((item[key] for key in NAMED_BY if key in item), None) if isinstance(item, Mapping) else None


def _range_text(entry: Mapping[str, Any]) -> object:
    """Return the value of a fixed setting, and a text as "log_uniform 0.1 to 1.0" or "choice nll, kl" of another."""
    if entry["kind"] == "fixed":
        return entry.get("value")
    values = entry.get("values")
    if isinstance(values, list):
        return f"{entry['kind']} {', '.join(map(str, values))}"
    return f"{entry['kind']} {entry.get('low')} to {entry.get('high')}"


def add_provenance(fields: Fields, snapshot: Snapshot) -> None:
    """Add package versions, commit, host and code version of the last start, and the digests of models and data."""
    for name, value in snapshot.identity.items():
        fields.tag(f"digest.{name}", value)
    start = snapshot.starts.last
    if start is None:
        return
    fields.tag("started", start.date)
    for package, version in start.versions.items():
        fields.tag(f"version.{package}", version)
    if start.origin is not None:
        fields.tag("mlflow.source.git.commit", start.origin.commit)
        fields.tag("commit", start.origin.commit)
        fields.tag("host", start.origin.host)
        fields.tag("command", start.origin.command)
        fields.tag("gpus", ", ".join(start.origin.gpus) or None)


def user() -> dict[str, str]:
    """Return MLflow's tag for the user of this process; empty if the system has no name for it."""
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):
        return {}


def datasets_of(snapshot: Snapshot) -> list[DatasetInput]:
    """Return the sweep's benchmark as MLflow's input: its digest, settings, and how many facts it judges by.

    Empty until the preparation has read the data.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = snapshot.identity.get("data")
    if digest is None or snapshot.benchmark is None:
        return []
    settings = snapshot.spec.get("benchmark")
    params = settings.get("params") if isinstance(settings, Mapping) else None
    source = {"tags": {"benchmark": snapshot.benchmark, "settings": redact(json.dumps(params, sort_keys=True))}}
    facts = snapshot.controls.forget_facts if snapshot.controls is not None else None
    dataset = Dataset(
        name=snapshot.benchmark,
        digest=digest[:DIGEST_CHARS],
        source_type="code",
        source=json.dumps(source),
        profile=None if facts is None else json.dumps({"forget_facts": facts}),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "forget and retain")])]
