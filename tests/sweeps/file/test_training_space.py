"""Searched settings of the training. Oracles: the spaces of the same file written out by hand, and stage keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogUniform, MethodSpace, Uniform, title_of
from unlearn_sweep.engine.stages.training_requests import unlearn_job, unlearn_stage
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.sweeps.file.json_schema import sweep_schema
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, parse_spec
from unlearn_sweep.sweeps.file.training import searchable
from unlearn_sweep.sweeps.file.yaml_lines import parse_document
from unlearn_sweep.sweeps.plan.optimizer_check import optimizer_obstacles
from unlearn_sweep.sweeps.plan.workload import trainings_in
from unlearn_sweep.sweeps.resolve import resolve

TEXT = """\
name: a
benchmark: {name: authors}
methods: {METHODS}
attacks: [{quantize: {bits: 4}}]
training: {TRAINING}
"""
SEARCHED = """{
  epochs: {choice: [1, 2]}, global_batch_size: {choice: [4, 8]}, optimizer: {choice: [adamw, lion]},
  lion: {beta1: {uniform: [0.8, 0.95]}}, weight_decay: {log: [0.001, 0.1]}, lora: {rank: {int: [4, 8]}}}"""


def spec_of(training: str, methods: str = "{npo: }", rest: str = "") -> SweepSpec:
    return parse_spec(TEXT.replace("{METHODS}", methods).replace("{TRAINING}", training) + rest)


def job_of(training: str, tmp_path: Path, methods: str = "{npo: }", rest: str = "") -> Any:
    return resolve(spec_of(training, methods, f"storage: {tmp_path}\n{rest}"))


def test_each_setting_is_a_dimension_of_every_method(tmp_path: Path) -> None:
    npo, rmu = spec_of(SEARCHED, "{npo: , rmu: {epochs: 3}}").spaces
    assert npo.searched() == {
        "epochs": Choice((1.0, 2.0)),
        "training.global_batch_size": Choice((4, 8)),
        "training.optimizer": Choice(("adamw", "lion")),
        "training.lion.beta1": Uniform(0.8, 0.95),
        "training.weight_decay": LogUniform(0.001, 0.1),
        "training.lora.rank": Integer(4, 8),
    }
    assert rmu.params["epochs"] == Fixed(3)  # the method's own
    assert rmu.searched().keys() == npo.searched().keys() - {"epochs"}
    job = job_of(SEARCHED, tmp_path)
    assert job.training.global_batch_size == 4
    assert job.spaces == [MethodSpace.from_json(space.to_json()) for space in job.spaces]
    Draft202012Validator(sweep_schema()).validate(
        parse_document(TEXT.replace("{METHODS}", "{npo: }").replace("{TRAINING}", SEARCHED), "a").data
    )


def test_a_setting_without_effect_makes_no_other_configuration(tmp_path: Path) -> None:
    (space,) = spec_of(SEARCHED).spaces
    drawn = {"training.optimizer": "adamw", "training.lion.beta1": 0.9}
    assert space.canonical(drawn) == {"training.optimizer": "adamw", "training.lion.beta1": 0.8}
    assert space.canonical(drawn | {"training.optimizer": "lion"})["training.lion.beta1"] == 0.9


def test_equal_settings_are_one_stage_whether_searched_or_fixed(tmp_path: Path) -> None:
    searched = job_of(SEARCHED, tmp_path)
    fixed = job_of("{epochs: 1, global_batch_size: 8, weight_decay: 0.01, lora: {rank: 4}}", tmp_path)
    (space,) = searched.spaces
    own = {name: value.value for name, value in fixed.spaces[0].params.items() if isinstance(value, Fixed)}
    drawn = {
        **own, "training.global_batch_size": 8, "training.optimizer": "adamw", "training.lion.beta1": 0.8,
        "training.weight_decay": 0.01, "training.lora.rank": 4,
    }  # fmt: skip
    assert space.params.keys() == drawn.keys()

    def key(job: Any, params: dict[str, Any]) -> str:
        return unlearn_stage(job, "npo", params, 0, "original", "data").key

    assert key(searched, drawn) == key(fixed, own)
    assert key(searched, drawn | {"training.lion.beta1": 0.9}) == key(fixed, own)
    for name, value in (("global_batch_size", 4), ("optimizer", "lion"), ("weight_decay", 0.02), ("lora.rank", 8)):
        assert key(searched, drawn | {f"training.{name}": value}) != key(fixed, own), name
    trained = unlearn_job(searched, "npo", drawn | {"training.optimizer": "lion"}, 0, "original", tmp_path / "out")
    assert (trained.training.optimizer, trained.training.global_batch_size, trained.training.epochs) == ("lion", 8, 1.0)
    assert trained.training.lora is not None
    assert not any(name.startswith("training") for name in trained.method.params)


@pytest.mark.parametrize(
    ("training", "path", "words"),
    [
        ("{global_batch_size: {choice: [4, x]}}", "training.global_batch_size.choice[1]", "wrong type"),
        ("{weight_decay: {lob: [1, 2]}}", "training.weight_decay.lob", "unknown kind of space"),
        ("{warmup_share: {uniform: [0, 1]}}", "training.warmup_share", "less than 1"),
        ("{workers: {choice: [0, 1]}}", "training.workers", "not searched"),
        ("{betas: {choice: [0.9, 0.99]}}", "training.betas", "not searched"),
        ("{sophia: {gamma: {log: [0.01, 1]}}}", "training.sophia.gamma", "not the optimizer"),
        ("{checkpoints: [0.5]}", "training.checkpoints", "not shares in rising order up to the end"),
        ("{checkpoints: [1.0, 0.5]}", "training.checkpoints", "not shares in rising order up to the end"),
        ("{checkpoints: each_epoch, max_steps: 3}", "training.checkpoints", "max_steps counts no epochs"),
        ("{checkpoints: {choice: [0.5, 1]}}", "training.checkpoints", "not searched"),
        ("{optimizer: {choice: [adamw, lyon]}}", "training.optimizer.choice[1]", "not a valid value"),
        ("{global_batch_size: {choice: [4, 6]}, workers: 4}", "training.global_batch_size", "shared by 4 workers"),
        (
            "{backend: deepspeed, workers: 1, optimizer: {choice: [adamw, zeroth_order]}}",
            "training.optimizer",
            "makes no gradients",
        ),
    ],
)
def test_a_mistake_is_found_where_it_is(training: str, path: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(training)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message


def test_a_method_that_an_optimizer_cannot_train_is_an_obstacle(tmp_path: Path) -> None:
    job = job_of(
        "{optimizer: {choice: [adamw, zeroth_order, sophia]}}", tmp_path, "{npo: , npo+sam: , npo+lat: , rmu: }"
    )
    found = list(optimizer_obstacles(job))
    assert [text.split()[1] for text in found] == ["npo+sam", "npo+lat", "rmu"]
    assert "curvature: gradient" in found[2]
    other = job_of("{optimizer: sophia}", tmp_path, "{rmu: {retain: nll}}")
    assert list(optimizer_obstacles(other)) == []


def test_every_setting_of_the_weights_is_searchable() -> None:
    """Only what changes rounding alone, and a pair of numbers, is not."""
    names = {name.split(".")[0] for name in searchable()}
    assert names == TrainingSettings.model_fields.keys() - {
        "workers", "resources_per_worker", "checkpoint_every_s", "offload", "backend", "zero_stage",
        "micro_batch_size", "activation_checkpointing", "betas", "checkpoints", "logits",
    }  # fmt: skip


def test_shares_are_a_dimension_and_trials_are_counted_with_them(tmp_path: Path) -> None:
    job = job_of("{checkpoints: [0.25, 0.5, 1.0], epochs: 4}", tmp_path)
    assert job.spaces[0].params["training.checkpoint"] == Choice((1.0, 0.5, 0.25))
    assert job.search.trials == 90
    assert trainings_in(job, job.spaces[0], 90) == 30
    each = job_of("{checkpoints: each_epoch, epochs: 4}", tmp_path)
    assert each.spaces[0].params["training.checkpoint"] == Uniform(1e-6, 1.0)
    assert trainings_in(each, each.spaces[0], 90) == 23
    assert job.training.identity() == each.training.identity()
    assert job.digest() != each.digest()
    for training, search, path in (
        ("[0.25, 0.5, 1.0]", "trials: 10", "search.trials"),
        ("each_epoch", "sampler: grid, grid_points: 2", "training.checkpoints"),
    ):
        with pytest.raises(SpecError) as caught:
            spec_of(f"{{checkpoints: {training}}}", rest=f"search: {{{search}}}")
        assert [problem.path for problem in caught.value.problems] == [path]


def test_a_share_is_a_stage_of_its_own_and_the_end_is_that_of_any_sweep(tmp_path: Path) -> None:
    """It depends on the schedule: another length gives other weights at the same share."""
    job, plain = job_of("{checkpoints: [0.5, 1.0]}", tmp_path), job_of("{}", tmp_path)
    own = {name: value.value for name, value in plain.spaces[0].params.items() if isinstance(value, Fixed)}

    def key(share: float | None, epochs: int = 5) -> str:
        params = {**own, "epochs": epochs, **({} if share is None else {"training.checkpoint": share})}
        return unlearn_stage(job, "npo", params, 0, "original", "data").key

    assert key(1.0) == key(None) == unlearn_stage(plain, "npo", own | {"epochs": 5}, 0, "original", "data").key
    assert len({key(0.5), key(0.25), key(1.0), key(0.5, 10)}) == 4
    assert (title_of(7, {"training.checkpoint": 0.5}), title_of(7, {})) == ("7 at 0.5", "7")


def test_requests_and_shares_exclude_each_other() -> None:
    with pytest.raises(SpecError) as caught:
        spec_of("{checkpoints: [0.5, 1.0]}", rest="requests: [1, 2]")
    paths = [problem.path for problem in caught.value.problems]
    assert "training.checkpoints" in paths
