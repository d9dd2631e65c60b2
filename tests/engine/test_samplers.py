"""Samplers through the broker. Oracles: ranges, evenness of a Sobol sequence, and a plain function's optimum."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.support.points import number
from unlearn_sweep.engine.samplers.unit_interval import share_of, value_at
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import (
    Choice,
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Uniform,
    size,
)
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.per_method_samplers import good_trials, tpe_point
from unlearn_sweep.engine.study.sampling import distribution_of

SPACES = [
    MethodSpace(method="npo", params={"rate": LogUniform(1e-6, 1e-2), "beta": Uniform(0.0, 1.0), "fixed": Fixed(3)}),
    MethodSpace(method="rmu", params={"layer": Integer(1, 6), "width": LogInteger(1, 64), "kind": Choice(("a", "b"))}),
]


def _settled(proposal: Proposal) -> TrialRecord:
    """Best for npo at a rate of 1e-4 and beta 0.5."""
    params = proposal.params
    miss = 1.0
    if "rate" in params:
        miss = abs(math.log10(number(params["rate"]) / 1e-4)) / 2 + abs(number(params["beta"]) - 0.5)
    value = max(0.0, 1 - miss)
    return TrialRecord(
        number=proposal.number, key=proposal.key, method=proposal.method, params=params, seed=proposal.seed,
        state="complete", ue=value, ut=0.9 * value, rob=0.8 * value, started=0.0, finished=1.0,
    )  # fmt: skip


def _run(folder: Path, sampler: str, trials: int, spaces: list[MethodSpace] = SPACES, **more: object) -> list[Proposal]:
    plan = SearchPlan(**{"sampler": sampler, "allocation": "equal", "trials": trials, "seed": 5, **more})  # pyright: ignore[reportArgumentType]
    broker, asked = StudyBroker(folder / "study.journal", spaces, plan, identity={}), []
    while (proposal := broker.ask()) is not None:
        asked.append(proposal)
        broker.settle(_settled(proposal))
    return asked


@pytest.mark.parametrize(
    "sampler", ["tpe", "nsga2", "nsga3", pytest.param("gp", marks=pytest.mark.slow), "noisy", "qmc", "random"]
)
@pytest.mark.parametrize("allocation", ["equal", "free"])
def test_every_sampler_stays_inside_the_space_and_repeats_itself(tmp_path: Path, sampler: str, allocation: str) -> None:
    first = _run(tmp_path / "one", sampler, 12, startup_trials=3, allocation=allocation)
    second = _run(tmp_path / "two", sampler, 12, startup_trials=3, allocation=allocation)
    assert [proposal.params for proposal in first] == [proposal.params for proposal in second]
    assert len({proposal.key for proposal in first}) == 12
    if allocation == "equal" or sampler in ("gp", "qmc"):
        assert Counter(proposal.method for proposal in first) == {"npo": 6, "rmu": 6}
    for proposal in first:
        if proposal.method == "npo":
            assert 1e-6 <= number(proposal.params["rate"]) <= 1e-2
            assert 0 <= number(proposal.params["beta"]) <= 1
            assert proposal.params["fixed"] == 3
        else:
            assert proposal.params["layer"] in range(1, 7)
            assert proposal.params["width"] in range(1, 65)
            assert proposal.params["kind"] in ("a", "b")


def test_sobol_points_are_even_where_random_ones_are_not(tmp_path: Path) -> None:
    """Of 2^k points of a scrambled Sobol sequence, every eighth of an axis holds exactly an eighth."""
    points = _run(tmp_path, "qmc", 64, SPACES[:1])
    rates = Counter(int((math.log10(number(point.params["rate"])) + 6) / 4 * 8 - 1e-9) for point in points)
    betas = Counter(int(number(point.params["beta"]) * 8 - 1e-9) for point in points)
    assert set(rates.values()) == {8}
    assert set(betas.values()) == {8}


def test_sobol_over_a_small_space_uses_it_up_and_ends(tmp_path: Path) -> None:
    space = MethodSpace(method="rmu", params={"layer": Integer(1, 3), "kind": Choice(("a", "b"))})
    assert size(space.params["layer"]) == 3
    points = _run(tmp_path, "qmc", 50, [space])
    assert {(point.params["layer"], point.params["kind"]) for point in points} == {
        (layer, kind) for layer in (1, 2, 3) for kind in "ab"
    }


@pytest.mark.parametrize("sampler", [pytest.param("gp", marks=pytest.mark.slow), "tpe"])
def test_a_model_of_the_objectives_finds_the_optimum_better_than_chance(tmp_path: Path, sampler: str) -> None:
    trials = 24 if sampler == "gp" else 60
    guided = _run(tmp_path / "guided", sampler, trials, SPACES[:1], startup_trials=8)
    blind = _run(tmp_path / "blind", "random", trials, SPACES[:1])

    def late(points: list[Proposal]) -> float:
        values = [_settled(point).ue or 0.0 for point in points[trials // 2 :]]
        return sum(values) / len(values)

    assert late(guided) > late(blind) + 0.15


def _frozen(method: str, params: dict[str, Any], value: float | None) -> FrozenTrial:
    """A trial of one of the methods above, with the same value for every objective; None for one that collapsed."""
    space = next(space for space in SPACES if space.method == method)
    distributions = {f"{method}.{name}": distribution_of(space.params[name]) for name in params}
    return create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        values=None if value is None else [value] * 3,
        params={f"{method}.{name}": found for name, found in params.items()},
        distributions=distributions,
        system_attrs={"constraints:collapse": 1.0 if value is None else -1.0},
    )


def test_tpe_without_shared_parameters_looks_at_the_methods_own_trials_alone() -> None:
    """Good below a rate of 1e-4. Trials of another method, all of them better, change no digit of what it proposes."""
    space, directions = SPACES[0], [StudyDirection.MAXIMIZE] * 3
    rates = [10 ** (-6 + 4 * place / 15) for place in range(16)]
    own = [_frozen("npo", {"rate": rate, "beta": 0.5}, 0.8 if rate < 1e-4 else 0.1) for rate in rates]
    others = [_frozen("rmu", {"layer": 1, "width": 2, "kind": "a"}, 0.99) for _ in range(30)]

    def points(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
        found = [tpe_point(space, trials, directions, seed=seed, startup=4) for seed in range(12)]
        return [point for point in found if point is not None]

    alone = points(own)
    assert len(alone) == 12
    assert points([*others, *own]) == alone
    assert sum(number(point["npo.rate"]) < 1e-4 for point in alone) >= 11
    assert tpe_point(space, [*others, *own[:3]], directions, seed=0, startup=4) is None


def test_tpe_keeps_away_from_what_collapsed() -> None:
    """Every trial above 1e-4 collapsed, and those below are equally good: nearly all points lie below."""
    directions = [StudyDirection.MAXIMIZE] * 3
    rates = [10 ** (-6 + 4 * place / 19) for place in range(20)]
    trials = [_frozen("npo", {"rate": rate, "beta": 0.5}, 0.5 if rate < 1e-4 else None) for n, rate in enumerate(rates)]
    found = [tpe_point(SPACES[0], trials, directions, seed=seed, startup=4) for seed in range(20)]
    assert sum(point is not None and number(point["npo.rate"]) < 1e-4 for point in found) >= 18


@pytest.mark.parametrize(("trials", "good"), [(1, 1), (4, 1), (5, 2), (40, 10), (100, 25), (1000, 25)])
def test_a_quarter_of_the_trials_is_good_up_to_a_bound(trials: int, good: int) -> None:
    assert good_trials(trials) == good


@pytest.mark.parametrize(
    "dimension",
    [Uniform(-1.0, 3.0), LogUniform(1e-6, 1e-2), Integer(-2, 5), LogInteger(1, 64), Choice(("a", "b", 3))],
    ids=repr,
)
def test_a_share_of_a_dimension_leads_to_its_value_and_back(dimension: Dimension) -> None:
    """Oracle: both are one map; its ends are those of the range."""
    shares = [index / 50 for index in range(50)] + [math.nextafter(1, 0)]
    values = [value_at(dimension, share) for share in shares]
    assert [value_at(dimension, share_of(dimension, value)) for value in values] == pytest.approx(values)
    if not isinstance(dimension, Choice | Fixed):
        assert values[0] == dimension.low
        assert values[-1] == pytest.approx(dimension.high)
    with pytest.raises(ValueError, match=r"not in|outside"):
        share_of(dimension, "c" if isinstance(dimension, Choice) else 99)
