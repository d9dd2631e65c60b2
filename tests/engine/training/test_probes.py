"""Probes of a training. Oracles: `evaluate_rows` on the same weights, and the training without probes, to the bit."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.training.test_backends import ROOT, furthest, run_on_ranks, weights
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.stopping.rows import PROBED_KINDS, probed_rows
from unlearn_sweep.engine.training.any_training import run_any_worker
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.evaluate import evaluate_rows

JobMaker = Callable[..., dict[str, Any]]
STEPS = 8
ROWS = 5
LORA = {"rank": 2, "alpha": 4.0, "dropout": 0.2, "targets": "all"}
PROBING: dict[str, Any] = {"rungs": [0.25, 0.5, 0.75], "rows": ROWS}
ZERO = [{"backend": "deepspeed", "zero_stage": stage} for stage in range(4)]
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("npo", {"retain": "kl"}, {}),
    ("npo", {}, {"lora": LORA}),  # its dropout draws random numbers
    ("npo", {}, {"dtype": "bfloat16", "logits": "chunks", "micro_batch_size": 2}),
    ("rmu", {"layer": 0.5}, {}),  # its own forward stops below the head
    ("npo+lat", {}, {}),
    ("npo+weight_avg+sam", {"average_start": 0.0}, {}),
    ("graddiff+cir", {"cir_inputs": 3, "cir_gradients": 2, "cir_refresh": 0.4}, {}),
    ("npo", {}, {"optimizer": "zeroth_order"}),
    *(("npo", {"retain": "kl"}, values) for values in ZERO),
    ("rmu", {"layer": 0.5}, ZERO[3]),
    ("npo+sam", {}, ZERO[3]),
    ("npo", {}, ZERO[3] | {"lora": LORA}),
]
BEATEN = {"rungs": [[0.0, 1.0]] * 3, "end": [0.0, 0.5, 0.0]}
"""A trial whose UT fell by half of the original's behind every rung, and whose UE did not rise."""


@pytest.fixture(scope="module")
def judged(benchmark: Benchmark) -> Benchmark:
    """The made-up rows, which are judged too."""
    return replace(benchmark, evaluation=benchmark.train, utility_splits=("retain",))


def facts(*, ended: int = 3, front: float = 0.99) -> dict[str, Any]:
    """By which every training stops at its first rung: what finished trials make of it is beaten."""
    return {
        "sure": 0.95,
        "learn_from": 3,
        "ended": [BEATEN] * ended,
        "front": [[front, front, front]],
        "attacked": True,
    }


def shown(outcome: dict[str, Any]) -> list[tuple[float, int, float, float]]:
    return [(probe["share"], probe["step"], probe["forget"], probe["retain"]) for probe in outcome["probes"]]


SLOW = (5, 6, 8, 9, 10, 12, 13, 14)
"""Places of the cases that the short suite leaves out."""


@pytest.mark.parametrize(
    ("method", "params", "values"),
    [
        pytest.param(*case, id=f"{case[0]} {case[2]}", marks=[pytest.mark.slow] if place in SLOW else [])
        for place, case in enumerate(CASES)
    ],
)
def test_probes_change_nothing(
    make_job: JobMaker, judged: Benchmark, method: str, params: dict[str, Any], values: dict[str, Any]
) -> None:
    """A training that is probed, and could stop, but is not beaten, is the training without probes to the bit."""
    plain = make_job(method, params, max_steps=STEPS, **values)
    probing = PROBING | {"facts": facts(front=0.0)}
    probed = make_job(method, params, max_steps=STEPS, probing=probing, **values)
    expected, found = run_any_worker(plain, benchmark=judged), run_any_worker(probed, benchmark=judged)
    assert furthest(weights(plain), weights(probed)) == 0.0
    names = ("steps", "tokens", "curve", "terms", "stopped_early", "conventions")
    assert {name: found[name] for name in names} == {name: expected[name] for name in names}
    assert expected["probes"] == []
    assert [probe["step"] for probe in found["probes"]] == [0, 2, 4, 6]
    assert len({probe["forget"] for probe in found["probes"]}) == 4


def measured(folder: str | Path, benchmark: Benchmark) -> list[float]:
    model, tokenizer = load_model(str(folder), dtype="float32", device="cpu"), load_tokenizer(str(folder))
    tables = [
        evaluate_rows(
            model, tokenizer, list(rows)[:ROWS], metrics=["probability"], template=benchmark.template, max_new_tokens=4
        ).table
        for rows in probed_rows(benchmark)
    ]
    return [float(table["probability"].to_numpy().mean()) for table in tables]


@pytest.mark.parametrize("values", [{}, {"lora": LORA}, {"micro_batch_size": 1}, ZERO[3]], ids=str)
def test_a_probe_is_the_evaluation_of_these_weights(
    make_job: JobMaker, judged: Benchmark, values: dict[str, Any]
) -> None:
    """Oracles: the weights that a training leaves which is stopped at a rung, and the start model."""
    probed = run_any_worker(make_job(max_steps=STEPS, probing=PROBING, **values), benchmark=judged)
    expected = [measured(make_job()["start_model"], judged)]
    for share in PROBING["rungs"]:
        job = make_job(max_steps=STEPS, stop_at=share, **values)
        run_worker(job, benchmark=judged)
        expected.append(measured(job["output_dir"], judged))
    found = [[forget, retain] for _, _, forget, retain in shown(probed)]
    assert found == [pytest.approx(pair, rel=1e-4) for pair in expected]


def test_probed_rows_are_those_of_the_search_half_that_have_a_probability(judged: Benchmark) -> None:
    assert METRICS["probability"].kinds == PROBED_KINDS
    choice = replace(judged.evaluation["retain"][0], row_id="choice", kind="choice", group_id="choice")
    mixed = replace(
        judged,
        evaluation={**judged.evaluation, "quiz": [choice], "retain": [choice, *judged.evaluation["retain"]]},
        utility_splits=("quiz", "retain"),
    )
    forget, utility = probed_rows(mixed)
    assert {row.split for row in forget} == {"forget"}
    assert {row.split for row in utility} == {"retain"}
    assert "choice" not in {row.row_id for row in utility}
    assert 0 < len(forget) < len(judged.evaluation["forget"])


@pytest.mark.parametrize("values", [{}, ZERO[2]], ids=str)
def test_a_beaten_training_ends_and_leaves_nothing(
    make_job: JobMaker, judged: Benchmark, tmp_path: Path, values: dict[str, Any]
) -> None:
    saved = {"checkpoint_dir": str(tmp_path / "partial"), "checkpoint_every_s": 0.0}
    shares = {"export_shares": [0.125, 0.5], "export_dir": str(tmp_path / "shares")}
    job = make_job(max_steps=STEPS, probing=PROBING | {"facts": facts()}, **saved, **shares, **values)
    outcome = run_any_worker(job, benchmark=judged)
    assert (outcome["stopped_early"], outcome["steps"], outcome["planned_steps"]) == ("beaten", 2, STEPS)
    assert "stopped after 25%" in outcome["stop_reason"]
    assert [probe["share"] for probe in outcome["probes"]] == [0.0, 0.25]
    assert outcome["weights_finite"] is None
    assert not Path(job["output_dir"]).exists()
    assert not list(tmp_path.glob("partial/*"))
    assert not list(tmp_path.glob("shares/*"))


@pytest.mark.parametrize(
    "probing",
    [
        PROBING | {"facts": facts(), "finish_anyway": True},
        PROBING | {"facts": facts(ended=2)},  # too few to learn from
        PROBING,
    ],
    ids=["anyway", "too few", "no facts"],
)
def test_what_runs_to_its_end(make_job: JobMaker, judged: Benchmark, probing: dict[str, Any]) -> None:
    outcome = run_any_worker(make_job(max_steps=STEPS, probing=probing), benchmark=judged)
    assert (outcome["stopped_early"], outcome["steps"], len(outcome["probes"])) == (None, STEPS, 4)


def test_a_training_of_few_steps_is_not_stopped_at_its_end(make_job: JobMaker, judged: Benchmark) -> None:
    """One step: all rungs lie behind it, and there is nothing left to save."""
    outcome = run_any_worker(make_job(max_steps=1, probing=PROBING | {"facts": facts()}), benchmark=judged)
    assert (outcome["stopped_early"], [step for _, step, _, _ in shown(outcome)]) == (None, [0, 1, 1, 1])


def test_a_model_without_finite_numbers_stops_nothing(make_job: JobMaker, judged: Benchmark) -> None:
    """It diverges, as it does without probes."""
    job = make_job("graddiff", max_steps=STEPS, probing=PROBING | {"facts": facts(ended=0)}, decay="constant")
    outcome = run_any_worker(job | {"learning_rate": 1e30}, benchmark=judged)
    assert outcome["stopped_early"] == "diverged"


KILLED = """
import json, os, pickle, signal, sys
from unlearn_sweep.engine.training import loop
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.probes import watcher_of
from unlearn_sweep.engine.training.worker import run_training
loop.PROGRESS_EVERY_S = 0.0
job, benchmark = pickle.load(open(sys.argv[1], "rb"))
kill = lambda progress: os.kill(os.getpid(), signal.SIGKILL) if progress.step == 4 else None
run_training(TrainJob.from_json(job), benchmark=benchmark, on_progress=kill, watch=watcher_of)
"""


def test_a_killed_training_decides_alike(make_job: JobMaker, judged: Benchmark, tmp_path: Path) -> None:
    """SIGKILL behind the first rung, whose probe is in the checkpoint. Oracle: the training that is left alone."""
    ended = {
        "rungs": [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]],
        "end": [1.0, 1.0, 1.0],
    }  # beaten at the second
    given = facts() | {"ended": [ended] * 3, "front": [[0.9, 1.0, 0.9]]}
    probing = PROBING | {"facts": given}
    saved = {"checkpoint_dir": str(tmp_path / "partial"), "checkpoint_every_s": 0.0}
    alone, broken = (make_job(max_steps=STEPS, probing=probing, **more) for more in ({}, saved))
    expected = run_any_worker(alone, benchmark=judged)
    (tmp_path / "given").write_bytes(pickle.dumps((broken, judged)))
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "given")], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "partial" / "step-3" / "facts.json").read_text())["history"]["probes"]
    outcome = run_any_worker(broken, benchmark=judged)
    assert outcome["resumed_at_step"] == 3
    assert shown(outcome) == shown(expected)
    assert [(one["stopped_early"], one["steps"]) for one in (outcome, expected)] == [("beaten", 4)] * 2


def test_a_checkpoint_without_probes_is_gone_on_from_without_them(
    make_job: JobMaker, judged: Benchmark, tmp_path: Path
) -> None:
    """Probes are no part of a checkpoint's identity: the training goes on, teaches nothing and is not stopped."""
    saved = {"checkpoint_dir": str(tmp_path / "partial"), "checkpoint_every_s": 0.0}
    plain = make_job(max_steps=STEPS, **saved)
    (tmp_path / "given").write_bytes(pickle.dumps((plain, judged)))
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "given")], env=environment, check=False)
    outcome = run_any_worker(plain | {"probing": PROBING | {"facts": facts()}}, benchmark=judged)
    assert (outcome["resumed_at_step"], outcome["probes"], outcome["stopped_early"]) == (3, [], None)
    whole = make_job(max_steps=STEPS)
    run_worker(whole, benchmark=judged)
    assert furthest(weights(whole), weights(plain)) == 0.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_ranks_see_and_decide_the_same(make_job: JobMaker, judged: Benchmark, tmp_path: Path) -> None:
    """Oracle: one process, but for the rounding of another order of sums."""
    kinds: dict[str, dict[str, Any]] = {"torch": {}, "ZeRO 2": ZERO[2], "ZeRO 3": ZERO[3]}
    alone = run_any_worker(make_job("npo", {"retain": "kl"}, max_steps=STEPS, probing=PROBING), benchmark=judged)
    jobs = {}
    for name, values in kinds.items():
        jobs[name] = make_job("npo", {"retain": "kl"}, max_steps=STEPS, probing=PROBING, **values)
        beaten = PROBING | {"facts": facts()}
        jobs[f"{name}, beaten"] = make_job("npo", {"retain": "kl"}, max_steps=STEPS, probing=beaten, **values)
    first, second = run_on_ranks(jobs, judged, tmp_path / "ranks")
    whole = make_job("npo", {"retain": "kl"}, max_steps=STEPS)
    run_worker(whole, benchmark=judged)
    for name in kinds:
        assert shown(first[name]) == shown(second[name])
        assert [pair[2:] for pair in shown(first[name])] == [pytest.approx(pair[2:], rel=1e-4) for pair in shown(alone)]
        assert furthest(weights(jobs[name]), weights(whole)) < 1e-6
        ends = [rank[f"{name}, beaten"] for rank in (first, second)]
        assert [(end["stopped_early"], end["steps"]) for end in ends] == [("beaten", 2)] * 2
        assert not Path(jobs[f"{name}, beaten"]["output_dir"]).exists()
