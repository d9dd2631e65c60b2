"""What MLflow knows of a sweep beside its trials: stages, settings, data, provenance and models of the front.

Real sqlite stores. Oracle: the records and the lock file; for a model, transformers reading the folder in the store.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml
from mlflow.entities import Run
from mlflow.transformers import load_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from tests.support.mlflow_store import client_of, runs_of, sink_of
from tests.support.sweep_folder import front_of, trial, write_front, write_sweep, write_trial
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.tracking.runs_page import KIND_TAG, VIEW_TAG
from unlearn_sweep.engine.tracking.sink import noted_page

KEYS = {"unlearn": "aa", "evaluate": "bb", "attack:relearn": "cc"}


def stages_of(folder: Path) -> dict[str, Run]:
    return {run.data.tags["stage"]: run for run in runs_of(folder, "stage")}


def test_each_stage_is_a_run_below_its_trial(storage: Path) -> None:
    record = trial(0, stage_keys=KEYS, reused_stages=["evaluate"])
    folder = write_sweep(storage / "demo", [record])
    log = EventLog(folder / "events.jsonl")
    ended = log.append("stage_finished", trial=0, stage="unlearn", stage_key="aa", seconds=3.5)
    log.append("stage_finished", trial=0, stage="unlearn", stage_key="aa", seconds=9.0, data={"seed": 8})
    sink_of(folder).catch_up()
    (parent,), found = runs_of(folder), stages_of(folder)
    assert set(found) == set(KEYS)
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    unlearn, attack = found["unlearn"], found["attack:relearn"]
    assert unlearn.info.end_time == round(ended.time * 1000)
    assert unlearn.info.start_time == pytest.approx(ended.time * 1000 - 3500, abs=1)
    assert attack.info.end_time == round(record.finished * 1000)
    assert unlearn.data.metrics["train/forget"] == 1.0
    assert found["evaluate"].data.metrics["ue.probability"] == record.ue
    assert attack.data.metrics | {"rob": 0.4, "seconds": 1.25} == attack.data.metrics
    history = client_of(folder).get_metric_history(attack.info.run_id, "still_forgotten")
    assert [(point.step, point.value) for point in history] == [
        (int(point.strength), point.still_forgotten) for point in record.attacks[0].curve
    ]
    assert {name: run.data.tags["reused"] for name, run in found.items()} == {
        "unlearn": "no", "evaluate": "yes", "attack:relearn": "no"
    }  # fmt: skip


def test_a_stage_that_ran_again_has_one_run(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0, stage_keys=KEYS)])
    sink_of(folder).catch_up()
    kept = stages_of(folder)["unlearn"].info.run_id
    write_trial(folder, trial(0, stage_keys=KEYS | {"evaluate": "dd"}))
    sink_of(folder).catch_up()
    assert sorted(run.data.tags["stage_key"] for run in runs_of(folder, "stage")) == ["aa", "cc", "dd"]
    assert stages_of(folder)["unlearn"].info.run_id == kept


def test_the_sweeps_settings_are_parameters_and_a_changed_one_is_a_tag(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    path = folder / "spec.lock.yaml"
    lock = yaml.safe_load(path.read_text())
    beta = {"kind": "log_uniform", "low": 0.1, "high": 1.0}
    lock["job"] |= {
        "search": {"trials": 12, "budget": {"gpu_hours": None}},
        "spaces": [{"method": "npo", "params": {"beta": beta, "retain": {"kind": "fixed", "value": "kl"}}}],
        "attacks": [{"label": "relearn-5", "name": "relearn", "params": {"steps": [5, 20]}}],
    }
    lock["starts"][0]["origin"] = {
        "command": "unlearn-sweep run q.yaml", "commit": "abc", "host": "h", "system": "s", "cpu": None, "cpus": 2,
        "memory_gib": 1.0, "gpus": [],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(lock))
    sink_of(folder).catch_up()
    params = runs_of(folder, "sweep")[0].data.params
    wanted = {
        "seed": "7", "search.trials": "12", "npo.beta": "log_uniform 0.1 to 1.0", "npo.retain": "kl",
        "attacks.relearn-5.params.steps": "[5, 20]", "benchmark.name": "authors",
    }  # fmt: skip
    assert wanted.items() <= params.items()
    assert not [name for name in params if "storage" in name or "gpu_hours" in name]
    lock["job"]["search"]["trials"] = 20
    path.write_text(yaml.safe_dump(lock))
    sink_of(folder).catch_up()
    (parent,) = runs_of(folder, "sweep")
    assert (parent.data.params["search.trials"], parent.data.tags["now.search.trials"]) == ("12", "20")
    tags = {"version.torch": "2.13.0", "commit": "abc", "mlflow.source.git.commit": "abc", "host": "h"}
    assert tags.items() <= parent.data.tags.items()
    assert parent.data.tags["mlflow.user"]


def test_the_benchmark_is_an_input_with_its_digest(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    path = folder / "spec.lock.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"identity": {"data": "d" * 40}}))
    sink_of(folder).catch_up()
    for run in (*runs_of(folder), *runs_of(folder, "sweep")):
        assert run.inputs is not None
        (entry,) = run.inputs.dataset_inputs
        assert (entry.dataset.name, entry.dataset.digest) == ("authors", "d" * 36)
        assert json.loads(entry.dataset.source)["tags"]["benchmark"] == "authors"


def test_the_shared_view_names_the_objectives(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)])
    sink_of(folder).catch_up()
    page = noted_page(folder)
    assert page is not None
    experiment = client_of(folder).get_experiment_by_name("demo")
    assert experiment is not None
    assert page.startswith(f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=")
    view = json.loads(experiment.tags[VIEW_TAG + page.rpartition("=")[2]])
    assert {"metrics.`ue`", "metrics.`ut`", "metrics.`rob`", "tags.`on_front`"} <= set(view["selectedColumns"])
    assert experiment.tags[KIND_TAG] == "custom_model_development"


def test_no_metric_of_a_trial_sorts_before_the_objectives(storage: Path) -> None:
    """Compare colours runs by the first metric that all have, in order of names."""
    folder = write_sweep(storage / "demo", [trial(0), trial(1)])
    sink_of(folder).catch_up()
    first, second = (run.data.metrics for run in runs_of(folder))
    assert min(first.keys() & second.keys()) == "rob"


@pytest.fixture
def uri(storage: Path) -> Iterator[str]:
    """The default address of the fluent API, which loads models, for one test."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{storage / 'mlflow.db'}")
    yield mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(before)


def write_weights(folder: Path, seed: int) -> None:
    """A Llama with random weights and a tokenizer of four words, as a stage leaves it in the store."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=4, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)


def tokens(model: Any, tokenizer: Any) -> list[int]:
    asked = tokenizer("a b c", return_tensors="pt")["input_ids"]
    return model.generate(asked, max_new_tokens=12, do_sample=False)[0].tolist()


def test_a_model_of_the_front_loads_from_the_registry_without_a_copy(storage: Path, uri: str) -> None:
    records = [trial(0), trial(1)]
    folder = write_sweep(storage / "demo", records)
    weights = StageStore(storage).model_folder(records[0].stage_keys["unlearn"])
    write_weights(weights, 0)
    sink_of(folder).catch_up()
    loaded: Any = load_model("models:/demo@trial-0")
    found = tokens(loaded.model, loaded.tokenizer)
    assert found == tokens(AutoModelForCausalLM.from_pretrained(weights), AutoTokenizer.from_pretrained(weights))
    assert isinstance(mlflow.pyfunc.load_model("models:/demo@trial-0").predict(["a b"])[0], str)
    assert not list((storage / "mlartifacts").rglob("*.safetensors"))
    (version,) = client_of(folder).search_model_versions("name = 'demo'")
    assert version.run_id == runs_of(folder)[0].info.run_id
    assert (version.tags["trial_number"], version.tags["ue"]) == ("0", repr(records[0].ue))
    outputs = runs_of(folder)[0].outputs
    assert outputs is not None
    assert [model.model_id for model in outputs.model_outputs] == [Path(str(version.source)).parent.name]


def test_versions_follow_the_front(storage: Path) -> None:
    """A trial that left the front has no version; the one that stays keeps its own."""
    records = [trial(n) for n in range(3)]
    folder = write_sweep(storage / "demo", records)
    for record in records:
        write_weights(StageStore(storage).model_folder(record.stage_keys["unlearn"]), record.number)

    def register(members: list[int]) -> dict[str, str]:
        write_front(folder, front_of(records, [records[number] for number in members], wanted=3))
        sink_of(folder).catch_up()
        found = client_of(folder).search_model_versions("name = 'demo'")
        return {version.tags["trial_number"]: version.version for version in found}

    before = register([0, 1])
    after = register([1, 2])
    assert set(before) == {"0", "1"}
    assert set(after) == {"1", "2"}
    assert after["1"] == before["1"]
    logged = client_of(folder).search_logged_models([runs_of(folder)[0].info.experiment_id])
    assert sorted(model.tags["trial_number"] for model in logged) == ["1", "2"]


def test_a_running_sweep_registers_no_model(storage: Path) -> None:
    folder = write_sweep(storage / "demo", [trial(0)], state=None)
    write_weights(StageStore(storage).model_folder(trial(0).stage_keys["unlearn"]), 0)
    sink_of(folder).catch_up()
    assert not client_of(folder).search_registered_models()
    EventLog(folder / "events.jsonl").append("sweep_finished")
    sink_of(folder).catch_up()
    assert [model.name for model in client_of(folder).search_registered_models()] == ["demo"]
    shutil.rmtree(StageStore(storage).model_folder(trial(0).stage_keys["unlearn"]))
    sink_of(folder).catch_up()
    assert not client_of(folder).search_model_versions("name = 'demo'")
