"""The bandit over methods. Oracle: fronts looked up anew, and methods whose chances are known."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import MethodSpace, Uniform
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.method_choice import entries, method_by_front
from unlearn_sweep.evaluators.front import non_dominated

METHODS = ["good", "poor"]
CHOICE = optuna.distributions.CategoricalDistribution(METHODS)


def tried(number: int, method: str, values: list[float] | None) -> FrozenTrial:
    state = TrialState.COMPLETE if values is not None else TrialState.FAIL
    made = create_trial(state=state, params={"method": method}, distributions={"method": CHOICE}, values=values)
    made.number = number
    return made


@settings(max_examples=50, deadline=None)
@given(points=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=3), max_size=8, unique_by=tuple))
def test_a_trial_has_entered_if_it_was_on_the_front_when_it_came(points: list[list[float]]) -> None:
    found = entries([tried(number, "good", point) for number, point in enumerate(points)])
    assert found == {number: non_dominated(points[: number + 1])[-1] for number in range(len(points))}


def test_a_failed_trial_has_not_entered_and_an_equal_one_neither() -> None:
    trials = [tried(0, "good", [0.5, 0.5, 0.5]), tried(1, "poor", None), tried(2, "poor", [0.5, 0.5, 0.5])]
    assert entries(trials) == {0: True, 1: False, 2: False}


def test_every_method_gets_its_start_and_then_the_better_one_most_but_not_all() -> None:
    """Trials of one method enter with probability 0.8, those of the other never."""
    draw, trials = random.Random(0), list[FrozenTrial]()
    for number in range(100):
        method = method_by_front(METHODS, trials, seed=number, startup=3)
        level = number / 100 if method == "good" and draw.random() < 0.8 else 0.0
        trials.append(tried(number, method, [level, level, level]))
    chosen = [str(found.params["method"]) for found in trials]
    assert Counter(chosen[:6]) == {"good": 3, "poor": 3}
    assert 75 <= chosen.count("good") <= 90
    assert method_by_front(METHODS, trials, seed=7, startup=3) == method_by_front(METHODS, trials, seed=7, startup=3)


def test_free_allocation_spends_trials_where_the_front_moves(tmp_path: Path) -> None:
    """`poor` is at 0 wherever it is tried; `good` grows with its parameter. Through the broker and its journal."""
    spaces = [MethodSpace(method=name, params={"x": Uniform(0.0, 1.0)}) for name in METHODS]
    plan = SearchPlan(sampler="tpe", allocation="free", trials=30, seed=1, startup_trials=6)
    broker = StudyBroker(tmp_path / "journal", spaces, plan, identity={})
    chosen = []
    while (asked := broker.ask()) is not None:
        chosen.append(asked.method)
        level = float(asked.params["x"]) if asked.method == "good" else 0.0
        values = {"ue": level, "ut": level, "rob": level}
        broker.settle(trial(asked.number, key=asked.key, method=asked.method, params=asked.params, **values))
    assert chosen[:6] == ["good", "poor"] * 3
    assert chosen.count("good") > 18
