"""What a second gold model scores, which never saw the forget rows and differs from gold by chance. Oracle: about 1."""

from __future__ import annotations

import numpy as np
import pytest

from bench.ideal_model import TOGETHER, World, draw_world, effectiveness, robustness_of, values
from unlearn_sweep.evaluators.aggregate import lifted
from unlearn_sweep.evaluators.split_metrics import SPLIT_METRICS

SOME = ("forget_quality", "forget_quality_p", "mia_min_k_auc", "mia_reference_auc", "privleak", "contained_worst")


def known(found: list[float | None]) -> list[float]:
    return [value for value in found if value is not None]


@pytest.mark.parametrize("metrics", [*((name,) for name in SOME), *TOGETHER], ids="+".join)
def test_on_many_rows_an_ideal_model_is_called_one(metrics: tuple[str, ...]) -> None:
    found = values(metrics, 400, worlds=12)
    assert len(known(found)) == 12
    assert np.median(known(found)) >= 0.95


@pytest.mark.parametrize("attacked", [False, True])
@pytest.mark.parametrize("metrics", TOGETHER, ids="+".join)
def test_on_six_rows_an_ideal_model_is_not_zeroed(metrics: tuple[str, ...], attacked: bool) -> None:
    """Before gold's anchor had a spread, the harmonic mean took the 0 of a distance between six rows and six rows."""
    found = values(metrics, 6, worlds=40, attacked=attacked)
    assert len(known(found)) == 40
    assert min(known(found)) > 0.3
    assert np.median(known(found)) > 0.85


@pytest.mark.parametrize("rows", [6, 20, 100])
@pytest.mark.parametrize("metric", SPLIT_METRICS)
def test_anchors_hold_whatever_the_number_of_rows(metric: str, rows: int) -> None:
    """The original scores 0 and gold 1, or there is no score."""
    draw = np.random.default_rng(rows)
    world = draw_world(rows, shared=0.5, draw=draw)
    for model, expected in ((world.original, 0.0), (world.gold, 1.0)):
        for metrics in ((metric,), ("probability", metric)):
            if metric == "judge_worst_context":
                continue  # no row of these tables is asked in that form
            found = effectiveness(World(unlearned=model, original=world.original, gold=world.gold), metrics, 0)
            assert found == (None if found is None and metrics == (metric,) else pytest.approx(expected))


def test_few_rows_of_one_metric_do_not_undo_what_all_others_say() -> None:
    """A model that forgot, and whose truth ratios on eight rows are nothing like gold's: as under quantisation."""
    world = draw_world(8, shared=0.0, draw=np.random.default_rng(1))
    odd = world.unlearned.assign(log_truth_ratio=-9.0)
    original = world.original.assign(log_truth_ratio=-9.0)
    odd_world = World(unlearned=odd, original=original, gold=world.gold)
    alone = effectiveness(odd_world, ("probability",), 0)
    both = effectiveness(odd_world, ("probability", "forget_quality"), 0)
    assert alone is not None
    assert both is not None
    assert effectiveness(odd_world, ("forget_quality",), 0) == 0.0
    assert 0.25 < both < alone
    robust = robustness_of(odd_world, ("probability", "forget_quality"), 0)
    assert robust == pytest.approx(both)


def test_a_group_counts_as_no_less_than_its_noise() -> None:
    """By hand: 0 with noise .3 beside .9 counts as .27. All zeros stay zeros, and so does the zero of a row metric."""
    means = np.array([[0.9, 0.0, 0.9], [0.0, 0.0, 0.8]])
    assert lifted(means, np.array([0.0, 0.3])).tolist() == [[0.9, 0.0, 0.9], [pytest.approx(0.27), 0.0, 0.8]]
    assert lifted(means[::-1], np.array([0.0, 0.3])).tolist() == [[0.0, 0.0, 0.8], [0.9, 0.0, 0.9]]
    assert lifted(np.array([[0.0]]), np.array([0.5])).tolist() == [[0.0]]
