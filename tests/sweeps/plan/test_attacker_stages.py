"""A searched attacker is one attack in plans and checks. Oracle: the plan of its settings, added up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.sweeps.sweep_text import TWO_CPUS, sweep_text
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.plan.attacker_stages import by_attacker
from unlearn_sweep.sweeps.plan.plan import make_plan
from unlearn_sweep.sweeps.plan.stages import StagePlan

SEARCH = "attacks: [{relearn: {steps: [5], search: {trials: 3, learning_rate: {log: [1e-5, 1e-3]}}}}, quantize]"


def test_settings_are_one_stage_with_the_seconds_of_all() -> None:
    stages = [
        StagePlan(name="unlearn", per="trial", count=2, seconds=9.0, source="modelled", method="npo"),
        StagePlan(name="unlearn", per="trial", count=2, seconds=8.0, source="modelled", method="rmu"),
        StagePlan(name="attack:a-01", per="trial", count=4, seconds=1.0, source="modelled", states=2, cached=True),
        StagePlan(name="attack:b", per="trial", count=4, seconds=5.0, source="modelled"),
        StagePlan(name="attack:a-02", per="trial", count=4, seconds=2.0, source="median of 3 measured", states=1),
        StagePlan(name="control attack:a-01", per="sweep", count=2, seconds=None, source="unknown"),
        StagePlan(name="control attack:a-02", per="sweep", count=2, seconds=2.0, source="modelled", cached=None),
    ]
    found = by_attacker(stages, {"a-01": "a", "a-02": "a"})
    assert [(one.name, one.settings, one.count, one.seconds, one.states, one.cached) for one in found] == [
        ("unlearn", 1, 2, 9.0, 1, False), ("unlearn", 1, 2, 8.0, 1, False), ("attack:a", 2, 4, 3.0, 3, False),
        ("attack:b", 1, 4, 5.0, 1, False), ("control attack:a", 2, 2, None, 2, None),
    ]  # fmt: skip
    assert found[2].source == "modelled; median of 3 measured"


def test_the_plan_lists_an_attacker_once(tmp_path: Path) -> None:
    """Its time and disk are those of all settings, as if each were an attack of its own."""
    plan = make_plan(parse_spec(sweep_text(attacks=SEARCH), folder=tmp_path, machine=TWO_CPUS))
    named = [(stage.name, stage.settings) for stage in plan.stages if "attack:" in stage.name]
    assert named == [
        ("control attack:relearn-search", 3), ("control attack:quantize-4bit", 1),
        ("attack:relearn-search", 3), ("attack:quantize-4bit", 1),
    ]  # fmt: skip
    apart = "attacks: [" + ", ".join(["{relearn: {steps: [5]}}"] * 3) + ", quantize]"
    three = make_plan(parse_spec(sweep_text(attacks=apart), folder=tmp_path, machine=TWO_CPUS))
    assert plan.total_seconds == pytest.approx(three.total_seconds)
    assert plan.disk_bytes == three.disk_bytes


def test_validate_says_one_attack_with_its_settings(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(sweep_text(attacks=SEARCH))
    text = CliRunner().invoke(app, ["validate", str(file)]).output
    assert "attacks relearn-search (3 settings), quantize-4bit" in " ".join(text.split())
    found = json.loads(CliRunner().invoke(app, ["validate", "--json", str(file)]).output)
    assert (found["attacks"], found["attacker_settings"]) == (
        ["relearn-search", "quantize-4bit"],
        {"relearn-search": 3},
    )
