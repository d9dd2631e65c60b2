"""Trials of further shares. Oracle: the list of trials that each training must have, worked out here."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import qmc

from tests.engine.study.test_broker import _drain, _plan, _record
from unlearn_sweep.engine.samplers.unit_interval import value_at
from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.search_space import CHECKPOINT, Choice, Fixed, LogUniform, MethodSpace, Scalar, Uniform
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.further_shares import at_measured_share
from unlearn_sweep.engine.study.turns import seed_of
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training_space import checkpoint_dimension, checkpoint_shares

HALVES = TrainingSettings(checkpoints=(0.25, 0.5, 1.0))
EACH = TrainingSettings(checkpoints="each_epoch")
RATE = LogUniform(1e-6, 1e-4)


def _spaces(training: TrainingSettings) -> list[MethodSpace]:
    share = checkpoint_dimension(training)
    assert share is not None
    own = {"rate": RATE, "epochs": Choice((1, 3)), CHECKPOINT: share}
    return [MethodSpace(method=name, params=own) for name in ("a", "b")]


def _open(folder: Path, training: TrainingSettings, **plan: Any) -> StudyBroker:
    return StudyBroker(
        folder / "journal", _spaces(training), _plan(**plan), identity={"code": "1"},
        shares=partial(checkpoint_shares, training),
    )  # fmt: skip


def _trainings(proposals: Sequence[Proposal]) -> dict[tuple[Any, ...], list[float]]:
    """The shares of each training in the order of asking."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for proposal in sorted(proposals, key=lambda proposal: proposal.number):
        params = proposal.params
        setting = (proposal.method, params["rate"], params["epochs"])
        found.setdefault(setting, []).append(float(params[CHECKPOINT]))
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsga2"])
def test_every_training_is_measured_at_every_share(tmp_path: Path, sampler: str) -> None:
    done = _drain(_open(tmp_path, HALVES, trials=18, sampler=sampler), at_once=2, rng=random.Random(1))
    found = _trainings(done)
    assert list(found.values()) == [[1.0, 0.5, 0.25]] * 6
    assert [setting[0] for setting in found].count("a") == 3  # equal allocation counts trainings with their shares


def test_further_shares_take_no_point_of_a_sequence(tmp_path: Path) -> None:
    """Oracle: the first three points of scipy's Sobol sequence of each method."""
    broker = _open(tmp_path, HALVES, trials=18, sampler="qmc")
    found = _trainings(_drain(broker, at_once=2, rng=random.Random(1)))
    for place, space in enumerate(_spaces(HALVES)):
        sequence = qmc.Sobol(3, scramble=True, rng=seed_of(broker.plan.seed, place)).random(4)[
            :3
        ]  # scipy warns of other than powers of two
        expected = [value_at(RATE, float(share)) for share in sequence[:, 0]]
        assert [rate for method, rate, _ in found if method == space.method] == expected


def test_each_epoch_has_as_many_shares_as_passes(tmp_path: Path) -> None:
    done = _drain(_open(tmp_path, EACH, trials=16, sampler="random"), at_once=1, rng=random.Random(1))
    found = _trainings(done)
    whole = {setting: shares for setting, shares in list(found.items())[:-1]}
    assert {setting[2] for setting in whole} == {1, 3}
    assert all(shares == {1: [1.0], 3: [1.0, 0.666667, 0.333333]}[setting[2]] for setting, shares in whole.items())


@pytest.mark.parametrize("killed_after", [1, 4, 7])
def test_a_kill_gives_the_same_trials(tmp_path: Path, killed_after: int) -> None:
    """A training asked for before the kill has its other shares after it."""
    whole = _drain(_open(tmp_path / "whole", HALVES, trials=9), at_once=1, rng=random.Random(0))
    folder, settled = tmp_path / "killed", {}
    broker = _open(folder, HALVES, trials=9)
    for _ in range(killed_after):
        proposal = broker.ask()
        assert proposal is not None
        settled[proposal.number] = _record(proposal)
        broker.settle(settled[proposal.number])
    again = StudyBroker(
        folder / "journal", _spaces(HALVES), _plan(trials=9), identity={"code": "1"}, known=settled.values(),
        shares=partial(checkpoint_shares, HALVES),
    )  # fmt: skip
    rest = _drain(again, at_once=1, rng=random.Random(0))
    found = _trainings([*(again.proposals[number] for number in settled), *rest])
    assert list(found.values()) == [[1.0, 0.5, 0.25]] * 3
    assert len(whole) == len(again.proposals) == 9


def test_first_settings_are_all_tried(tmp_path: Path) -> None:
    """Shares come between them and take none of their places; one with a share of its own is measured there first."""
    first = [
        Configuration(method="a", params={"rate": 1e-5, "epochs": 1}),
        Configuration(method="b", params={"rate": 1e-5, "epochs": 3, CHECKPOINT: 0.5}),
    ]
    done = _drain(_open(tmp_path, HALVES, trials=6, first=first), at_once=1, rng=random.Random(0))
    assert _trainings(done) == {("a", 1e-5, 1): [1.0, 0.5, 0.25], ("b", 1e-5, 3): [0.5, 1.0, 0.25]}


def test_a_grid_has_every_point_once(tmp_path: Path) -> None:
    training = TrainingSettings(checkpoints=(0.5, 1.0))
    own = {"rate": Choice((1, 2)), "epochs": Fixed(1), CHECKPOINT: Choice((1.0, 0.5))}
    broker = StudyBroker(
        tmp_path / "journal", [MethodSpace(method="a", params=own)], _plan(trials=4, sampler="grid"),
        identity={"code": "1"}, shares=partial(checkpoint_shares, training),
    )  # fmt: skip
    done = _drain(broker, at_once=1, rng=random.Random(0))
    assert sorted(_trainings(done).values()) == [[1.0, 0.5], [1.0, 0.5]]


def test_without_shares_nothing_follows(tmp_path: Path) -> None:
    shares: Callable[[Mapping[str, Scalar]], Sequence[float]] = partial(checkpoint_shares, TrainingSettings())
    assert shares({"rate": 1.0}) == (1.0,)
    assert checkpoint_dimension(TrainingSettings(checkpoints=(1.0,))) is None
    assert checkpoint_dimension(EACH) == Uniform(1e-6, 1.0)
    assert checkpoint_shares(TrainingSettings(checkpoints="each_epoch", epochs=2.5), {CHECKPOINT: 1.0}) == (
        1.0,
        0.8,
        0.4,
    )


def test_a_share_that_is_not_measured_becomes_the_end() -> None:
    """By hand: three passes are measured at thirds. A point of a user or of another sweep may name any share."""
    shares = partial(checkpoint_shares, EACH)
    third = shares({"epochs": 3, CHECKPOINT: 1.0})[-1]
    assert third == pytest.approx(1 / 3, abs=1e-3)
    for given, measured in ((0.5, 1.0), (third, third), (1.0, 1.0)):
        assert at_measured_share({"epochs": 3, CHECKPOINT: given}, shares) == {"epochs": 3, CHECKPOINT: measured}
    assert at_measured_share({"epochs": 3}, shares) == {"epochs": 3}
