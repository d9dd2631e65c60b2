"""What methods say about parameters that they share. Oracles: integrals, and a made-up optimum that methods share."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.support.points import number
from unlearn_sweep.engine.search_space import Choice, Dimension, Integer, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.study.per_method_samplers import tpe_point
from unlearn_sweep.engine.study.sampling import distribution_of
from unlearn_sweep.engine.study.shared_parameters import FADES, log_density, shared_ratio

RATE, EPOCHS = LogUniform(1e-6, 1e-2), Integer(1, 5)
SPACES = {
    "npo": MethodSpace(method="npo", params={"rate": RATE, "epochs": EPOCHS, "beta": Uniform(0.0, 1.0)}),
    "dpo": MethodSpace(method="dpo", params={"rate": RATE, "epochs": EPOCHS, "kind": Choice(("a", "b"))}),
    "rmu": MethodSpace(method="rmu", params={"rate": LogUniform(1e-6, 1e-3), "layer": Integer(1, 4)}),
}
DIRECTIONS = [StudyDirection.MAXIMIZE] * 3


def trial(method: str, value: float | None, **params: Any) -> FrozenTrial:
    """A trial with the same value for every objective; None for one that collapsed."""
    space = SPACES[method]
    distributions: dict[str, Any] = {f"{method}.{name}": distribution_of(space.params[name]) for name in params}
    distributions["method"] = distribution_of(Choice(tuple(SPACES)))
    return create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        values=None if value is None else [value] * 3,
        params={"method": method, **{f"{method}.{name}": found for name, found in params.items()}},
        distributions=distributions,
        system_attrs={"constraints:collapse": 1.0 if value is None else -1.0},
    )


def others(count: int) -> list[FrozenTrial]:
    """Trials of dpo over the whole range of rates: good near 1e-3, collapsed above 3e-3."""
    rates = [10 ** (-6 + 4 * (place + 0.5) / count) for place in range(count)]
    values = [None if rate > 3e-3 else 0.9 if rate > 3e-4 else 0.1 for rate in rates]
    return [
        trial("dpo", value, rate=rate, epochs=1 + place % 5, kind="a")
        for place, (rate, value) in enumerate(zip(rates, values, strict=True))
    ]


OWN = [trial("npo", 0.2, rate=1e-5, epochs=3, beta=0.5)]


def rates_of(trials: list[FrozenTrial], *, startup: int = 2) -> list[float]:
    """Logarithms of the rates that TPE proposes for npo under twelve seeds."""
    shared = shared_ratio(SPACES["npo"], SPACES, trials, startup=10)
    found = [
        tpe_point(SPACES["npo"], trials, DIRECTIONS, seed=seed, startup=startup, shared=shared) for seed in range(12)
    ]
    return [math.log10(number(point["npo.rate"])) for point in found if point is not None]


def test_a_method_with_one_trial_begins_where_others_are_good() -> None:
    """Good are rates from 3e-4 to 3e-3 (-3.5 to -2.5). Without other methods, one trial of its own is too few."""
    proposed = rates_of([*others(20), *OWN])
    assert len(proposed) == 12
    assert all(-3.6 < rate < -2.1 for rate in proposed)
    assert rates_of(OWN) == []


def test_a_methods_own_trials_win_over_what_others_say() -> None:
    """Forty own trials are good below 1e-5, where all of dpo's are bad."""
    rates = [10 ** (-6 + 4 * (place + 0.5) / 40) for place in range(40)]
    own = [trial("npo", 0.9 if rate < 1e-5 else 0.05, rate=rate, epochs=3, beta=0.5) for rate in rates]
    assert statistics.median(rates_of([*others(20), *own])) < -5


def test_only_equal_dimensions_are_shared_and_the_weight_fades() -> None:
    trials = [*others(20), trial("rmu", 0.5, rate=1e-5, layer=1), *OWN, *OWN]
    ratio = shared_ratio(SPACES["npo"], SPACES, trials, startup=10)
    assert ratio is not None
    assert list(ratio.dimensions) == ["npo.rate", "npo.epochs"]
    assert len(ratio.good) == math.ceil(22 / 4)
    assert len(ratio.good) + len(ratio.rest) == 22
    assert ratio.weight == FADES / (FADES + 2)
    assert shared_ratio(SPACES["rmu"], SPACES, trials, startup=10) is None


def test_nothing_is_shared_at_the_start_or_without_trials_of_both() -> None:
    space = SPACES["npo"]
    assert shared_ratio(space, SPACES, [*others(8), *OWN], startup=10) is None
    assert shared_ratio(space, SPACES, [*others(9), *OWN], startup=10) is not None
    assert shared_ratio(space, SPACES, others(20), startup=10) is None
    assert shared_ratio(space, SPACES, OWN * 20, startup=10) is None


@pytest.mark.parametrize("centers", [[0.02], [0.5, 0.9], [0.0, 0.1, 0.99]])
def test_a_density_over_a_range_integrates_to_one(centers: list[float]) -> None:
    points = (np.arange(20_000) + 0.5) / 20_000
    found = np.exp(log_density(points[:, None], np.array(centers)[:, None], [RATE]))
    assert found.mean() == pytest.approx(1, abs=1e-4)


def test_a_density_over_words_sums_to_one_and_is_highest_on_seen_words() -> None:
    kinds: list[Dimension] = [Choice(("a", "b", "c"))]
    found = np.exp(log_density(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [1.0]]), kinds))
    assert found.sum() == pytest.approx(1)
    assert found.argmax() == 1
