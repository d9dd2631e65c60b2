"""The models of the front in MLflow: logged models and versions of a registered model, without a copy of the weights.

A version holds an `MLmodel` file that names the model folder in the sweep's store, so `mlflow.transformers.load_model`
and `mlflow.pyfunc.load_model` read the weights where they are. It loads on every machine that sees the storage at the
same path. `unlearn-sweep export` copies weights.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.snapshot import Snapshot
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.tracking.fields import is_on_front
from unlearn_sweep.engine.tracking.runs import RunStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LAYOUT = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontModel:
    """A member of the front whose weights are here."""

    record: TrialRecord
    run_id: str
    folder: Path
    key: str

    @property
    def mark(self) -> str:
        """What a version must have been made of to count as this model."""
        return f"{LAYOUT} {self.record.key} {self.run_id} {self.folder}"

    @property
    def name(self) -> str:
        return f"{self.record.number:03d}-{self.record.method.replace('+', '-with-').replace('>', '-then-')}"


def front_models(snapshot: Snapshot, run_ids: Mapping[tuple[int, str], str]) -> list[FrontModel]:
    """Return the members of the front whose weights are in the sweep's store, by number."""
    if snapshot.front is None:
        return []
    store, found = StageStore(snapshot.folder.resolve().parent), []
    for record in [record for record in snapshot.records if is_on_front(record, snapshot.front)]:
        key = record.stage_keys.get("unlearn")
        folder = store.model_folder(key) if key is not None else None
        if key is not None and folder is not None and (folder / "config.json").is_file():
            run_id = run_ids[record.number, record.key]
            found.append(FrontModel(record=record, run_id=run_id, folder=folder, key=key))
    return found


def registered_name(snapshot: Snapshot) -> str:
    """Return the name of the sweep's registered model; MLflow allows neither slash nor colon in it."""
    return snapshot.name.replace("/", "-").replace(":", "-")


def register_front(store: RunStore, snapshot: Snapshot, sweep_id: str, models: Sequence[FrontModel]) -> None:
    """Make the registered model of a sweep hold exactly the members of its front.

    Versions and logged models of trials that left the front are deleted. A version is deleted and made again if its
    weights moved.
    """
    name, client = registered_name(snapshot), store.client
    wanted = {model.mark: model for model in models}
    versions = [version for version in _versions(store, name) if version.tags.get("sweep_id") == sweep_id]
    there = {version.tags.get("mark", ""): version for version in versions}
    for mark, version in there.items():
        if mark not in wanted:
            client.delete_model_version(name, version.version)
    logged = client.search_logged_models([store.experiment_id], f"tags.sweep_id = '{sweep_id}'")
    for model in logged:
        if model.tags.get("mark") not in wanted.keys() & there.keys():
            client.delete_logged_model(model.model_id)
    new = {mark: model for mark, model in wanted.items() if mark not in there}
    if new and not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description=f"Front of the sweep {snapshot.name}: one version for a trial")
    for mark, model in new.items():
        _register(store, name, model, {"sweep_id": sweep_id, "mark": mark})


def _versions(store: RunStore, name: str) -> list[ModelVersion]:
    return list(store.client.search_model_versions(f"name = '{name}'"))


def _register(store: RunStore, name: str, model: FrontModel, marks: Mapping[str, str]) -> None:
    """Log a model to its trial's run, and make it a version of the registered model with an alias `trial-N`."""
    from mlflow.entities import LoggedModelOutput

    record, client = model.record, store.client
    numbers = {name: repr(value) for name in ("ue", "ut", "rob") if (value := getattr(record, name)) is not None}
    tags = {**marks, "trial_number": str(record.number), "trial_key": record.key, "method": record.method, **numbers}
    logged = client.create_logged_model(store.experiment_id, model.name, model.run_id, tags, model_type="unlearned")
    with tempfile.TemporaryDirectory() as scratch:
        _write_reference(Path(scratch), model, logged.model_id)
        client.log_model_artifacts(logged.model_id, scratch)
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(model.run_id, [LoggedModelOutput(logged.model_id, 0)])
    version = client.create_model_version(
        name, logged.artifact_location, model.run_id, tags, model_id=logged.model_id,
        description=f"trial {record.number} ({record.method})",
    )  # fmt: skip
    client.set_registered_model_alias(name, f"trial-{record.number}", version.version)


def _write_reference(folder: Path, model: FrontModel, model_id: str) -> None:
    """Write the `MLmodel` file of a text generation pipeline whose weights are elsewhere.

    MLflow reads a model by name and revision where it has no weights of its own; the name may be a folder. The revision
    must not be empty and is the key of the stage that trained the weights.
    """
    import platform
    from importlib.metadata import version

    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    text = Schema([ColSpec(DataType.string)])
    mlmodel = Model(model_id=model_id, run_id=model.run_id, signature=ModelSignature(inputs=text, outputs=text))
    mlmodel.add_flavor("python_function", loader_module="mlflow.transformers", python_version=platform.python_version())
    mlmodel.add_flavor(
        "transformers",
        transformers_version=version("transformers"),
        code=None,
        task="text-generation",
        instance_type="TextGenerationPipeline",
        pipeline_model_type=config["architectures"][0],
        source_model_name=str(model.folder),
        source_model_revision=model.key,
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
        tokenizer_name=str(model.folder),
        tokenizer_revision=model.key,
    )
    (folder / "MLmodel").write_text(yaml.safe_dump(mlmodel.to_dict(), sort_keys=False), encoding="utf-8")
    needed = [f"{package}=={version(package)}" for package in ("mlflow", "torch", "transformers")]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
