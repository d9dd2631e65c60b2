"""Plans for machines with GPUs. Oracle: GPUs counted and bytes added up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.model_shape import Shape, shape_of
from unlearn_sweep.engine.training.memory_estimate import GIB, rows_that_fit
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.sweeps.file.spec import load_spec, parse_spec
from unlearn_sweep.sweeps.machine import Machine
from unlearn_sweep.sweeps.plan.cpu_memory import trial_gib
from unlearn_sweep.sweeps.plan.gpu_memory import stage_memory, too_large
from unlearn_sweep.sweeps.plan.plan import SweepPlan, make_plan
from unlearn_sweep.sweeps.resolve import resolve

BILLION = Shape(parameters=GIB, depth_times_width=32_768, vocabulary=131_072)
"""One GiB for each byte of a parameter."""


def machine(gpus: int, gpu_gib: float | None = None) -> Machine:
    return Machine(cpus=max(1, 8 * gpus), gpus=gpus, gpu_gib=gpu_gib, memory_gib=512.0, flash_attention=False)


def plan_of(tmp_path: Path, there: Machine, **parts: str) -> SweepPlan:
    return make_plan(parse_spec(sweep_text(**parts), folder=tmp_path, machine=there))


def job_of(tmp_path: Path, **parts: str) -> SweepJob:
    return resolve(parse_spec(sweep_text(**parts), folder=tmp_path, machine=machine(8)))


MANY = "search: {trials: 60}"


@pytest.mark.parametrize(
    ("gpus", "section", "at_once", "idle"),
    [
        (1, {}, 1, 0),
        (8, {}, 8, 0),
        (64, {}, 60, 4),
        (8, {"training": "training: {backend: deepspeed, zero_stage: 3, workers: 4, global_batch_size: 8}"}, 2, 0),
        (7, {"training": "training: {backend: deepspeed, zero_stage: 3, workers: 4, global_batch_size: 8}"}, 1, 3),
        (8, {"evaluation": "evaluation: {resources: {GPU: 0.25}}"}, 32, 0),
        (8, {"evaluation": "evaluation: {resources: {CPU: 1}}"}, 60, None),
    ],
)
def test_trials_at_once_and_idle_gpus(
    tmp_path: Path, gpus: int, section: dict[str, str], at_once: int, idle: int | None
) -> None:
    plan = plan_of(tmp_path, machine(gpus), search=MANY, **section)
    assert plan.at_once == at_once
    said = [note for note in plan.notes if "stay idle" in note]
    assert said == ([f"{idle} of {gpus} GPUs stay idle: trials at once are bound by {plan.bound_by}"] if idle else [])


def test_a_machine_that_is_planned_for_has_cpus_for_its_gpus(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(sweep_text())
    there = load_spec(tmp_path / "s.yaml", gpus=64, gpu_gib=80).machine
    assert there is not None
    assert (there.cpus, there.gpus, there.gpu_gib) == (512, 64, 80)
    few = load_spec(tmp_path / "s.yaml", gpus=64, cpus=4).machine
    assert few is not None
    assert few.cpus == 4


def test_bytes_of_a_parameter(tmp_path: Path) -> None:
    """Float32 weights under autocast 4 + 2, gradients 4, moments 8; retain by KL keeps the original, 2."""
    kl = "methods: {npo: {learning_rate: 1e-5, retain: kl}}"
    training, *_ = stage_memory(job_of(tmp_path, methods=kl, training="training: {global_batch_size: 4}"), BILLION, 64)
    assert (training.weights, training.gradients, training.optimizer, training.frozen) == (6, 4, 8, 2)
    tokens = 2 * 4 * 64  # forget and retain
    assert training.activations == pytest.approx(tokens * 32_768 * 34 / GIB)
    assert training.logits == pytest.approx(tokens * 131_072 * 12 / GIB)
    assert training.total == pytest.approx(20 + training.activations + training.logits + 1.5)
    chunks = job_of(tmp_path, methods=kl, training="training: {global_batch_size: 4, logits: chunks}")
    assert stage_memory(chunks, BILLION, 64)[0].logits == pytest.approx(2**25 * 12 / GIB)
    large = stage_memory(job_of(tmp_path, methods=kl, training="training: {global_batch_size: 32}"), BILLION, 64)
    assert large[0].logits == pytest.approx(2**25 * 12 / GIB)  # 2 * 32 * 64 tokens of 131,072 entries are over 2**27
    nll = "methods: {npo: {learning_rate: 1e-5, retain: nll}}"
    assert stage_memory(job_of(tmp_path, methods=nll), BILLION, 64)[0].frozen == 0


def test_zero_and_adapters_share_and_save(tmp_path: Path) -> None:
    text = "training: {{backend: deepspeed, zero_stage: {stage}, workers: 4, global_batch_size: 8}}"
    stages = [stage_memory(job_of(tmp_path, training=text.format(stage=stage)), BILLION, 64)[0] for stage in (1, 2, 3)]
    assert [memory.optimizer for memory in stages] == [3, 3, 3]
    assert [memory.gradients for memory in stages] == [6, 1.5, 1.5]
    assert [memory.weights for memory in stages] == [2, 2, 0.5]
    assert [memory.gathered for memory in stages[:2]] == [pytest.approx(2 * 4 * GIB / 20 / GIB)] * 2
    assert stages[2].gathered == pytest.approx((2 * 4 * GIB / 20 + 2 * (GIB / 10 + 50_000_000)) / GIB)
    adapters = stage_memory(job_of(tmp_path, training="training: {lora: {rank: 8}}"), BILLION, 64)[0]
    assert (adapters.weights, adapters.gradients, adapters.frozen) == (6, pytest.approx(0.04), 0)


def test_what_does_not_fit_is_refused_with_settings_that_do(tmp_path: Path) -> None:
    whole, adapters = "relearn: {steps: [5], learning_rate: 1e-5}", "finetune: {steps: [5], lora_rank: 8}"
    attacks = f"attacks: [{{{whole}}}, {{{adapters}}}]"
    job = job_of(tmp_path, attacks=attacks, training="training: {global_batch_size: 8}")
    large = Shape(parameters=8 * GIB, depth_times_width=131_072, vocabulary=128_256)
    training, attack = too_large(job, large, 80, 8)
    assert training.startswith("the training holds about ")
    assert "training: {lora: {rank: 8}, micro_batch_size: 1, activation_checkpointing: true}" in training
    assert "zero_stage: 3, workers: 4" in training
    two = "zero_stage: 3, workers: 2, micro_batch_size: 1, activation_checkpointing: true"
    assert f"{two}, offload: all}}" in training
    assert f"{two}}}" not in training  # (2 + 12 + 6) x 8 GiB / 2 is 80 already
    assert training.count("offload") == 1
    assert attack.startswith("attack:relearn trains all weights in one process")
    assert "lora_rank" in attack
    assert too_large(job, large, 400, 8) == []


def test_the_plan_names_the_gpus_memory_and_refuses(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 2, "hidden_size": 4, "vocab_size": 10}))
    assert shape_of(5, str(folder)) == Shape(parameters=5, depth_times_width=8, vocabulary=10)
    enough = plan_of(tmp_path, machine(1, 80))
    assert enough.gpu is not None
    assert not enough.obstacles
    small = plan_of(tmp_path, machine(1, 1))
    assert "holds about" in small.obstacles[0]
    assert plan_of(tmp_path, machine(0)).gpu is None


def test_a_usual_decoder_of_eight_billion(tmp_path: Path) -> None:
    """Llama 3.1 8B has 32 blocks of 4,096."""
    assert shape_of(8_030_000_000, "owner/some-8B").depth_times_width == pytest.approx(32 * 4096, rel=0.2)


def test_gpu_hours_cost_what_an_hour_costs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, machine(8), search=MANY)
    assert plan.gpu_hours
    assert plan.priced(2.5).dollars == pytest.approx(2.5 * plan.gpu_hours)
    assert plan.priced(None).dollars is None
    assert plan_of(tmp_path, machine(0)).priced(2.5).dollars is None


def test_offloading_leaves_what_computes_and_frozen_models_are_sharded(tmp_path: Path) -> None:
    text = "training: {{backend: deepspeed, zero_stage: 3, workers: 4, global_batch_size: 8{more}}}"
    kl = "methods: {npo: {learning_rate: 1e-5, retain: kl}}"
    places = ["", ", offload: optimizer", ", offload: all"]
    jobs = [job_of(tmp_path, methods=kl, training=text.format(more=more)) for more in places]
    found = [stage_memory(job, BILLION, 64)[0] for job in jobs]
    assert [memory.optimizer for memory in found] == [3, 0, 0]
    assert [memory.weights for memory in found] == [0.5, 0.5, 0]
    assert [memory.frozen for memory in found] == [0.5, 0.5, 0]


def test_gradients_kept_apart_are_parts_under_zero(tmp_path: Path) -> None:
    """Two of four bytes and one that the wrapper keeps; a quarter of each on four workers."""
    sam = "methods: {npo+sam: {learning_rate: 1e-5, retain: nll}}"
    whole = stage_memory(job_of(tmp_path, methods=sam), BILLION, 64)[0]
    zero = "training: {backend: deepspeed, zero_stage: 2, workers: 4, global_batch_size: 8}"
    parts = stage_memory(job_of(tmp_path, methods=sam, training=zero), BILLION, 64)[0]
    assert whole.gradients == 4 + 12
    assert parts.gradients == (6 + 12) / 4


def test_main_memory_is_shared_by_zeros_stages(tmp_path: Path) -> None:
    """Float32 on CPUs: 4 weights, 4 gradients, 12 optimizer for each parameter, over two workers; 8 for measuring."""
    text = "training: {{backend: deepspeed, zero_stage: {stage}, workers: 2}}"
    found = [trial_gib(job_of(tmp_path, training=text.format(stage=stage)), GIB) for stage in range(4)]
    assert found == pytest.approx([3.6 + 8 + 2 * held for held in (20, 14, 12, 10)])
    assert trial_gib(job_of(tmp_path), GIB) == pytest.approx(1.2 + 16)


def test_an_attack_that_trains_on_workers_takes_what_a_training_takes(tmp_path: Path) -> None:
    """Over four workers with ZeRO-3: 2 + 6 + 12 bytes a parameter, a quarter of each; in one process 6 + 4 + 8."""
    attacks = "attacks: [{relearn: {steps: [5]}}]"
    zero = "training: {backend: deepspeed, zero_stage: 3, workers: 4, global_batch_size: 8}"
    here = "evaluation: {attack_training: measuring}"
    parts = [{}, {"training": zero}, {"training": zero, "evaluation": here}]
    found = [stage_memory(job_of(tmp_path, attacks=attacks, **part), BILLION, 64)[1] for part in parts]
    assert [memory.stage for memory in found] == ["attack:relearn"] * 3
    assert [memory.weights + memory.gradients + memory.optimizer for memory in found] == [18, 5, 18]


FOUR = "evaluation: {resources: {CPU: 1, GPU: 4}}"


@pytest.mark.parametrize(
    ("evaluation", "gpu_gib", "processes", "each", "said"),
    [
        (FOUR, 80.0, 4, 1.0, "4 processes share the rows, each with the whole model on a GPU of its own"),
        (FOUR, None, 1, 4.0, "one process, the model spread over 4 GPUs"),
        (FOUR.replace("4}", "4}, workers: 2"), 80.0, 2, 2.0, "each with the whole model spread over 2 GPUs each"),
        (FOUR.replace("GPU: 4", "GPU: 0.25"), 80.0, 1, 0.25, "one process, the model on 0.25 GPU"),
        ("evaluation: {workers: 4}", 80.0, 4, 1.0, "4 processes share the rows"),
        ("evaluation: {resources: {CPU: 2}, workers: 2}", 80.0, 2, 0.0, "each with the whole model on CPUs"),
    ],
)
def test_the_plan_says_how_a_trial_measures(
    tmp_path: Path, evaluation: str, gpu_gib: float | None, processes: int, each: float, said: str
) -> None:
    plan = plan_of(tmp_path, machine(8, gpu_gib), search=MANY, evaluation=evaluation)
    assert plan.measuring is not None
    assert (plan.measuring.processes, plan.measuring.gpus_each) == (processes, each)
    assert said in plan.measuring.words()
    held = 0 if "CPU: 2" in evaluation else 0.25 if each < 1 else 4
    assert plan.per_trial.get("GPU", 0) == held


def test_measuring_takes_less_time_in_more_processes_and_not_where_a_model_is_spread(tmp_path: Path) -> None:
    def seconds(evaluation: str) -> float:
        plan = plan_of(tmp_path, machine(8, 80), evaluation=evaluation)
        (stage,) = [stage for stage in plan.stages if stage.name == "evaluate"]
        return (stage.seconds or 0.0) - 0.3 - 0.0

    alone, shared = seconds("evaluation: {workers: 1}"), seconds(FOUR)
    assert 0 < shared < alone
    assert seconds(FOUR.replace("4}", "4}, workers: 1")) == alone


def test_further_processes_hold_models_of_their_own(tmp_path: Path) -> None:
    one, two = job_of(tmp_path), job_of(tmp_path, evaluation="evaluation: {resources: {CPU: 2}, workers: 2}")
    assert two.measuring == {"CPU": 2.0}
    assert two.measuring_threads == 1
    more = (trial_gib(two, GIB) or 0) - (trial_gib(one, GIB) or 0)
    assert more == pytest.approx(1.2 + 8.0)


def test_rows_of_a_pass_are_halved_until_they_fit(tmp_path: Path) -> None:
    """By hand: 18 bytes a parameter, a reserve of 1.5 GiB; a row takes 64 tokens x (34 x 32,768 + 12 x 131,072) bytes,
    twice for two views: .3203 GiB."""
    settings = TrainingSettings(global_batch_size=8)
    row = 2 * 64 * (34 * 32_768 + 12 * 131_072) / GIB
    for room, expected in ((8.1, None), (7.9, 4), (3.9, 2), (1.9, 1), (0.5, 1)):
        found = rows_that_fit(settings, BILLION, 64, 18 + 1.5 + room * row, frozen=0)
        assert found == expected, room
    asked = {"training": "training: {global_batch_size: 8}"}
    nll = job_of(tmp_path, methods="methods: {npo: {learning_rate: 1e-5, retain: nll}}", **asked)
    fitting, whole = (stage_memory(nll, BILLION, 64, device)[0] for device in (18 + 1.5 + 2.1 * row, None))
    assert fitting.activations == pytest.approx(whole.activations / 4)
    published = "methods: {npo: {learning_rate: 1e-5, retain: nll, compat: open-unlearning}}"
    kept = stage_memory(job_of(tmp_path, methods=published, **asked), BILLION, 64, 20)[0]
    assert kept.activations == pytest.approx(whole.activations)
