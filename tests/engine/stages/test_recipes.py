"""What trains original and gold. Oracles: the recipes written out by hand, and what the training job is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.sweep_text import TWO_CPUS, sweep_text
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages import training_requests
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.engine.training.settings import LoraSettings
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve

OWN = TrainRecipe(config={"hidden_size": 8}, epochs=13.0, learning_rate=4e-3)
BASE = "model: {train: {base: org/model}}"


def job_of(folder: Path, **parts: str) -> SweepJob:
    return resolve(parse_spec(sweep_text(**parts), folder=folder, machine=TWO_CPUS))


def both(job: SweepJob, own: TrainRecipe | None = OWN) -> tuple[dict[str, object] | None, ...]:
    return tuple(recipe_of(job, which, own) for which in ("original", "gold"))


def test_gold_is_the_same_base_trained_the_same_way(tmp_path: Path) -> None:
    text = "model: {train: {base: org/model, epochs: 4, learning_rate: 5e-4, seed: 3}}"
    original, gold = both(job_of(tmp_path, model=text))
    assert gold == original
    assert gold is not None
    assert (gold["base"], gold["epochs"], gold["learning_rate"], gold["seed"]) == ("org/model", 4, 5e-4, 3)


def test_a_base_is_fine_tuned_as_papers_do_and_not_as_a_small_model_is_made(tmp_path: Path) -> None:
    original, _ = both(job_of(tmp_path, model=BASE))
    assert original == {
        "base": "org/model",
        "config": {},
        "vocab_size": 1024,
        "epochs": 5.0,
        "batch_size": 32,
        "learning_rate": 1e-5,
        "warmup_share": 0.2,
        "weight_decay": 0.01,
        "seed": 0,
    }
    assert original is not None
    adapted, _ = both(job_of(tmp_path, model=BASE, training="training: {lora: {rank: 4}}"))
    assert adapted == original | {"learning_rate": 2e-4}


def test_a_base_needs_no_recipe_of_the_benchmark(tmp_path: Path) -> None:
    assert both(job_of(tmp_path, model=BASE), None) == both(job_of(tmp_path, model=BASE))
    assert both(job_of(tmp_path), None) == (None, None)


@pytest.mark.parametrize(
    ("model", "gold", "expected"),
    [
        ("model: {train: {epochs: 3}}", "", {"epochs": 3, "base": None, "learning_rate": 4e-3}),
        (BASE, "gold: {train: {epochs: 2}}", {"base": "org/model", "epochs": 2, "learning_rate": 1e-5}),
        (BASE, "gold: {train: {base: org/other}}", {"base": "org/other", "epochs": 5.0}),
        (BASE, "gold: {train: {config: {hidden_size: 16}}}", {"base": None, "config": {"hidden_size": 16}}),
        ("model: {path: org/full}", "gold: {train: {base: org/model}}", {"base": "org/model", "epochs": 5.0}),
    ],
)
def test_what_the_file_says_of_the_original_holds_for_gold(
    tmp_path: Path, model: str, gold: str, expected: dict[str, object]
) -> None:
    found = recipe_of(job_of(tmp_path, model=model, gold=gold), "gold", OWN)
    assert found is not None
    assert {name: found[name] for name in expected} == expected


def test_what_the_file_says_of_training_reaches_original_and_gold(tmp_path: Path) -> None:
    training = (
        "training: {global_batch_size: 8, micro_batch_size: 2, gradient_clip: 0.5, activation_checkpointing: true, "
        "lora: {rank: 4}}"
    )
    job = job_of(tmp_path, model=BASE, training=training)
    for which in ("original", "gold"):
        recipe = recipe_of(job, which, OWN)
        assert recipe is not None
        told = training_requests.finetune_job(job, which, "/start", recipe, tmp_path / "out").training
        assert (told.micro_batch_size, told.gradient_clip, told.activation_checkpointing) == (2, 0.5, True)
        assert told.lora == LoraSettings(rank=4)
    from_nothing = recipe_of(job_of(tmp_path, training=training), "original", OWN)
    assert from_nothing is not None
    assert (
        training_requests.finetune_job(job, "original", "/start", from_nothing, tmp_path / "out").training.lora is None
    )


def test_what_changes_the_weights_changes_the_stage(tmp_path: Path) -> None:
    def key(training: str) -> str:
        job = job_of(tmp_path, model=BASE, training=f"training: {{global_batch_size: 8, {training}}}")
        recipe = recipe_of(job, "gold", OWN)
        assert recipe is not None
        return training_requests.finetune_stage(job, "gold", "start", recipe, "data").key

    plain = key("workers: 0")
    assert key("micro_batch_size: 2") == key("activation_checkpointing: true") == plain
    assert len({plain, key("gradient_clip: 0.5"), key("lora: {rank: 4}"), key("lora: {rank: 8}")}) == 4
