"""Which metrics tell models apart. Oracles: values by hand; a real calibration of two models a pool."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.driver.calibration import LENGTHS, POOLS, calibratable, compared, pool_job
from unlearn_sweep.engine.driver.unlearned_pool import pool_point
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import Fixed, LogUniform, MethodSpace
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.store.calibration import MetricChange, PoolModel
from unlearn_sweep.engine.zero import accelerator
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.sweeps.calibrate import chosen_metrics, robustness_attacks
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.resolve import resolve
from unlearn_sweep.user_error import UserError

SMALL = (
    "model: {train: {epochs: 2, config: {num_hidden_layers: 1, hidden_size: 32, intermediate_size: 32, "
    "num_attention_heads: 2, num_key_value_heads: 2}}}"
)


def stage_of(folder: Path) -> str:
    return str(json.loads((folder / "stage.json").read_text())["stage"])


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
        assert member.attacks == given.attacks
        assert not member.search.prune
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
    found = compared(models, ["rouge_f1", "rouge", "probability", "truth_ratio"], robust=False)
    assert [one.weight for one in found] == [1.0, 1.0, 0.5, None]
    assert [one.metric for one in found] == ["truth_ratio", "probability", "rouge", "rouge_f1"]
    assert [one.auc for one in found] == [1.0, 1.0, 0.75, None]
    assert found[0].knows == pytest.approx(0.89)
    assert found[3].reason is not None


def unlearned(
    number: int, *, forget: float, relearned: float, quantized: float, reason: str | None = None
) -> PoolModel:
    before = MetricChange(before=forget, after=relearned), MetricChange(before=forget, after=quantized)
    return PoolModel(
        pool="unlearned",
        seed=number,
        epochs=1.0,
        method="npo",
        values={"probability": forget},
        changes={name: {"probability": change} for name, change in zip(("relearn", "quantize"), before, strict=True)},
        reason=reason,
    )


def pools(*more: PoolModel, gold_after: float = 0.3) -> list[PoolModel]:
    """Two models that know (.9), two that never saw (.1) and rise to `gold_after` under relearning."""
    knows = [PoolModel(pool="knows", seed=seed, epochs=1.0, values={"probability": 0.9}) for seed in (0, 1)]
    change = {"relearn": {"probability": MetricChange(before=0.1, after=gold_after)}}
    never = [
        PoolModel(pool="never saw", seed=seed, epochs=1.0, values={"probability": 0.1}, changes=change)
        for seed in (0, 1)
    ]
    return [*knows, *never, *more]


def test_robustness_by_hand() -> None:
    """Gold rises by .2. One model rises by .4 and .1 (R .5 and 1), and from .2 to .4 and not at all (Q .5 and 1)."""
    models = pools(
        unlearned(0, forget=0.2, relearned=0.6, quantized=0.4), unlearned(1, forget=0.2, relearned=0.3, quantized=0.1)
    )
    (found,) = compared(models, ["probability"], robust=True)
    assert found.unlearned == 2
    assert (found.relearn, found.quantize) == (pytest.approx(0.75), pytest.approx(0.75))
    assert found.robustness == pytest.approx(0.75)
    assert found.robustness_low == pytest.approx(0.5)
    assert found.robustness_high == pytest.approx(1.0)
    assert found.weight == pytest.approx(2 * 0.75 / 1.75)


def test_models_that_did_not_forget_or_lost_their_utility_count_for_nothing() -> None:
    """.6 is nearer to .9 than to .1; what is left is one model, and a robustness takes two."""
    models = pools(
        unlearned(0, forget=0.6, relearned=0.9, quantized=0.9),
        unlearned(1, forget=0.2, relearned=0.3, quantized=0.2),
        unlearned(0, forget=0.0, relearned=0.9, quantized=0.9, reason="UT is 0.20, below 0.8 of the original's"),
    )
    (found,) = compared(models, ["probability"], robust=True)
    assert (found.unlearned, found.robustness, found.weight) == (1, None, None)
    assert found.robustness_reason == "1 of 2 useful unlearned models forgot by it, and it takes 2"


def test_relearning_that_teaches_gold_nothing_leaves_no_robustness() -> None:
    models = pools(
        unlearned(0, forget=0.2, relearned=0.6, quantized=0.2),
        unlearned(1, forget=0.2, relearned=0.6, quantized=0.2),
        gold_after=0.1,
    )
    (found,) = compared(models, ["probability"], robust=True)
    assert (found.relearn, found.quantize, found.robustness) == (0.0, 1.0, 0.0)


def test_attacks_are_those_of_the_file_or_the_defaults(tmp_path: Path) -> None:
    own = robustness_attacks(job(tmp_path, attacks="attacks: [{relearn: {steps: [3]}}, {prefill: {tokens: [1]}}]"))
    assert [attack.name for attack in own] == ["relearn", "quantize"]
    assert own[0].params["steps"] == [3]
    assert own[1].params["bits"] == 4


def test_the_middle_of_the_ranges_comes_first_and_each_later_setting_differs() -> None:
    space = MethodSpace(method="npo", params={"beta": LogUniform(0.01, 1.0), "retain": Fixed("nll")})
    found = [pool_point(space, index, 1) for index in range(4)]
    assert found[0] == {"beta": 0.1, "retain": "nll"}
    assert len({point["beta"] for point in found}) == 4
    assert all(0.01 <= float(point["beta"]) <= 1.0 for point in found)


@pytest.mark.parametrize(("present", "expected"), [(False, "cpu"), (True, None)])
def test_deepspeed_has_nothing_to_say_on_stdout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, present: bool, expected: str | None
) -> None:
    """Its import prints a warning to stdout, between the braces of `--json`, unless its accelerator is given.

    Where a GPU is, of whatever maker, nothing may be given: DeepSpeed would leave it idle.
    """
    (tmp_path / "gpu").touch()
    monkeypatch.setattr(accelerator, "GPU_DEVICES", [str(tmp_path / ("gpu" if present else "none"))])
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    InProcessExecutor()
    assert os.environ.get("DS_ACCELERATOR") == expected


@pytest.mark.slow
def test_a_real_calibration_is_resumed_from_its_stages(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(sweep_text(storage=f"storage: {tmp_path / 'runs'}", model=SMALL), encoding="utf-8")
    command = ["calibrate", str(file), "--models", "2", "--unlearned", "2"]
    command += ["--metric", "probability", "--metric", "rouge"]
    runner = CliRunner()
    first = runner.invoke(app, [*command, "--json"])
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    pools = sorted(model["pool"] for model in found["models"])
    assert pools == ["knows"] * 2 + ["never saw"] * 2 + ["unlearned"] * 2
    for model in found["models"]:
        if model["pool"] != "unlearned" or model["reason"] is None:
            assert set(model["changes"]) == {"relearn", "quantize"}
            assert set(model["changes"]["relearn"]) == {"probability", "rouge"}
    (gold, *_) = [model for model in found["models"] if model["pool"] == "never saw"]
    assert gold["changes"]["relearn"]["probability"]["after"] > gold["changes"]["relearn"]["probability"]["before"]
    assert list(found["attacks"]) == ["relearn", "quantize-4bit"]
    (one,) = [metric for metric in found["metrics"] if metric["metric"] == "probability"]
    assert one["knows"] > one["never_saw"]
    folder = tmp_path / "runs" / "small-calibration"
    kept = [path.name for path in (tmp_path / "runs/store/models").iterdir()]
    unlearned = [path for path in (tmp_path / "runs/store/stages").iterdir() if stage_of(path) == "unlearn"]
    assert len(unlearned) == 2
    assert not {path.name for path in unlearned} & set(kept)  # their weights are gone when they are measured
    assert json.loads((folder / "calibration.json").read_text()) == found
    stages = sorted((tmp_path / "runs/store/stages").iterdir())
    again = runner.invoke(app, [*command, "--json"])
    assert json.loads(again.stdout) == found
    assert sorted((tmp_path / "runs/store/stages").iterdir()) == stages
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "stage_reused" for event in events) >= 8
