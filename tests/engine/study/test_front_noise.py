"""Probabilities of a front. Oracles: fronts drawn one by one, and simulated sweeps whose true front is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.store.draws import pack, unpack
from unlearn_sweep.engine.store.records import AttackScore, SeedScore, TrialRecord
from unlearn_sweep.engine.study.front_noise import drawn_objective, front_noise, membership, sample_of
from unlearn_sweep.evaluators.aggregate import Bootstrap
from unlearn_sweep.evaluators.front import non_dominated

OBJECTIVES = ("ue", "ut", "rob")
Values = NDArray[np.float64]


def drawn(number: int, draws: dict[str, Values], **changes: object) -> TrialRecord:
    """A trial under one attack with these draws of "ue", "ut" and "attack:a", the same on both halves."""
    means = {name: float(values.mean()) for name, values in draws.items()}
    rob = means["attack:a"]
    packed = {f"{half}{name}": pack(values) for half in ("", "report_") for name, values in draws.items()}
    attack = AttackScore(attack="a", family="one", value=rob, report_value=rob)
    found = trial(number, ue=means["ue"], ut=means["ut"], rob=rob)
    both = {f"report_{name}": getattr(found, name) for name in OBJECTIVES}
    return found.model_copy(update={"attacks": [attack], "draws": packed, **both, **changes})


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(
        st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3), min_size=4, max_size=4),
        min_size=1,
        max_size=6,
    )
)
def test_membership_is_the_share_of_draws_in_which_a_trial_is_on_the_front(values: list[list[list[float]]]) -> None:
    found = membership(np.array(values))
    fronts = [non_dominated([one[draw] for one in values]) for draw in range(4)]
    assert found.tolist() == [sum(front[place] for front in fronts) / 4 for place in range(len(values))]


def test_draws_are_read_back_to_their_precision() -> None:
    values = np.array([0.0, 1.0, 0.123456789, np.nan])
    assert unpack(pack(values)) == pytest.approx(values, abs=7.7e-6, nan_ok=True)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        pack(np.array([1.1]))
    with pytest.raises(ValueError, match="not packed draws"):
        unpack("?")


def test_rob_is_drawn_as_the_least_family_of_each_draw() -> None:
    one, other, third = np.array([0.2, 0.6]), np.array([0.6, 0.8]), np.array([0.5, 0.5])
    names = {"a": ("x", one), "b": ("x", other), "c": ("y", third)}
    attacks = [AttackScore(attack=name, family=family, value=0.5) for name, (family, _) in names.items()]
    draws = {f"attack:{name}": pack(values) for name, (_, values) in names.items()}
    record = trial(0, rob=0.45).model_copy(update={"attacks": attacks, "draws": draws})
    assert drawn_objective(record, "rob", "") == pytest.approx(np.array([0.4, 0.5]), abs=1e-5)
    assert drawn_objective(record, "rob", "report_") is None


def test_what_trials_share_does_not_make_a_front_unsure() -> None:
    """Both trials rise and fall together: the better one is better in every draw, however wide the draws are."""
    common = np.random.default_rng(0).uniform(0.2, 0.8, 100)
    flat = np.full(100, 0.5)
    better = drawn(0, {"ue": common + 0.01, "ut": flat, "attack:a": flat})
    worse = drawn(1, {"ue": common, "ut": flat, "attack:a": flat})
    records = [better, worse]
    assert front_noise(records, sample_of(records, OBJECTIVES)).probability == {0: 1.0, 1: 0.0}
    apart = drawn(1, {"ue": np.random.default_rng(1).permutation(common), "ut": flat, "attack:a": flat})
    mixed = front_noise([better, apart], sample_of([better, apart], OBJECTIVES)).probability
    assert 0.3 < mixed[1] < 0.7


def test_other_seeds_move_a_finalist_and_widen_every_trial() -> None:
    """Two finalists whose UE deviates by 0.1 over two seeds each: the pooled deviation is 0.1 * sqrt(2)."""
    flat = {name: np.full(400, 0.5) for name in ("ue", "ut", "attack:a")}
    seed = SeedScore(
        seed=8, key="other", state="complete", ue=0.3, ut=0.5, rob=0.5, report_ue=0.3, report_ut=0.5, report_rob=0.5,
        started=0, finished=1,
    )  # fmt: skip
    records = [drawn(number, flat, seeds=[seed]) for number in (0, 1)] + [drawn(2, flat)]
    sample = sample_of(records, OBJECTIVES)
    assert sample is not None
    assert sample.seed_deviation == pytest.approx({"ue": 0.02**0.5, "ut": 0.0, "rob": 0.0})
    assert sample.of(0)[:, 0].mean() == pytest.approx(0.4, abs=0.02)
    assert sample.of(0)[:, 0].std() == pytest.approx(0.1, abs=0.01)
    assert sample.of(2)[:, 0].std() == pytest.approx(0.02**0.5, abs=0.01)


def test_trials_without_draws_give_no_probability_but_a_reason() -> None:
    flat = {name: np.full(10, 0.5) for name in ("ue", "ut", "attack:a")}
    records = [drawn(0, flat), trial(1, ue=0.1, ut=0.1, rob=0.1)]
    assert front_noise(records, sample_of(records, OBJECTIVES)).reason == "1 of 2 trials have no draws"
    bound = drawn(2, flat, rob_is_bound=True)
    noise = front_noise([records[0], bound], sample_of([records[0], bound], OBJECTIVES))
    assert (noise.probability, noise.unmeasured) == ({0: 1.0}, 1)


def test_probabilities_are_calibrated_where_the_true_front_is_known() -> None:
    """40 simulated sweeps of 60 trials, 72 facts in each half; the truth is the mean over all facts there could be.

    The Brier score is the mean square of probability minus truth (0 or 1): below that of the share of members (which
    knows nothing of the trials) and of the measured front as it is. Whoever gets about p is a member in about p.
    """
    told, truth, measured, covered = (np.concatenate(parts) for parts in zip(*map(simulated, range(40)), strict=True))
    brier = np.mean((told - truth) ** 2)
    assert brier < 0.03 < np.mean((measured - truth) ** 2)
    assert brier < 0.2 * truth.mean() * (1 - truth.mean())
    assert told.sum() == pytest.approx(truth.sum(), rel=0.08)
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
        some = (told >= low) & (told < high)
        assert told[some].mean() == pytest.approx(truth[some].mean(), abs=0.1)
    assert covered.mean() == pytest.approx(0.954, abs=0.02)


def simulated(seed: int, trials: int = 60, facts: int = 72) -> tuple[Values, Values, Values, Values]:
    """Probability, true and measured membership of each trial [trials], and whether 2 standard errors hold the truth.

    A fact's score is a logistic function of the trial's level, what the fact is like for all, and what it is for one.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, trials))
    ue = 0.4 + 1.5 * first
    levels = np.stack([ue, 1.6 - first + second, ue - rng.exponential(1.0, trials)], axis=1)
    shared, own = 1.5, 1.0
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = np.hypot(shared, own)
    truth = (weights / weights.sum() / (1 + np.exp(-levels[..., None] - spread * nodes))).sum(axis=-1)
    halves = [np.empty((trials, 200, 3)) for _ in range(2)]
    means = np.empty((2, trials, 3))
    for half, column in np.ndindex(2, 3):
        common = shared * rng.normal(size=facts)
        scores = 1 / (1 + np.exp(-levels[:, column, None] - common - own * rng.normal(size=(trials, facts))))
        bootstrap = Bootstrap.of(np.arange(facts), seed=10 * half + column)
        halves[half][..., column] = [bootstrap.means(row) for row in scores]
        means[half, :, column] = scores.mean(axis=1)
    both = (halves[0] + halves[1]) / 2
    error = both.std(axis=1, ddof=1)
    covered = np.abs(means.mean(axis=0) - truth) <= 2 * error
    on_front = [np.array(non_dominated(points.tolist()), dtype=np.float64) for points in (truth, means[0])]
    return membership(both), on_front[0], on_front[1], covered.ravel().astype(np.float64)
