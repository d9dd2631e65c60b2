"""The replay of bench/. Oracles: the table itself, and a search that skips nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unlearn_sweep.engine.study.front import REFERENCE_POINT
from unlearn_sweep.evaluators.front import hypervolume

if TYPE_CHECKING:
    import types

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture(scope="module")
def recorded() -> types.ModuleType:
    sys.path.insert(0, str(BENCH))
    try:
        import recorded_search  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(BENCH))
    return recorded_search


@pytest.fixture(scope="module")
def table(recorded: types.ModuleType) -> types.ModuleType:
    import recorded_table  # pyright: ignore[reportMissingImports]

    return recorded_table


@pytest.fixture(scope="module")
def problem(table: Any) -> Any:
    return table.read_problem(table.TABLE)


def whole(steps: Any) -> float:
    return hypervolume([point for _, point in steps if point is not None], REFERENCE_POINT)


def test_a_search_over_all_trials_has_the_hypervolume_of_the_table(recorded: Any, table: Any, problem: Any) -> None:
    known = {
        (trial.ue, trial.ut) for trials in problem.trials.values() for trial in trials if trial.state == "complete"
    }
    least = min(len(trials) for trials in problem.trials.values())
    small = table.Problem(problem.job, {method: trials[:least] for method, trials in problem.trials.items()})
    steps = recorded.replay(small, "random", recorded.VARIANTS["whole"], seed=1, trials=least * len(small.trials))
    assert len(steps) == least * len(small.trials)
    assert {point[:2] for _, point in steps if point is not None} <= known
    assert whole(steps) == pytest.approx(table.whole_volume(small))
    seconds = sum(
        trial.train_s + trial.evaluate_s + sum(trial.attack_s.values())
        for trials in small.trials.values()
        for trial in trials
    )
    assert steps[-1][0] == pytest.approx(seconds)


def test_skipped_attacks_take_no_volume_and_save_time(recorded: Any, problem: Any) -> None:
    """Random search proposes the same trials whatever is skipped, so the front must be the same after each."""
    runs = [
        recorded.replay(problem, "random", recorded.VARIANTS[variant], seed=3, trials=24)
        for variant in ("whole", "pruned")
    ]
    for count in range(1, 25):
        assert whole(runs[1][:count]) == pytest.approx(whole(runs[0][:count]))
    assert runs[1][-1][0] < runs[0][-1][0]


def test_a_training_stops_when_all_that_its_probe_led_to_is_beaten(recorded: Any) -> None:
    from search_stopping import Finished, Rung, stops_at  # pyright: ignore[reportMissingImports]

    def rungs(forget: float, retain: float) -> tuple[Any, ...]:
        return tuple(Rung(forget, retain, seconds) for seconds in (1.0, 2.0, 3.0))

    seen = [Finished(rungs(0.5, 0.8), (0.5, 0.8, 0.3)) for _ in range(10)]
    front = [(0.6, 0.85, 0.5)]
    assert stops_at(rungs(0.6, 0.7), seen, front, 1.0) == 0  # it would end at (0.4, 0.7, 0.2)
    assert stops_at(rungs(0.2, 0.7), seen, front, 1.0) is None  # at (0.8, 0.7, 0.6)
    assert stops_at(rungs(0.6, 0.7), seen[:9], front, 1.0) is None  # too few to learn from


def test_regret_of_stopping_by_hand(recorded: Any) -> None:
    """A cube of .5 is the front. What ran anyway would have added .5 * .5 * .1, and what was stopped .1 * .5 * .5."""
    from search_stopping import Regret  # pyright: ignore[reportMissingImports]

    front = [(0.5, 0.5, 0.5)]
    regret = Regret(stopped=[(0.6, 0.5, 0.5), None, (0.4, 0.4, 0.4)], anyway=[(0.5, 0.5, 0.6), None])
    assert regret.measured([*front, (0.5, 0.5, 0.6)]) == pytest.approx(0.0125)
    assert regret.true(front) == pytest.approx(0.025)
    assert Regret(stopped=[None]).measured(front) is None


def test_a_search_that_stops_runs_some_trials_anyway_and_knows_the_cost(recorded: Any, problem: Any) -> None:
    from search_stopping import Regret  # pyright: ignore[reportMissingImports]

    regret = Regret()
    steps = recorded.replay(problem, "random", recorded.VARIANTS["stopped"], seed=1, trials=60, regret=regret)
    points = [point for _, point in steps if point is not None]
    assert len(regret.stopped) > len(regret.anyway) > 0
    whole_run = recorded.replay(problem, "random", recorded.VARIANTS["whole"], seed=1, trials=60)
    assert whole(steps) + regret.true(points) == pytest.approx(whole(whole_run))


def test_weights_half_way_are_trials_that_train_nothing(recorded: Any, table: Any, problem: Any) -> None:
    """Here each training's trial half-way is another recorded trial of its method. Every second step is such a one."""
    trials = {}
    for method, own in problem.trials.items():
        others = [replace(other, train_s=0.0, export_s=0.0, on_the_way={}) for other in own[3:6]]
        trials[method] = [
            replace(one, export_s=0.25, on_the_way={0.5: other}) for one, other in zip(own[:3], others, strict=True)
        ]
    small = table.Problem(problem.job, trials)
    halfway = recorded.Variant(minimum={}, halfway=True)
    steps = recorded.replay(small, "random", halfway, seed=1, trials=3 * len(trials))
    both = [end for own in trials.values() for one in own for end in (one, one.on_the_way[0.5])]
    assert len(steps) == len(both)
    assert whole(steps) == pytest.approx(table.whole_volume(table.Problem(problem.job, {"all": both})))
    seconds = [later - earlier for (earlier, _), (later, _) in pairwise([(0.0, None), *steps])]
    own_s = sorted(one.train_s + 0.25 + one.evaluate_s + sum(one.attack_s.values()) for one in both[::2])
    assert sorted(seconds[::2]) == pytest.approx(own_s)
    way_s = sorted(other.evaluate_s + sum(other.attack_s.values()) for other in both[1::2])
    assert sorted(seconds[1::2]) == pytest.approx(way_s)


def test_published_settings_are_the_first_trial_of_each_method(recorded: Any, table: Any, problem: Any) -> None:
    """NPO is published with beta 0.1, which its range holds, and 1e-5, which is below the range of this sweep."""
    first = {one.method: one.params for one in table.published_settings(problem)}
    assert first.keys() == problem.trials.keys()
    assert first["npo"]["beta"] == 0.1
    assert first["npo"]["learning_rate"] == pytest.approx(1e-3)
