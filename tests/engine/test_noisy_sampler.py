"""The noise-aware sampler. Oracles: volumes by moocore, a finite difference, exact data, a problem with known noise."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.points import number
from unlearn_sweep.engine.samplers import gaussian_process
from unlearn_sweep.engine.samplers.gaussian_process import fit
from unlearn_sweep.engine.samplers.interface import Ask, Tried
from unlearn_sweep.engine.samplers.noisy import encoded, noisy_point
from unlearn_sweep.engine.samplers.volume_gain import expected_gains, gains
from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogUniform, MethodSpace, Scalar, Uniform
from unlearn_sweep.evaluators.front import hypervolume

SPACE = MethodSpace(method="npo", params={"a": Uniform(0.0, 1.0), "b": Uniform(0.0, 1.0), "fixed": Fixed(3)})
OBJECTIVES: tuple[str, ...] = ("ue", "ut", "rob")
Array = NDArray[np.float64]


def _volume(points: Array) -> float:
    return hypervolume(points.tolist(), [0.0] * points.shape[1])


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("members", [0, 1, 2, 7])
def test_a_gain_is_the_difference_of_two_hypervolumes(objectives: int, members: int) -> None:
    """Random fronts with dominated and equal coordinates. Oracle: moocore's hypervolume with and without."""
    chance = np.random.default_rng(10 * members + objectives)
    for decimals in (1, 6):  # one decimal: many ties
        front = chance.random((members, objectives)).round(decimals)
        candidates = chance.random((40, objectives)).round(decimals)
        expected = [_volume(np.vstack([front, row])) - (_volume(front) if members else 0.0) for row in candidates]
        assert gains(front, candidates) == pytest.approx(expected, abs=1e-12)


def test_a_gain_on_a_front_drawn_by_hand() -> None:
    """Front (0.5, 1) and (1, 0.5) leaves the corner of 0.5 x 0.5; (0.75, 0.75) fills a quarter of it."""
    front = np.array([[0.5, 1.0], [1.0, 0.5]])
    assert gains(front, np.array([[0.75, 0.75], [1.0, 1.0], [0.5, 0.9]])) == pytest.approx([0.0625, 0.25, 0.0])


def test_expected_gains_are_means_over_joint_draws() -> None:
    front = np.array([[[0.5, 0.5]], [[0.0, 0.0]]])
    candidates = np.array([[[1.0, 1.0], [0.5, 0.5]], [[1.0, 1.0], [0.5, 0.5]]])
    assert expected_gains(front, candidates) == pytest.approx([(0.75 + 1) / 2, (0 + 0.25) / 2])


@pytest.mark.parametrize("bad", [[[1.1, 0.0]], [[math.nan, 0.0]]])
def test_gains_refuse_values_outside_the_cube(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gains(np.zeros((0, 2)), np.array(bad))


def test_the_fits_gradient_is_its_finite_difference() -> None:
    chance = np.random.default_rng(1)
    inputs, targets, known = chance.random((9, 3)), chance.standard_normal(9), 0.1 * chance.random(9)
    theta = np.array([0.3, -0.5, 1.0, -2.0])
    slope = gaussian_process._objective(theta, inputs, targets, known)[1]
    for place in range(4):
        step = np.eye(4)[place] * 1e-5
        up, down = (gaussian_process._objective(theta + sign * step, inputs, targets, known)[0] for sign in (1, -1))
        assert slope[place] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-6)


def test_exact_data_is_met_and_noisy_data_is_not_believed() -> None:
    """Without errors, the process has the incumbent's own value; with large ones, it is drawn towards the others."""
    inputs = np.linspace(0, 1, 12)[:, None]
    smooth = np.sin(3 * inputs[:, 0])
    mean, covariance = fit(inputs, smooth, np.zeros(12)).at(inputs)
    assert mean == pytest.approx(smooth, abs=0.01)
    assert np.sqrt(np.diag(covariance)).max() < 0.05
    lucky = smooth.copy()
    lucky[6] += 0.8
    errors = np.full(12, 0.02)
    errors[6] = 0.8
    assert fit(inputs, lucky, errors).at(inputs)[0][6] == pytest.approx(smooth[6], abs=0.15)


@pytest.mark.parametrize("errors", [[-0.1, 0.1], [math.nan, 0.1], [0.1]])
def test_a_fit_refuses_what_is_no_error(errors: list[float]) -> None:
    with pytest.raises(ValueError, match=r"errors|shapes"):
        fit(np.zeros((2, 1)), np.zeros(2), np.array(errors))


def _tried(place: int, a: float, b: float, chance: random.Random, error: float) -> Tried:
    value = _truth(a, b)
    values = {name: min(1.0, max(0.0, value + chance.gauss(0, error))) for name in OBJECTIVES}
    return Tried(
        number=place, params={"a": a, "b": b}, outcome="complete", values=values, feasible=True,
        errors=dict.fromkeys(OBJECTIVES, error),
    )  # fmt: skip


def _truth(a: float, b: float) -> float:
    """Best, 0.9, at (0.7, 0.3)."""
    return 0.9 * math.exp(-4 * ((a - 0.7) ** 2 + (b - 0.3) ** 2))


def _point(trials: list[Tried], seed: int = 3) -> dict[str, Scalar]:
    found = noisy_point(Ask(space=SPACE, trials=tuple(trials), number=len(trials), seed=seed), OBJECTIVES)
    assert found is not None
    return found


def test_it_finds_a_better_region_than_chance_under_known_noise() -> None:
    """True values, not measured ones, of the last eight of twenty trials; three seeds."""
    guided, blind = [], []
    for seed in range(3):
        chance = random.Random(seed)
        trials = [_tried(place, chance.random(), chance.random(), chance, 0.1) for place in range(8)]
        for place in range(8, 20):
            point = _point(trials, seed=place)
            trials.append(_tried(place, number(point["a"]), number(point["b"]), chance, 0.1))
        guided += [_truth(number(trial.params["a"]), number(trial.params["b"])) for trial in trials[12:]]
        blind += [_truth(chance.random(), chance.random()) for _ in range(8)]
    assert sum(guided) / len(guided) > sum(blind) / len(blind) + 0.2


def test_one_seed_gives_one_point_inside_the_space_and_leaves_the_generators() -> None:
    chance = random.Random(1)
    trials = [_tried(place, chance.random(), chance.random(), chance, 0.05) for place in range(6)]
    before = random.getstate(), str(np.random.get_state())
    first, second = _point(trials), _point(trials)
    assert first == second
    assert (random.getstate(), str(np.random.get_state())) == before
    assert set(first) == {"a", "b"}
    assert all(0 <= number(value) <= 1 for value in first.values())
    assert _point(trials, seed=4) != first


LINE = MethodSpace(method="npo", params={"a": Uniform(0.0, 1.0)})


def _on_line(place: int, a: float, ue: float, ut: float, rob: float) -> Tried:
    values = {"ue": ue, "ut": ut, "rob": rob}
    return Tried(number=place, params={"a": a}, outcome="complete", values=values, feasible=True)


def _next_on_line(trials: Sequence[Tried], seed: int, rivals: Sequence[Tried] = ()) -> float:
    point = noisy_point(Ask(space=LINE, trials=tuple(trials), number=len(trials), seed=seed), OBJECTIVES, rivals)
    assert point is not None
    return number(point["a"])


def test_a_running_trial_counts_as_if_it_had_its_result() -> None:
    """UE is a and UT 1 - a, known at 0, 0.5 and 1. With a trial under way in one gap, the other gap is next."""
    trials = [_on_line(place, a, a, 1 - a, 0.8) for place, a in enumerate((0.0, 0.5, 1.0))]
    for seed in range(4):
        first = _next_on_line(trials, seed)
        running = Tried(number=3, params={"a": first}, outcome="running", values={}, feasible=False)
        assert (first - 0.5) * (_next_on_line([*trials, running], seed) - 0.5) < 0


def test_it_keeps_away_from_where_models_collapse() -> None:
    """All objectives rise as a falls, and every model below 0.45 collapsed."""
    trials = [_on_line(place, place / 10, *[1 - place / 10] * 3) for place in range(11)]
    ends = [replace(trial, outcome="collapsed", values={}, feasible=False) for trial in trials[:5]] + trials[5:]
    assert all(_next_on_line(ends, seed) > 0.4 for seed in range(4))
    assert all(_next_on_line(trials[5:], seed) < 0.4 for seed in range(4))  # without those trials, it goes there


def test_a_front_of_other_methods_is_not_filled_twice() -> None:
    """UE is a and UT 1 - a. A rival with the half of high UT leaves a gain only where UE is high, and vice versa."""
    trials = [_on_line(place, a, a, 1 - a, 0.8) for place, a in enumerate((0.1, 0.3, 0.5, 0.7, 0.9))]
    for seed in range(3):
        assert _next_on_line(trials, seed, [_on_line(9, 0.0, 0.5, 1.0, 1.0)]) > 0.5
        assert _next_on_line(trials, seed, [_on_line(9, 0.0, 1.0, 0.5, 1.0)]) < 0.5


def test_nothing_to_model_gives_no_point() -> None:
    chance = random.Random(5)
    one = _tried(0, 0.5, 0.5, chance, 0.1)
    bare = MethodSpace(method="ga", params={"fixed": Fixed(1)})
    assert noisy_point(Ask(space=SPACE, trials=(one,), number=1, seed=1), OBJECTIVES) is None
    assert noisy_point(Ask(space=bare, trials=(), number=0, seed=1), OBJECTIVES) is None


def test_a_small_space_is_used_up() -> None:
    """Of six settings five are tried: the sixth is next, and then none."""
    space = MethodSpace(method="rmu", params={"layer": Integer(1, 3), "kind": Choice(("a", "b"))})
    settings = [{"layer": layer, "kind": kind} for layer in (1, 2, 3) for kind in "ab"]
    values: dict[str, float] = dict.fromkeys(OBJECTIVES, 0.5)
    trials = tuple(
        Tried(number=place, params=params, outcome="complete", values=values, feasible=True)
        for place, params in enumerate(settings)
    )
    assert noisy_point(Ask(space=space, trials=trials[:5], number=5, seed=1), OBJECTIVES) == settings[5]
    assert noisy_point(Ask(space=space, trials=trials, number=6, seed=1), OBJECTIVES) is None


def test_points_are_encoded_on_their_scale_and_what_is_idle_makes_no_difference() -> None:
    space = MethodSpace(
        method="m",
        params={"rate": LogUniform(1e-6, 1e-2), "kind": Choice(("x", "y")), "steps": Choice((1, 2, 4, 8))},
        only_if={"steps": ("kind", "x")},
    )
    side = math.sqrt(0.5)
    assert encoded(space, {"rate": 1e-4, "kind": "x", "steps": 4}) == pytest.approx([0.5, side, 0, 0.625])
    idle = [encoded(space, {"rate": 1e-4, "kind": "y", "steps": steps}) for steps in (1, 8)]
    assert idle[0] == idle[1]
    x, y = (encoded(space, {"rate": 1e-4, "kind": kind, "steps": 1}) for kind in "xy")
    assert math.dist(x, y) == pytest.approx(1)
