"""Which metrics tell models apart. Oracles: values by hand; a real calibration of two models a pool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.driver.calibration import LENGTHS, POOLS, calibratable, compared, pool_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.calibration import PoolModel
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.sweeps.calibrate import chosen_metrics
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve
from unlearn_sweep.user_error import UserError

SMALL = (
    "model: {train: {epochs: 2, config: {num_hidden_layers: 1, hidden_size: 32, intermediate_size: 32, "
    "num_attention_heads: 2, num_key_value_heads: 2}}}"
)


def job(tmp_path: Path, **parts: str) -> SweepJob:
    return resolve(parse_spec(sweep_text(storage=f"storage: {tmp_path}", **parts), folder=tmp_path))


def test_members_differ_in_seed_and_length_and_gold_follows(tmp_path: Path) -> None:
    given = job(tmp_path, model=SMALL)
    recipe = load_benchmark("authors", {}).recipe
    assert recipe is not None
    members = [pool_job(given, number, recipe) for number in range(4)]
    for number, member in enumerate(members):
        for source in (member.original, member.gold):
            assert source.recipe is not None
            assert source.recipe["seed"] == recipe.seed + number
            assert source.recipe["epochs"] == 2 * LENGTHS[number % 3]
        assert member.attacks == []
        assert member.original.recipe is not None
        assert member.original.recipe["config"] == (given.original.recipe or {})["config"]


def test_models_that_are_given_have_no_pool(tmp_path: Path) -> None:
    given = job(tmp_path).model_copy(update={"original": job(tmp_path).original.model_copy(update={"path": "/m"})})
    with pytest.raises(UserError, match="no recipe trains it"):
        pool_job(given, 0, load_benchmark("authors", {}).recipe)


def test_metrics_are_chosen_by_what_the_rows_have(tmp_path: Path) -> None:
    given = job(tmp_path)
    chosen = chosen_metrics(given, [])
    assert {"probability", "rouge", "truth_ratio"} <= set(chosen)
    assert not {"choice_accuracy", "forget_quality", "judge_accuracy", "model_utility"} & set(chosen)
    assert chosen_metrics(given, ["rouge", "rouge"]) == ["rouge"]
    assert calibratable(["forget_quality", "probability", "privleak"]) == ["probability"]
    with pytest.raises(UserError, match="forget_quality: has no value for a single row"):
        chosen_metrics(given, ["forget_quality"])
    with pytest.raises(UserError, match="probabilty"):
        chosen_metrics(given, ["probabilty"])


def test_metrics_are_ranked_by_area_then_gap_and_those_without_values_come_last() -> None:
    """`rouge` overlaps in one of four pairs; `truth_ratio` lies further apart than `probability`."""
    values = {
        "knows": [(0.9, 0.9, 0.5), (0.8, 0.88, 0.9)],
        "never saw": [(0.2, 0.2, 0.6), (0.1, 0.22, 0.1)],
    }
    names = ("probability", "truth_ratio", "rouge")
    models = [
        PoolModel(pool=pool, seed=seed, epochs=1.0, values={**dict(zip(names, row, strict=True)), "rouge_f1": None})
        for pool in POOLS.values()
        for seed, row in enumerate(values[pool])
    ]
    found = compared(models, ["rouge_f1", "rouge", "probability", "truth_ratio"])
    assert [one.metric for one in found] == ["truth_ratio", "probability", "rouge", "rouge_f1"]
    assert [one.auc for one in found] == [1.0, 1.0, 0.75, None]
    assert found[0].knows == pytest.approx(0.89)
    assert found[3].reason is not None


@pytest.mark.slow
def test_a_real_calibration_is_resumed_from_its_stages(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep_text(storage=f"storage: {tmp_path / 'runs'}", model=SMALL), encoding="utf-8")
    command = ["calibrate", str(file), "--models", "2", "--metric", "probability", "--metric", "rouge"]
    runner = CliRunner()
    first = runner.invoke(app, [*command, "--json"])
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert sorted(model["pool"] for model in found["models"]) == ["knows"] * 2 + ["never saw"] * 2
    (one,) = [metric for metric in found["metrics"] if metric["metric"] == "probability"]
    assert one["knows"] > one["never_saw"]
    folder = tmp_path / "runs" / "small-calibration"
    assert json.loads((folder / "calibration.json").read_text()) == found
    stages = sorted((tmp_path / "runs/store/stages").iterdir())
    again = runner.invoke(app, [*command, "--json"])
    assert json.loads(again.stdout) == found
    assert sorted((tmp_path / "runs/store/stages").iterdir()) == stages
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "stage_reused" for event in events) >= 8
