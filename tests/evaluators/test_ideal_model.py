"""What a second gold model scores, which never saw the forget rows and differs from gold by chance. Oracle: about 1.

And what a second original scores, which forgot nothing by some metric. Oracle: 0 wherever rows are enough to tell.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.ideal_model import (
    ALL,
    SHAPES,
    TOGETHER,
    World,
    columns_of,
    draw_world,
    effectiveness,
    kept_beside,
    values,
)
from unlearn_sweep.evaluators.aggregate import least_share, lifted
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.split_metrics import SPLIT_METRICS

SOME = (
    "forget_quality",
    "forget_quality_p",
    "mia_min_k_auc",
    "mia_reference_auc",
    "privleak",
    "contained_worst",
    "probability",
    "knowmem",
    "answer_contained",
    "truth_ratio",
)


def known(found: list[float | None]) -> list[float]:
    return [value for value in found if value is not None]


def test_every_metric_of_forgetting_has_a_shape() -> None:
    assert {column for name in ALL for column in columns_of([name])} <= set(SHAPES)


@pytest.mark.parametrize("metrics", [*((name,) for name in SOME), *TOGETHER], ids="+".join)
def test_on_many_rows_an_ideal_model_is_called_one(metrics: tuple[str, ...]) -> None:
    found = values(metrics, 400, worlds=12)
    assert len(known(found)) == 12
    assert np.median(known(found)) >= 0.93


@pytest.mark.parametrize("attacked", [False, True])
@pytest.mark.parametrize("metrics", TOGETHER, ids="+".join)
def test_on_six_rows_an_ideal_model_is_not_zeroed(metrics: tuple[str, ...], attacked: bool) -> None:
    """Before gold's anchor had a spread, the harmonic mean took the 0 of a distance between six rows and six rows."""
    found = values(metrics, 6, worlds=20 if attacked else 60, attacked=attacked)
    assert known(found)
    assert min(known(found)) > 0.1
    assert np.median(known(found)) > (0.5 if attacked else 0.75)


@pytest.mark.parametrize("metric", [name for name in ALL if not name.endswith(("_ou", "_unstemmed"))])
def test_what_one_metric_says_the_model_kept_is_a_zero_on_many_rows(metric: str) -> None:
    """Gold by the other metric, another draw of the original by this one: chance does not take a model that far."""
    together, learnt = kept_beside(metric)
    found = values(together, 400, worlds=10, learnt=learnt)
    assert len(known(found)) == 10
    assert np.median(known(found)) < 0.12
    exact = draw_world(400, together, shared=0.0, draw=np.random.default_rng(3), learnt=learnt)
    same = exact.unlearned.assign(**{name: exact.original[name] for name in learnt})
    assert effectiveness(World(unlearned=same, original=exact.original, gold=exact.gold), together, 0) == 0.0


@pytest.mark.parametrize("rows", [6, 20, 100])
@pytest.mark.parametrize("metric", [*SPLIT_METRICS, "probability", "knowmem", "choice_accuracy"])
def test_anchors_hold_whatever_the_number_of_rows(metric: str, rows: int) -> None:
    """The original scores 0 and gold 1, or there is no score."""
    other = "rouge" if METRICS[metric].group == "memorisation" else "probability"
    for metrics in ((metric,), (other, metric)):
        world = draw_world(rows, metrics, shared=0.5, draw=np.random.default_rng(rows))
        for model, expected in ((world.original, 0.0), (world.gold, 1.0)):
            found = effectiveness(World(unlearned=model, original=world.original, gold=world.gold), metrics, 0)
            assert found == (None if found is None and metrics == (metric,) else pytest.approx(expected))


def test_six_rows_of_a_mean_do_not_zero_what_all_others_say() -> None:
    """Six questions, gold right in 2 and the original in 5, the ideal model by accident in 5 as well: noise is .31, and
    Student's t of 1% at 5 degrees is 4.03, so the 0 may be chance. The same shares of 600 questions may not.
    """
    found = [_kept_by_contained(copies) for copies in (1, 100)]
    assert found[1] == 0.0
    assert found[0] == pytest.approx(2 / (1 + 1 / 0.25), abs=0.15)
    assert found[0] > 0.2


def _kept_by_contained(copies: int) -> float:
    metrics = ("probability", "answer_contained")
    world = draw_world(6 * copies, metrics, shared=0.0, draw=np.random.default_rng(5))
    right = {"gold": [1, 1, 0, 0, 0, 0], "original": [1, 1, 1, 1, 1, 0], "unlearned": [1, 0, 1, 1, 1, 1]}
    tables = {
        name: frame.assign(
            answer_contained=np.tile(np.array(right[name], dtype=float), 2 * copies),
            probability=0.9 if name == "original" else 0.1,
        )
        for name, frame in (("gold", world.gold), ("original", world.original), ("unlearned", world.unlearned))
    }
    value = effectiveness(World(**tables), metrics, 0)
    assert value is not None
    return value


def test_the_least_share_by_hand() -> None:
    """t of 1% at 5 degrees of freedom is 4.032: nothing at noise .24, .2096 at .3, the noise itself where that is less;
    of 400 facts, where t is 2.588, nothing below .386.
    """
    t = float(stats.t.ppf(0.995, 5))
    assert t == pytest.approx(4.032, abs=1e-3)
    assert least_share(0.24, 6) == 0.0
    assert least_share(0.3, 6) == pytest.approx(0.3 * t - 1.0)
    assert least_share(0.45, 6) == 0.45
    assert least_share(0.38, 400) == 0.0
    assert least_share(0.0, 6) == least_share(0.5, 1) == 0.0


def test_a_group_counts_as_no_less_than_its_share() -> None:
    """By hand: 0 with share .3 beside .9 counts as .27. All zeros stay zeros, and so does a zero without a share."""
    means = np.array([[0.9, 0.0, 0.9], [0.0, 0.0, 0.8]])
    assert lifted(means, np.array([0.0, 0.3])).tolist() == [[0.9, 0.0, 0.9], [pytest.approx(0.27), 0.0, 0.8]]
    assert lifted(means[::-1], np.array([0.0, 0.3])).tolist() == [[0.0, 0.0, 0.8], [0.9, 0.0, 0.9]]
    assert lifted(np.array([[0.0]]), np.array([0.5])).tolist() == [[0.0]]
