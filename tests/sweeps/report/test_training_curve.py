"""Oracle: the recorded curve itself, of which the thinned one holds a part, to four digits."""

from __future__ import annotations

import pytest

from tests.support.outcomes import trained
from unlearn_sweep.sweeps.report.training_curve import training_curve

CURVE: list[dict[str, float | None]] = [{"step": float(step), "forget": 1.23456789 * step} for step in range(1, 201)]


def test_points_are_recorded_ones_evenly_spread_with_both_ends() -> None:
    found = training_curve(trained(curve=CURVE), points=5)
    assert found is not None
    assert found.steps == [1, 51, 101, 150, 200]
    assert found.terms["forget"] == pytest.approx([1.23456789 * step for step in found.steps], rel=5e-4)
    assert found.terms["forget"][0] == 1.235


def test_short_curves_are_whole_and_missing_values_stay_missing() -> None:
    curve: list[dict[str, float | None]] = [{"step": 1.0, "forget": 2.0}, {"step": 2.0, "forget": None, "retain": 0.5}]
    found = training_curve(trained(curve=curve, conventions={"forget": "per token", "normalise": "global"}))
    assert found is not None
    assert found.steps == [1, 2]
    assert found.terms == {"forget": [2.0, None], "retain": [None, 0.5]}
    assert found.conventions == {"forget": "per token"}


def test_without_a_training_or_a_record_there_is_no_curve() -> None:
    assert training_curve(None) is None
    assert training_curve(trained(curve=[])) is None
