"""Figures of the Python interface. Oracle: the records behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import unlearn_sweep as us
from tests.support.outcomes import trained
from tests.sweeps.report.written_sweep import mixed_trials, special, trial, write_sweep
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.user_error import UserError


def _data(figure: Any) -> list[dict[str, Any]]:
    return figure.to_dict()["data"]


@pytest.fixture
def trials() -> list[TrialRecord]:
    return mixed_trials(12)


@pytest.fixture
def sweep(tmp_path: Path, trials: list[TrialRecord]) -> us.Sweep:
    return us.open(write_sweep(tmp_path / "demo", trials))


@pytest.mark.parametrize("half", ["search", "report"])
def test_every_measured_trial_is_in_each_panel_of_the_front(
    sweep: us.Sweep, trials: list[TrialRecord], half: Any
) -> None:
    traces = [trace for trace in _data(sweep.plot_front(half)) if "text" in trace]
    prefix = "report_" if half == "report" else ""
    for axis, (x, y) in {"x": ("ue", "ut"), "x2": ("ue", "rob"), "x3": ("ut", "rob")}.items():
        drawn = [(a, b) for one in traces if one["xaxis"] == axis for a, b in zip(one["x"], one["y"], strict=True)]
        places = [(getattr(one, prefix + x), getattr(one, prefix + y)) for one in trials if one.state != "duplicate"]
        assert sorted(drawn) == sorted(place for place in places if None not in place)
    assert {trace["name"] for trace in traces if trace["showlegend"]} == {"graddiff", "npo", "simnpo"}


def test_history_is_a_running_best(sweep: us.Sweep, trials: list[TrialRecord]) -> None:
    best = next(trace for trace in _data(sweep.plot_history("search")) if trace.get("name") == "best so far")
    values = [one.ue for one in trials if one.ue is not None and one.state not in ("duplicate",)]
    assert best["y"] == [max(values[: place + 1]) for place in range(len(values))]


def test_attacks_and_losses_are_the_recorded_curves(sweep: us.Sweep, trials: list[TrialRecord]) -> None:
    lines = _data(sweep.plot_attack())
    curve = next(attack.curve for attack in trials[0].attacks if attack.attack == "relearn-forget")
    assert [point.still_forgotten for point in curve] in [list(line["y"]) for line in lines]
    assert {line["name"] for line in lines if line["showlegend"]} == {"graddiff", "npo", "simnpo"}
    assert list(_data(sweep.plot_training("loss"))[0]["y"]) == [1.0, 0.5]
    with pytest.raises(UserError, match="relearn-forget"):
        sweep.plot_attack("nothing")
    with pytest.raises(UserError, match="Recorded: loss"):
        sweep.plot_training("nothing")


def test_parallel_axes_are_settings_and_objectives(sweep: us.Sweep, trials: list[TrialRecord]) -> None:
    (lines,) = _data(sweep.plot_parallel("npo"))
    axes = {axis["label"]: list(axis["values"]) for axis in lines["dimensions"]}
    assert list(axes) == ["learning_rate", "beta", "UE", "UT", "Rob"]
    own = [one for one in trials if one.method == "npo" and one.state == "complete" and one.rob is not None]
    assert axes["beta"] == [one.params["beta"] for one in own]
    assert axes["Rob"] == [one.rob for one in own]
    with pytest.raises(UserError, match="no complete trial of 'nop'"):
        sweep.plot_parallel("nop")


def test_few_trials_have_no_importance_and_names_are_no_markup(tmp_path: Path, sweep: us.Sweep) -> None:
    with pytest.raises(UserError, match="Run more trials"):
        sweep.plot_importance()
    naughty = us.open(write_sweep(tmp_path / "naughty", [trial(0), special(1, "naughty")]))
    texts = [text for trace in _data(naughty.plot_front()) for text in trace.get("text", ())]
    assert not any("<script" in text or "<img" in text for text in texts)
    assert any("&lt;script" in text for text in texts)


def test_a_sweep_without_curves_says_what_is_recorded(tmp_path: Path) -> None:
    bare = [one.model_copy(update={"training": trained(curve=[])}) for one in mixed_trials(2)]
    sweep = us.open(write_sweep(tmp_path / "bare", bare))
    assert len(_data(sweep.plot_hypervolume())[0]["x"]) > 1
    with pytest.raises(UserError, match="none"):
        sweep.plot_training()
