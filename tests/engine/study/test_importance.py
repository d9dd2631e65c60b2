"""Importance of settings. Oracle: objectives that are known functions of the settings."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from tests.support.sweep_folder import trial, write_sweep
from unlearn_sweep.engine.search_space import Choice, Fixed, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.importance import LEAST_TRIALS, importances
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.method_parts import method_section

SPACE = MethodSpace(
    method="npo",
    params={
        "learning_rate": LogUniform(1e-5, 1e-2),
        "beta": Uniform(0.0, 1.0),
        "retain": Choice(("nll", "kl")),
        "epochs": Fixed(3),
    },
)


def trials(count: int, **changes: object) -> list[TrialRecord]:
    """UE rises with beta alone, UT is better with kl alone, Rob is 0.5 for all."""
    draw = random.Random(0)
    made = []
    for number in range(count):
        beta, retain = draw.random(), draw.choice(("nll", "kl"))
        params = {"learning_rate": 10 ** draw.uniform(-5, -2), "beta": beta, "retain": retain, "epochs": 3}
        ut = (0.8 if retain == "kl" else 0.3) + number * 1e-4
        made.append(trial(number, params=params, ue=beta, ut=ut, rob=0.5, **changes))
    return made


@pytest.mark.parametrize(("objective", "setting"), [("ue", "beta"), ("ut", "retain")])
def test_the_setting_that_makes_the_objective_has_most_of_it(objective: str, setting: str) -> None:
    found = {line.objective: line for line in importances(trials(60), [SPACE], ("ue", "ut", "rob"))}
    line = found[objective]  # pyright: ignore[reportArgumentType]
    assert (line.trials, line.reason) == (60, None)
    assert next(iter(line.shares)) == setting
    assert line.shares[setting] > 0.5
    assert sum(line.shares.values()) == pytest.approx(1)
    assert set(line.shares) == {"learning_rate", "beta", "retain"}


def test_it_is_the_best_trials_that_count() -> None:
    """Some trials fail by their learning rate, the others rise with beta, which alone makes the best."""
    made = [
        record.model_copy(update={"ue": record.params["beta"] if float(record.params["learning_rate"]) < 1e-3 else 0.0})
        for record in trials(90)
    ]
    (line,) = importances(made, [SPACE], ("ue",))
    assert line.shares["beta"] > line.shares["learning_rate"]


def test_what_cannot_be_said_has_a_reason() -> None:
    flat = importances(trials(LEAST_TRIALS), [SPACE], ("rob",))[0]
    assert (flat.shares, flat.reason) == ({}, "all trials have the same value")
    few = importances(trials(LEAST_TRIALS - 1), [SPACE], ("ue",))[0]
    assert few.reason == "19 trials with a value, fewer than 20"
    bounds = importances(trials(LEAST_TRIALS, rob_is_bound=True), [SPACE], ("rob",))[0]
    assert bounds.trials == 0


def test_only_searched_settings_of_the_methods_own_trials() -> None:
    alone = MethodSpace(method="npo", params={"beta": Uniform(0.0, 1.0), "epochs": Fixed(3)})
    (line,) = importances(trials(30), [alone], ("ue",))
    assert line.shares == {"beta": 1.0}
    nothing = MethodSpace(method="npo", params={"epochs": Fixed(3)})
    assert importances(trials(30), [nothing], ("ue",)) == []
    other = MethodSpace(method="graddiff", params=alone.params)
    assert importances(trials(30), [other], ("ue",))[0].trials == 0


def test_the_report_says_which_settings_mattered(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "demo", trials(60))
    lock = folder / "spec.lock.yaml"
    content = yaml.safe_load(lock.read_text()) if lock.exists() else {}
    content.setdefault("job", {})["spaces"] = [SPACE.to_json()]
    lock.write_text(yaml.safe_dump(content))
    report = load_report(folder)
    assert [line.objective for line in report.importance] == ["ue", "ut", "rob"]
    section = method_section(report)
    assert "Settings that mattered" in section
    assert "<td>npo</td><td>UE</td><td>60</td><td>beta 0." in section
    assert "all trials have the same value" in section
