"""Oracle: the job that a file stands for, written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.sweep_text import TWO_CPUS, sweep_text
from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.engine.search_space import Fixed, LogUniform
from unlearn_sweep.engine.stages import training_requests
from unlearn_sweep.engine.training.settings import TrainingSettings, Workers
from unlearn_sweep.evaluators.attacks.presets import PRESETS
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import Overrides, resolve, trials_of


def job_of(folder: Path, overrides: Overrides | None = None, **parts: str) -> SweepJob:
    return resolve(parse_spec(sweep_text(**parts), folder=folder, machine=TWO_CPUS), overrides)


def test_defaults(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    assert job.name == "small"
    assert job.seed == 0
    assert (job.original, job.gold) == (ModelSource(), ModelSource())
    assert (job.storage, job.directory) == (tmp_path / "runs", tmp_path / "runs" / "small")
    assert job.training.worker_group == Workers(count=0, resources={"CPU": 1.0})
    assert (job.training.backend, job.training.zero, job.training.epochs) == ("torch", 0, 5.0)
    assert (job.concurrent_trials, job.threads) == (2, 1)
    assert (job.search.trials, job.search.sampler, job.search.allocation) == (4, "tpe", "equal")
    assert job.stage_timeout_s == 14400
    assert job.mlflow == "auto"
    assert job.search.prune
    assert job.spec_text == sweep_text()


def test_deepspeed_has_a_zero_stage_and_steps_replace_epochs(tmp_path: Path) -> None:
    job = job_of(tmp_path, training="training: {backend: deepspeed, workers: 2, max_steps: 9}")
    assert (job.training.zero, job.training.epochs, job.training.max_steps) == (2, None, 9)
    assert all("epochs" not in space.params for space in job.spaces)
    assert job.concurrent_trials == 1
    zero = job_of(tmp_path, training="training: {backend: deepspeed, workers: 2, zero_stage: 0}")
    assert zero.training.zero_stage == 0


def test_threads_are_the_whole_cpus_of_a_process(tmp_path: Path) -> None:
    assert job_of(tmp_path, training="training: {resources_per_worker: {CPU: 2}}").threads == 2
    assert job_of(tmp_path, training="training: {resources_per_worker: {CPU: 0.5}}").threads == 1


def test_constraints_are_numbers(tmp_path: Path) -> None:
    search = "search: {trials: 4, constraints: {ut: '>= 0.5', rob: '>=.25'}}"
    assert job_of(tmp_path, search=search).search.minimum == {"ut": 0.5, "rob": 0.25}


def test_recipes_keep_only_what_is_said(tmp_path: Path) -> None:
    job = job_of(tmp_path, model="model: {train: {epochs: 3, seed: 1}, dtype: float32}", gold="gold: {train: {}}")
    assert job.original == ModelSource(recipe={"epochs": 3, "seed": 1})
    assert job.gold == ModelSource()
    assert job.dtype == "float32"


def test_labels_and_complete_parameters(tmp_path: Path) -> None:
    attacks = """attacks:
  - relearn
  - quantize: {bits: 4}
  - quantize: {bits: [8, 4]}
  - relearn: {steps: 7}
  - relearn: {learning_rate: 1e-3}
  - chain: [{quantize: {bits: 4}}, relearn]
  - prefill: {text: "Sure"}"""
    job = job_of(tmp_path, attacks=attacks)
    labels = [
        "relearn",
        "quantize-4bit",
        "quantize",
        "relearn-2",
        "relearn-3",
        "chain-quantize-4bit-relearn",
        "prefill",
    ]
    assert [attack.label for attack in job.attacks] == labels
    by_label = {attack.label: attack for attack in job.attacks}
    assert by_label["relearn"].params["steps"] == [5, 20, 100]
    assert by_label["relearn-2"].params["batch_size"] == 4
    assert by_label["prefill"].params == {
        "text": "Sure",
        "tokens": [1, 2, 4, 8],
    }
    links = by_label["chain-quantize-4bit-relearn"].params["steps"]
    assert [list(link) for link in links] == [["quantize"], ["relearn"]]
    assert links[1]["relearn"]["steps"] == [5, 20, 100]


def test_every_attack_can_be_built_from_its_job(tmp_path: Path) -> None:
    from unlearn_sweep.evaluators.attacks.catalog import validate

    attacks = "attacks: [prefill, {prefill: {text: x}}, few_shot, quantize, relearn, {chain: [quantize, prefill]}]"
    for attack in job_of(tmp_path, attacks=attacks).attacks:
        validate(attack.name, attack.params)


def test_a_default_said_is_a_default_left_out(tmp_path: Path) -> None:
    said = job_of(tmp_path, attacks="attacks: [{relearn: {batch_size: 4}}]", seed="seed: 0", prune="prune: true")
    left_out = job_of(tmp_path, attacks="attacks: [relearn]")
    assert said.digest() == left_out.digest()


def test_files_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a"}\n' * 65)
    job = job_of(tmp_path, attacks="attacks: [{finetune: {data: rows.jsonl}}, {finetune: {data: gsm8k}}]")
    assert [attack.params["data"] for attack in job.attacks] == [str(tmp_path / "rows.jsonl"), "gsm8k"]


def test_data_to_fine_tune_on_are_read_when_the_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "mnli.csv").write_text("premise,hypothesis,label\na,b,0\na,b,perhaps\n")
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, attacks="attacks: [{finetune: {data: mnli.csv, task: mnli, heldout_rows: 1}}]")
    (problem,) = caught.value.problems
    assert problem.message.endswith("row 3, column label: input should be a valid integer, got 'perhaps'")
    assert "mnli.csv" in problem.message


@pytest.mark.parametrize(
    "attack",
    [
        "quantize: {backend: bitsandbytes}",
        "chain: [{quantize: {bits: 4, backend: bitsandbytes}}, {relearn: {steps: [2]}}]",
    ],
)
def test_a_backend_that_this_machine_lacks_is_refused_with_the_reason(tmp_path: Path, attack: str) -> None:
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, attacks=f"attacks: [{{{attack}}}]")
    (problem,) = caught.value.problems
    assert problem.message == "bitsandbytes cannot run: bitsandbytes is not installed; this machine has no GPU"
    assert problem.allowed == "backend: plain"


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_stands_for_its_attacks(tmp_path: Path, name: str) -> None:
    written = ", ".join(json.dumps(dict(attack)) for attack in PRESETS[name].attacks)
    short, long = (job_of(tmp_path, attacks=f"attacks: [{text}]") for text in (f"{{preset: {name}}}", written))
    assert [attack.model_dump() for attack in short.attacks] == [attack.model_dump() for attack in long.attacks]
    assert short.digest() == long.digest()
    labels = [attack.label for attack in job_of(tmp_path, attacks=f"attacks: [prefill, {{preset: {name}}}]").attacks]
    assert len(labels) == len(set(labels)) == 1 + len(PRESETS[name].attacks)


def test_an_unknown_preset_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, attacks="attacks: [{preset: fullstack}]")
    (problem,) = caught.value.problems
    assert (problem.path, problem.nearest) == ("attacks[0].preset", "full_stack")


def test_the_commands_words_go_before_the_files(tmp_path: Path) -> None:
    job = job_of(tmp_path, Overrides(trials=9, storage="elsewhere", max_concurrent=1))
    assert (job.search.trials, job.concurrent_trials) == (9, 1)
    assert job.directory == tmp_path / "elsewhere" / "small"
    assert job.digest() == job_of(tmp_path).digest()


@pytest.mark.parametrize(
    ("overrides", "word"),
    [(Overrides(trials=1), "at least 2"), (Overrides(storage="s3://x"), "an address")],
)
def test_overrides_that_cannot_be(tmp_path: Path, overrides: Overrides, word: str) -> None:
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, overrides)
    assert word in caught.value.text()


def test_a_storage_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, Overrides(storage="taken"))
    assert "is a file" in caught.value.text()


def test_trials_left_out(tmp_path: Path) -> None:
    """30, or every point of the grid: 3 x 2 for npo and 1 for graddiff."""
    assert job_of(tmp_path, search="").search.trials == 30
    methods = "methods: {npo: {learning_rate: {log: [1e-4, 1e-3]}, retain: {choice: [nll, kl]}}, graddiff: {}}"
    grid = parse_spec(sweep_text(methods=methods, search="search: {sampler: grid, grid_points: 3}"), machine=TWO_CPUS)
    assert trials_of(grid, Overrides()) == 7


def test_compositions_are_methods_with_the_parameters_of_their_parts(tmp_path: Path) -> None:
    text = """methods:
  npo+sam+irm: {sam_rho: {log: [0.001, 0.1]}, beta: 0.2}
  dpo > idk_ap: {switch_at: {uniform: [0.2, 0.8]}, idk_ap.beta: 0.5}
  rmu: published"""
    spaces = {space.method: space.params for space in job_of(tmp_path, methods=text).spaces}
    assert list(spaces) == ["npo+irm+sam", "dpo>idk_ap", "rmu"]
    assert spaces["npo+irm+sam"]["sam_rho"] == LogUniform(low=0.001, high=0.1)
    assert spaces["npo+irm+sam"]["irm_weight"] == Fixed(1.0)
    assert spaces["dpo>idk_ap"]["idk_ap.beta"] == Fixed(0.5)
    assert spaces["dpo>idk_ap"]["beta"] == Fixed(0.1)


def test_one_composition_written_twice_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, methods="methods: {npo+sam+irm: {}, npo+irm+sam: {}}")
    assert [problem.message for problem in caught.value.problems] == ["named twice"]


def test_every_training_option_of_the_file_reaches_the_training(tmp_path: Path) -> None:
    """Oracle: the file's own values; each differs from its default, so an option lost on the way shows."""
    options: dict[str, Any] = {
        "epochs": 1.5,
        "global_batch_size": 12,
        "micro_batch_size": 3,
        "backend": "deepspeed",
        "zero_stage": 1,
        "offload": "optimizer",
        "workers": 2,
        "resources_per_worker": {"CPU": 0.5},
        "gradient_clip": 0.5,
        "warmup_share": 0.25,
        "weight_decay": 0.1,
        "betas": [0.8, 0.95],
        "adam_epsilon": 1e-6,
        "decay": "cosine",
        "activation_checkpointing": True,
        "checkpoint_every_s": 30.0,
        "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.1, "targets": "attention", "layers": "upper"},
        "lion": {"beta1": 0.8, "beta2": 0.98},
        "sophia": {"beta1": 0.9, "beta2": 0.95, "gamma": 0.01, "every": 5, "curvature": "gradient"},
        "sign_sgd": {"momentum": 0.5},
        "zeroth_order": {"perturbation": 0.01, "directions": 2},
        "optimizer": "sophia",
        "retain_rows": 9,
        "checkpoints": [0.5, 1.0],
        "logits": "chunks",
    }
    job = job_of(tmp_path, training=f"training: {json.dumps(options)}")
    training = training_requests.unlearn_job(job, "npo", {"learning_rate": 1e-4}, 0, "start", tmp_path / "out").training
    assert training.model_dump(mode="json", exclude={"max_steps"}) == options
    defaults = TrainingSettings().model_dump(mode="json", exclude={"max_steps"})
    assert [name for name in defaults if defaults[name] == options[name]] == []


def test_a_methods_own_epochs_replace_the_sweeps(tmp_path: Path) -> None:
    job = job_of(tmp_path, training="training: {epochs: 3}")
    own = training_requests.unlearn_job(job, "npo", {"learning_rate": 1e-4, "epochs": 7}, 0, "start", tmp_path / "out")
    assert own.training == job.training.model_copy(update={"epochs": 7.0})
    steps = job_of(tmp_path, training="training: {max_steps: 9}")
    counted = training_requests.unlearn_job(
        steps, "npo", {"learning_rate": 1e-4, "epochs": 7}, 0, "start", tmp_path / "out"
    )
    assert (counted.training.epochs, counted.training.max_steps) == (None, 9)


def test_a_grid_is_an_attack_for_each_combination_of_its_lists(tmp_path: Path) -> None:
    """Oracle: the attacks written one by one. `steps` takes a list itself, so it is no axis."""
    grid = "{relearn: {learning_rate: [2e-6, 2e-5], lora_rank: [0, 16], steps: [5, 20]}}"
    found = job_of(tmp_path, attacks=f"attacks: [{{grid: {grid}}}]").attacks
    written = ", ".join(
        f"{{relearn: {{learning_rate: {rate}, lora_rank: {rank}, steps: [5, 20]}}}}"
        for rate in ("2e-6", "2e-5")
        for rank in (0, 16)
    )
    single = job_of(tmp_path, attacks=f"attacks: [{written}]").attacks
    assert [attack.params for attack in found] == [attack.params for attack in single]
    assert [attack.label for attack in found] == [
        "relearn-learning_rate-2e-06-lora_rank-0",
        "relearn-learning_rate-2e-06-lora_rank-16",
        "relearn-learning_rate-2e-05-lora_rank-0",
        "relearn-learning_rate-2e-05-lora_rank-16",
    ]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("{relearn: {steps: [5, 20]}}", "no parameter has several values"),
        ("{relearn: {learning_rate: [2e-6, 7]}}", "out of range"),
        ("{relern: {learning_rate: [2e-6]}}", "unknown attack"),
        ("[relearn]", "not a grid"),
        ("{relearn: {learning_rate: [2e-6]}, prefill: {}}", "not a grid"),
        ("{relearn: }", "not a grid"),
    ],
)
def test_a_grid_that_cannot_be_one_is_refused(tmp_path: Path, grid: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        job_of(tmp_path, attacks=f"attacks: [{{grid: {grid}}}]")
    assert message in [problem.message for problem in caught.value.problems]
