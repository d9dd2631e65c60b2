"""Oracles: counts and sums done by hand, transformers' own parameter count, and the real stage store."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.model_folders import write_model_folder, write_safetensors
from tests.support.outcomes import ANY_OUTCOME
from tests.sweeps.sweep_text import TWO_CPUS, sweep_text
from unlearn_sweep.engine.job import AttackSettings, ModelSource, SweepJob
from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogUniform, Uniform
from unlearn_sweep.engine.stages.attack_work import attack_work
from unlearn_sweep.engine.store.records import StageResult, TrialRecord, TrialState
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.plan.allocation import settled_trials, trials_per_method
from unlearn_sweep.sweeps.plan.estimates import Measured, Rate, evaluation_seconds, training_seconds
from unlearn_sweep.sweeps.plan.model_size import (
    llama_parameters,
    parameters_in_name,
    parameters_of,
    stored_parameters,
)
from unlearn_sweep.sweeps.plan.obstacles import obstacles_of
from unlearn_sweep.sweeps.plan.plan import SweepPlan, make_plan
from unlearn_sweep.sweeps.plan.stages import prepare_requests
from unlearn_sweep.sweeps.plan.view import duration, render, size
from unlearn_sweep.sweeps.plan.workload import Workload, finetune_tokens, typical, workload_of
from unlearn_sweep.sweeps.resolve import Overrides, resolve

TINY = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def plan_of(folder: Path, overrides: Overrides | None = None, **parts: str) -> SweepPlan:
    return make_plan(parse_spec(sweep_text(**parts), folder=folder, machine=TWO_CPUS), overrides)


def job_of(folder: Path, **parts: str) -> SweepJob:
    return resolve(parse_spec(sweep_text(**parts), folder=folder, machine=TWO_CPUS))


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_parameters_by_hand() -> None:
    """Embedding 10 x 8; a layer: q and o 2 x 64, k and v 2 x 32, MLP 3 x 128, norms 16; the last norm 8."""
    layer = 2 * 64 + 2 * 32 + 3 * 128 + 16
    assert llama_parameters(TINY, 10) == 80 + 2 * layer + 8
    assert llama_parameters({**TINY, "tie_word_embeddings": False}, 10) == 160 + 2 * layer + 8


def test_parameters_as_transformers_counts_them() -> None:
    from transformers import LlamaConfig

    from unlearn_sweep.engine.models.loading import parameter_count

    for config in (TINY, {**TINY, "tie_word_embeddings": False, "head_dim": 4}):
        assert llama_parameters(config, 50) == parameter_count(LlamaConfig(**config, vocab_size=50))


def test_parameters_of_a_folder(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model-1.safetensors", {"a": [3, 4], "b": [5]})
    write_safetensors(tmp_path / "model-2.safetensors", {"c": [2]})
    assert stored_parameters(tmp_path) == 19
    assert parameters_of(ModelSource(path=str(tmp_path)), None) == 19
    (tmp_path / "model-3.safetensors").write_bytes(b"\xff" * 16)
    assert stored_parameters(tmp_path) is None
    assert stored_parameters(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("open-unlearning/tofu_Llama-3.2-1B-Instruct_full", 1e9),
        ("x/phi-1_5", None),
        ("o/gpt-125M", 125e6),
        ("7b/model", None),
    ],
)
def test_parameters_in_a_name(name: str, count: float | None) -> None:
    assert parameters_in_name(name) == count


def test_parameters_of_a_recipe() -> None:
    recipe = TrainRecipe(config=TINY, vocab_size=10)
    assert parameters_of(ModelSource(), recipe) == llama_parameters(TINY, 10)
    assert parameters_of(ModelSource(recipe={"vocab_size": 20}), recipe) == llama_parameters(TINY, 20)
    assert parameters_of(ModelSource(recipe={"base": "o/x-2B"}), recipe) == 2e9
    assert parameters_of(ModelSource(), None) is None


def test_a_busy_machine_is_said(tmp_path: Path) -> None:
    """Processes that want to run, held against half of the CPUs; no load is known of a machine that is only named."""
    for load, said in ((None, False), (0.9, False), (1.0, True), (30.0, True)):
        spec = parse_spec(sweep_text(), folder=tmp_path, machine=replace(TWO_CPUS, load=load))
        assert any("other work runs" in note for note in make_plan(spec).notes) is said


# --- work -------------------------------------------------------------------------------------------------------------

WORK = Workload(
    forget_rows=100,
    retain_rows=300,
    tokens_per_row=20.0,
    evaluation_rows=50,
    prompt_tokens=10.0,
    answer_tokens=5.0,
    answers_per_row=3.0,
    new_tokens=0,
)


def test_seconds_by_hand() -> None:
    """Training: 6 x 1000 x 2000 / 1e6 + 10 x 0.5. Evaluation: 2 x 1000 x 50 x (10 + 3 x 5) / 1e6 + 1 batch; writing
    is a batch more, of 10 steps.
    """
    rate = Rate(flops=1e6, step_s=0.5)
    assert training_seconds(1000, 2000, 10, rate) == pytest.approx(12 + 5)
    assert evaluation_seconds(1000, WORK, rate) == pytest.approx(2.5 + 0.5)
    writing = replace(WORK, new_tokens=10)
    assert evaluation_seconds(1000, writing, rate) == pytest.approx(2 * 1000 * 50 * (25 + 20) / 1e6 + (1 + 10) * 0.5)


def test_training_a_model_by_hand() -> None:
    recipe = {"epochs": 2.0, "batch_size": 32}
    assert finetune_tokens(recipe, 100, WORK) == (2 * 4, 2 * 100 * 20)
    assert finetune_tokens({"epochs": 1.0, "batch_size": 50}, 100, WORK) == (2, 2000)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("relearn", {"steps": [5, 20], "batch_size": 8}, (20, 160, 0, 2)),
        ("relearn", {"steps": 7, "batch_size": 4}, (7, 28, 0, 1)),
        ("soft_prompt", {"iterations": [10, 30], "batch_size": 2}, (30, 60, 0, 2)),
        ("quantize", {"bits": [8, 4]}, (0, 0, 0, 2)),
        ("prefill", {"text": "Sure"}, (0, 0, 0, 1)),
        ("prune", {"forget_percent": [1.0, 2.5], "samples": 8}, (0, 0, 16, 2)),
        ("gcg", {"steps": [10], "search_width": 100, "prompts": 5}, (10, 50, 5000, 1)),
        ("enhanced_gcg", {"steps": [10], "search_width": 100, "prompts": 5}, (10, 100, 10000, 1)),
        (
            "chain",
            {"steps": [{"relearn": {"steps": 3, "batch_size": 2}}, {"relearn": {"steps": [5, 20], "batch_size": 4}}]},
            (23, 86, 0, 2),
        ),
    ],
)
def test_work_of_an_attack(name: str, params: dict[str, Any], expected: tuple[int, int, int, int]) -> None:
    work = attack_work(AttackSettings(label=name, name=name, family="x", params=params))
    assert (work.steps, work.trained_rows, work.read_rows, work.states) == expected


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "chain"])
def test_every_attack_of_the_catalog_can_be_planned(name: str, tmp_path: Path) -> None:
    thinking = write_model_folder(tmp_path / "m") / "chat_template.jinja"
    thinking.write_text("{{ enable_thinking }}", encoding="utf-8")
    given = "model: {path: m}\ngold: {path: m}" if name == "think" else ""
    plan = plan_of(tmp_path, attacks=f"attacks: [{name}]", model=given)
    stage = next(stage for stage in plan.stages if stage.name.startswith("attack:"))
    assert stage.seconds is not None
    assert stage.seconds > 0
    assert stage.states >= 1


def test_the_plan_counts_every_answer_that_is_drawn(tmp_path: Path) -> None:
    """Rows times draws in batches of 256: a step of 10 ms for each token at least, and twice the draws cost twice."""
    benchmark = load_benchmark("authors", {})
    rows, tokens = len(benchmark.evaluation["forget"]), benchmark.max_new_tokens
    drawn = ", ".join(f"{{sample: {{answers: 1, drawn: {count}}}}}" for count in (1, 65, 129))
    plan = plan_of(tmp_path, attacks=f"attacks: [{drawn}]")
    one, many, most = (stage.seconds or 0.0 for stage in plan.stages if stage.name.startswith("attack:"))
    assert many - one > (math.ceil(rows * 65 / 256) - 1) * tokens * 0.01 > 0
    assert most - one == pytest.approx(2 * (many - one), rel=0.05)


def test_typical_values() -> None:
    """The mean of a log-uniform between a and b is (b - a) / ln(b / a)."""
    assert typical(Fixed(3)) == 3
    assert typical(Uniform(1.0, 4.0)) == 2.5
    assert typical(Integer(1, 4)) == 2.5
    assert typical(Choice((1, 2, 6))) == 3
    assert typical(LogUniform(1.0, math.e)) == pytest.approx(math.e - 1)


def test_workload_counts_the_benchmarks_rows() -> None:
    benchmark = load_benchmark("authors", {})
    work = workload_of(benchmark, ["probability"])
    assert work.forget_rows == len(benchmark.train["forget"])
    assert work.evaluation_rows == sum(len(rows) for rows in benchmark.evaluation.values())
    assert (work.answers_per_row, work.new_tokens) == (1.0, 0)
    more = workload_of(benchmark, ["truth_ratio", "rouge"])
    rows = [row for rows in benchmark.evaluation.values() for row in rows]
    others = sum(len(row.perturbed_answers) + (row.paraphrased_answer is not None) for row in rows)
    assert more.answers_per_row == 1 + others / len(rows)
    assert more.new_tokens == benchmark.max_new_tokens


# --- shares -----------------------------------------------------------------------------------------------------------

THREE = "methods: {npo: {beta: {log: [0.1, 1]}}, graddiff: published, simnpo: published}"


@pytest.mark.parametrize(
    ("search", "methods", "shares"),
    [
        ("search: {trials: 12}", THREE, [4, 4, 4]),
        ("search: {trials: 11}", THREE, [4, 4, 3]),
        ("search: {trials: 3, allocation: free}", THREE, [1, 1, 1]),
        (
            "search: {sampler: grid, grid_points: 3}",
            "methods: {npo: {beta: {log: [1, 2]}, retain: {choice: [nll, kl]}}, me: {}, wga: {epochs: {int: [1, 2]}}}",
            [6, 1, 2],
        ),
        (
            "search: {sampler: grid, grid_points: 3, trials: 4}",
            "methods: {npo: {beta: {log: [0.1, 1]}}, graddiff: {}}",
            [3, 1],
        ),
    ],
)
def test_trials_per_method(tmp_path: Path, search: str, methods: str, shares: list[int]) -> None:
    assert list(trials_per_method(job_of(tmp_path, search=search, methods=methods)).values()) == shares


def test_the_grid_is_as_large_as_the_brokers(tmp_path: Path) -> None:
    from unlearn_sweep.engine.study.sampling import grid_points

    methods = (
        "methods: {npo: {beta: {log: [0.1, 1]}, epochs: {int: [1, 9]}, retain: {choice: [nll, kl]}}, graddiff: {}}"
    )
    job = job_of(tmp_path, methods=methods, search="search: {sampler: grid, grid_points: 3}")
    assert job.search.trials == len(grid_points(job.spaces, 3)) == 3 * 3 * 2 + 1


def settle(folder: Path, number: int, method: str, state: TrialState) -> None:
    record = TrialRecord(
        number=number,
        key="k",
        method=method,
        params={},
        seed=0,
        state=state,
        started=0,
        finished=1,
    )
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    (folder / "trials" / f"{number}.json").write_text(record.model_dump_json())


def test_settled_trials_do_not_count_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "small"
    settle(folder, 0, "npo", "complete")
    settle(folder, 1, "npo", "failed")
    settle(folder, 2, "graddiff", "duplicate")
    (folder / "trials" / "3.json").write_text("{torn")
    assert settled_trials(folder) == {"npo": 2}
    plan = plan_of(tmp_path)
    assert (plan.trials, plan.settled, plan.left) == (4, 2, 2)
    assert plan.search_seconds is not None
    fresh = plan_of(tmp_path / "elsewhere")
    assert fresh.search_seconds is not None
    assert plan.search_seconds < fresh.search_seconds


# --- measured times and cached stages ---------------------------------------------------------------------------------


def record_stage(storage: Path, name: str, stage: str, inputs: dict[str, Any], seconds: float) -> None:
    result = StageResult(stage=stage, key=name, inputs=inputs, seconds=seconds, finished=1.0, host="h")
    folder = storage / "store" / "stages" / name
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(result.model_dump_json())


def test_medians_of_what_fits(tmp_path: Path) -> None:
    for index, (data, seconds) in enumerate([("d", 1.0), ("d", 9.0), ("d", 2.0), ("other", 100.0)]):
        record_stage(tmp_path, f"s{index}", "evaluate", {"data": data}, seconds)
    (tmp_path / "store" / "stages" / "broken").mkdir()
    (tmp_path / "store" / "stages" / "broken" / "stage.json").write_text("{")
    measured = Measured(tmp_path)
    assert measured.median_s("evaluate", lambda inputs: inputs["data"] == "d") == (2.0, 3)
    assert measured.median_s("unlearn", lambda inputs: True) is None
    assert Measured(tmp_path / "none").results == []


def test_measured_times_take_the_place_of_modelled_ones(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    data = load_benchmark("authors", job.benchmark.params).digest()
    training = job.training.identity()
    record_stage(job.storage, "a", "unlearn", {"data": data, "method": "npo", "training": training}, 2.0)
    record_stage(job.storage, "b", "unlearn", {"data": data, "method": "npo", "training": {}}, 500.0)
    record_stage(job.storage, "c", "attack:relearn", {"data": data, "params": job.attacks[0].params}, 3.0)
    stages = {(stage.name, stage.method): stage for stage in plan_of(tmp_path).stages}
    assert (stages["unlearn", "npo"].seconds, stages["unlearn", "npo"].source) == (2.0, "median of 1 measured")
    assert stages["attack:relearn", None].seconds == 3.0
    assert stages["unlearn", "graddiff"].source == "modelled"


def finish(store: StageStore, request: StageRequest[Any]) -> None:
    store.compute(request, lambda folder: ANY_OUTCOME[request.outcome])
    if request.weights:
        store.model_folder(request.key).mkdir(parents=True)


def test_models_in_the_store_are_known(tmp_path: Path) -> None:
    """The keys are the engine's own: a stage finished under one of them is found."""
    job = job_of(tmp_path)
    benchmark = load_benchmark("authors", job.benchmark.params)
    before = plan_of(tmp_path)
    assert [stage.cached for stage in before.stages if stage.per == "sweep"] == [False] * 5
    requests = prepare_requests(job, benchmark, benchmark.digest())
    for name in ("prepare:start", "prepare:original"):
        finish(StageStore(job.storage), requests[name])
    after = plan_of(tmp_path)
    assert {stage.name: stage.cached for stage in after.stages if stage.name.startswith("prepare")} == {
        "prepare:start": True,
        "prepare:original": True,
        "prepare:gold": False,
    }
    assert after.prepare_seconds is not None
    assert before.prepare_seconds is not None
    assert after.prepare_seconds < before.prepare_seconds


def test_given_models_are_known_when_they_are_read(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, model="model: {path: org/model-1B}", gold="gold: {path: org/gold-1B}")
    assert [stage.name for stage in plan.stages if stage.per == "sweep"] == [
        "control evaluate",
        "control attack:relearn",
    ]
    assert all(stage.cached is None for stage in plan.stages if stage.per == "sweep")
    assert plan.parameters == 10**9


# --- the whole --------------------------------------------------------------------------------------------------------


def test_stages_and_sums(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, attacks="attacks: [prefill, relearn]")
    names = [(stage.name, stage.per, stage.count) for stage in plan.stages]
    assert names == [
        ("prepare:start", "sweep", 1),
        ("prepare:original", "sweep", 1),
        ("prepare:gold", "sweep", 1),
        ("control evaluate", "sweep", 2),
        ("control attack:prefill", "sweep", 2),
        ("control attack:relearn", "sweep", 2),
        ("unlearn", "trial", 2),
        ("unlearn", "trial", 2),
        ("evaluate", "trial", 4),
        ("attack:prefill", "trial", 4),
        ("attack:relearn", "trial", 4),
    ]
    seconds = {(stage.name, stage.method): stage.seconds or 0.0 for stage in plan.stages}
    common = seconds["evaluate", None] + seconds["attack:prefill", None] + seconds["attack:relearn", None]
    npo, graddiff = (method.trial_seconds for method in plan.methods)
    assert npo == pytest.approx(seconds["unlearn", "npo"] + common)
    assert plan.at_once == 2
    assert plan.search_seconds == pytest.approx((2 * (npo or 0) + 2 * (graddiff or 0)) / 2)
    assert plan.obstacles == ()
    assert plan.disk_bytes is not None
    assert plan.parameters is not None
    # start, original, gold, four trials and two in flight at 4 bytes a weight, and tables besides
    assert 9 * 4 * plan.parameters < plan.disk_bytes < 2 * 9 * 4 * plan.parameters


def test_workers_cost_their_start(tmp_path: Path) -> None:
    plain = plan_of(tmp_path, training="training: {epochs: 1}")
    workers = plan_of(tmp_path, training="training: {epochs: 1, workers: 2, backend: deepspeed}")
    assert workers.at_once == 1
    unlearn = [
        next(stage.seconds or 0 for stage in plan.stages if stage.name == "unlearn") for plan in (plain, workers)
    ]
    assert unlearn[1] > 20 > unlearn[0]
    assert any("training workers" in note for note in workers.notes)


def test_refusals_are_trained_on_questions_only(tmp_path: Path) -> None:
    """Running text has no question: dpo would learn to refuse behind a bare begin token."""
    methods = "methods: {dpo: {}, idk: {}, idk_ap: {}, npo: {retain: ap}, rmu: {}, npo+sam: {}}"
    job = job_of(tmp_path, methods=methods, search="search: {trials: 6}")
    benchmark = load_benchmark("authors", job.benchmark.params)
    assert not [text for text in obstacles_of(job, benchmark) if "refusals" in text]
    text = {view: [replace(row, question="") for row in rows[:3]] for view, rows in benchmark.train.items()}
    found = [text for text in obstacles_of(job, replace(benchmark, train=text)) if "refusals" in text]
    assert [(sentence.split()[1], sentence.split()[5]) for sentence in found] == [
        ("dpo", "forget"), ("idk", "forget"), ("idk_ap", "forget"), ("idk_ap", "retain"), ("npo", "retain"),
    ]  # fmt: skip
    assert "3 of 3 forget rows" in found[0]


def test_what_cannot_run_is_said(tmp_path: Path) -> None:
    job = job_of(tmp_path, methods="methods: {altpo: {}, npo: {}}", attacks="attacks: [{relearn: {data: retian}}]")
    benchmark = load_benchmark("authors", job.benchmark.params)
    bare = [replace(row, perturbed_answers=()) for row in benchmark.train["forget"]]
    without = replace(benchmark, recipe=None, train={"forget": bare})
    found = "\n".join(obstacles_of(job, without))
    assert "no training recipe: give model.path" in found
    assert "method altpo needs alternate answers" in found
    assert "method npo reads view retain" in found
    assert "attack relearn trains on view retian" in found
    assert "nearest: retain" in "\n".join(obstacles_of(job, benchmark))


def test_facts_too_few_for_an_attack_are_said(tmp_path: Path) -> None:
    """Two facts: one in each half, so that any that an attacker sees takes a half with it. Prefilling sees none."""
    attacks = "attacks: [prefill, relearn, {few_shot: {shots: [5]}}, {gcg: {prompts: 3}}]"
    job = job_of(tmp_path, attacks=attacks)
    benchmark = load_benchmark("authors", job.benchmark.params)
    facts = sorted({row.group_id for row in benchmark.train["forget"]})
    few = {count: "\n".join(obstacles_of(job, only(benchmark, facts[:count]))) for count in (2, 4, 12)}
    for name in ("relearn", "few_shot", "gcg"):
        assert f"attack {name}: authors: 2 forget facts (2 trained, 2 judged) are too few" in few[2]
    assert "attack few_shot needs 6 different forget facts" in few[4]
    assert "half of those of authors are 2" in few[4]
    assert "attack gcg needs 3 different" in few[4]
    assert "relearn" not in few[4]
    assert few[12] == ""
    assert "prefill" not in "".join(few.values())


def only(benchmark: Benchmark, facts: list[str]) -> Benchmark:
    """The same with these forget facts and no others."""
    kept = {
        name: {**views, "forget": [row for row in views["forget"] if row.group_id in facts]}
        for name, views in (("train", benchmark.train), ("evaluation", benchmark.evaluation))
    }
    return replace(benchmark, **kept)


def test_irm_over_another_task_is_looked_for(tmp_path: Path) -> None:
    def found(view: str) -> list[str]:
        job = job_of(tmp_path, methods=f"methods: {{npo+irm: {{irm_view: '{view}'}}}}")
        return [text for text in obstacles_of(job, load_benchmark("authors", job.benchmark.params)) if "irm" in text]

    (tmp_path / "task.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    assert found("task:gsm8k") == found(f"task:{tmp_path}/task.jsonl") == []
    assert found("task:gsm9k") == [
        "method npo+irm: irm_view task:gsm9k is none of task:gsm8k, task:sst2, task:mnli and no file"
    ]
    assert found("task:nowhere.jsonl") == [
        "method npo+irm: irm_view task:nowhere.jsonl is not a file; give its absolute path"
    ]


def test_a_benchmark_that_cannot_be_loaded_is_an_obstacle(tmp_path: Path) -> None:
    (tmp_path / "tofu").mkdir()
    plan = plan_of(tmp_path, benchmark="benchmark: {name: tofu, path: ./tofu}")
    assert len(plan.obstacles) == 1
    assert "tofu" in plan.obstacles[0]
    assert plan.total_seconds is None


def test_memory_and_notes(tmp_path: Path) -> None:
    """16 bytes a parameter: 7e9 of them need more than 100 GiB in main memory."""
    plan = plan_of(
        tmp_path, model="model: {path: org/model-7B}", gold="gold: {path: org/gold-7B}", methods="methods: {npo: {}}"
    )
    assert any("GiB of memory" in obstacle for obstacle in plan.obstacles)
    assert any("npo has only 1 setting for 4 trials" in note for note in plan.notes)
    unknown = plan_of(tmp_path, model="model: {path: org/model}", gold="gold: {path: org/gold}")
    assert unknown.total_seconds is None
    assert any("size of the model" in note for note in unknown.notes)


def test_it_prints_and_is_json(tmp_path: Path) -> None:
    unknown = plan_of(tmp_path, model="model: {path: org/m}", gold="gold: {path: org/g}")
    for plan in (plan_of(tmp_path), unknown):
        assert json.loads(json.dumps(plan.as_json(), allow_nan=False))["trials"] == 4
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(render(plan))
        assert "small: 4 trials" in console.export_text()


@pytest.mark.parametrize("text", [sweep_text(), Path("sweeps/quickstart.yaml").read_text(encoding="utf-8")])
def test_neither_torch_nor_ray_is_imported(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    code = (
        "import sys\nfrom pathlib import Path\nfrom unlearn_sweep.sweeps.plan.plan import make_plan\n"
        "from unlearn_sweep.sweeps.file.spec import load_spec\n"
        "make_plan(load_spec(Path('x.yaml')))\n"
        "print([name for name in ('torch', 'ray', 'transformers', 'optuna') if name in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.join(os.getcwd(), "src")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "unknown"), (0.44, "0.4 s"), (12, "12 s"), (180, "3 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert [size(count) for count in (512, 2048, 3 * 2**20, 2**40)] == ["512 B", "2 KiB", "3 MiB", "1.0 TiB"]
