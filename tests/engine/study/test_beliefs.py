"""Beliefs about where good settings lie. Oracles: the rule by hand (2 / (2 + k), spread .1), and a made-up optimum."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.samplers.unit_interval import share_of
from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, Integer, LogUniform, MethodSpace, Scalar, holds
from unlearn_sweep.engine.study.beliefs import SPREAD, believed_point
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker

RATE = LogUniform(1e-6, 1e-2)
SPACE = MethodSpace(
    method="npo",
    params={"rate": RATE, "layers": Integer(1, 9), "retain": Choice(("nll", "kl", "none")), "epochs": Fixed(5)},
)
BELIEVED: dict[str, Scalar] = {"rate": 1e-4, "layers": 2, "retain": "kl"}


def points(place: int, believed: dict[str, Scalar] = BELIEVED, seeds: int = 4000) -> list[dict[str, Scalar]]:
    found = [believed_point(SPACE, believed, place=place, seed=seed) for seed in range(seeds)]
    return [point for point in found if point is not None]


def test_the_first_trial_is_the_belief_itself() -> None:
    expected = {"method": "npo", "npo.rate": 1e-4, "npo.layers": 2, "npo.retain": "kl"}
    assert points(0, seeds=20) == [expected] * 20


@pytest.mark.parametrize(("place", "share"), [(1, 2 / 3), (2, 1 / 2), (8, 1 / 5), (18, 1 / 10)])
def test_later_trials_follow_it_less_and_less_often(place: int, share: float) -> None:
    error = math.sqrt(share * (1 - share) / 4000)
    assert len(points(place)) / 4000 == pytest.approx(share, abs=4 * error)


def test_they_lie_around_it_and_in_the_space() -> None:
    found = points(2)
    shares = [share_of(RATE, point["npo.rate"]) for point in found]
    assert statistics.fmean(shares) == pytest.approx(0.5, abs=0.01)  # 1e-4 is the middle of the range's logarithms
    assert statistics.stdev(shares) == pytest.approx(SPREAD, rel=0.1)
    kept = sum(point["npo.retain"] == "kl" for point in found) / len(found)
    assert kept == pytest.approx(0.75 + 0.25 / 3, abs=0.04)
    for point in points(2, {**BELIEVED, "rate": 1e-6, "layers": 9}):
        assert all(holds(SPACE.params[name], point[f"npo.{name}"]) for name in ("rate", "layers", "retain"))


def test_parameters_without_a_belief_have_their_whole_range() -> None:
    shares = [share_of(RATE, point["npo.rate"]) for point in points(2, {"layers": 2})]
    assert statistics.fmean(shares) == pytest.approx(0.5, abs=0.03)
    assert statistics.stdev(shares) == pytest.approx(1 / math.sqrt(12), rel=0.05)


def test_nothing_to_search_is_left_to_the_sampler() -> None:
    assert believed_point(MethodSpace(method="npo", params={"epochs": Fixed(5)}), {}, place=0, seed=1) is None


# --- in a search ------------------------------------------------------------------------------------------------------

LINE = MethodSpace(method="npo", params={"rate": LogUniform(1e-6, 1e-2)})
OPTIMUM = 3e-4


def searched(folder: Path, believed: float | None, *, seed: int, trials: int) -> list[float]:
    """How far each trial is from the optimum, in shares of the range; all objectives fall with it."""
    beliefs = [] if believed is None else [Configuration(method="npo", params={"rate": believed})]
    plan = SearchPlan(sampler="tpe", trials=trials, seed=seed, beliefs=beliefs)
    broker, gaps = StudyBroker(folder / f"{believed}-{seed}", [LINE], plan, identity={}), list[float]()
    while (asked := broker.ask()) is not None:
        gaps.append(gap(asked))
        value = 1 - gaps[-1]
        broker.settle(trial(asked.number, key=asked.key, params=asked.params, ue=value, ut=value, rob=value))
    return gaps


def gap(asked: Proposal) -> float:
    return abs(share_of(RATE, asked.params["rate"]) - share_of(RATE, OPTIMUM))


def test_a_good_belief_helps_at_once_and_a_wrong_one_is_left(tmp_path: Path) -> None:
    runs = {
        believed: [searched(tmp_path, believed, seed=seed, trials=24) for seed in range(4)]
        for believed in (None, 2e-4, 1e-6)
    }

    def best(believed: float | None, after: int) -> float:
        return statistics.median(min(run[:after]) for run in runs[believed])

    assert best(2e-4, 3) < best(None, 3)
    assert best(1e-6, 24) < 0.05


def test_a_resumed_search_follows_it_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", 1e-4, seed=3, trials=12)
    plan = SearchPlan(sampler="tpe", trials=12, seed=3, beliefs=[Configuration(method="npo", params={"rate": 1e-4})])
    found, known = list[float](), []
    while len(found) < 12:
        broker = StudyBroker(tmp_path / "journal", [LINE], plan, identity={}, known=known)
        asked = broker.ask()
        assert asked is not None
        found.append(gap(asked))
        value = 1 - found[-1]
        known.append(trial(asked.number, key=asked.key, params=asked.params, ue=value, ut=value, rob=value))
        broker.settle(known[-1])
    assert found == whole
