"""Oracle: fronts of a few trials whose best are seen by eye."""

from __future__ import annotations

import pytest

from tests.sweeps.report.written_sweep import trial
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.sweeps.report.picks import balance, pick_trials


def _at(number: int, ue: float | None, ut: float | None, rob: float | None) -> TrialRecord:
    return trial(number).model_copy(update={"ue": ue, "ut": ut, "rob": rob})


def _won(front: list[TrialRecord]) -> dict[int, list[str]]:
    return {pick.number: pick.roles for pick in pick_trials(front)}


def test_three_different_trials_win_the_three_roles() -> None:
    front = [_at(0, 0.7, 0.7, 0.7), _at(1, 0.3, 0.9, 0.8), _at(2, 0.9, 0.85, 0.1), _at(3, 1.0, 0.1, 0.9)]
    assert _won(front) == {
        0: ["best balance"],
        1: ["most robust with UT of at least 0.8"],
        2: ["strongest forgetting with UT of at least 0.8"],
    }


def test_a_trial_that_wins_twice_leaves_room_for_the_next_balance() -> None:
    front = [_at(0, 0.9, 0.9, 0.9), _at(1, 0.4, 0.95, 0.4), _at(2, 0.2, 0.99, 0.2), _at(3, 0.1, 1.0, 0.1)]
    won = _won(front)
    assert list(won) == [0, 1, 2]
    assert won[0][0] == "best balance"
    assert len(won[0]) == 3
    assert won[1] == won[2] == ["next best balance"]


@pytest.mark.parametrize(
    ("ut", "words"),
    [(0.6, "with UT of at least 0.5"), (0.3, "(none keeps a UT of 0.5)"), (0.8, "with UT of at least 0.8")],
)
def test_the_role_says_how_much_utility_was_asked_for(ut: float, words: str) -> None:
    roles = _won([_at(0, 0.5, ut, 0.5)])[0]
    assert roles[1] == f"most robust {words}"


def test_ties_go_to_the_lower_number_and_trials_without_an_objective_are_no_candidates() -> None:
    assert next(iter(_won([_at(5, 0.5, 0.5, 0.5), _at(2, 0.5, 0.5, 0.5)]))) == 2
    assert _won([_at(0, 0.5, 0.5, None)]) == {}


def test_without_attacks_the_other_two_objectives_decide() -> None:
    front = [_at(0, 0.6, 0.9, None), _at(1, 0.9, 0.4, None)]
    assert [pick.number for pick in pick_trials(front, ["ue", "ut"])] == [0, 1]


def test_balance_is_the_harmonic_mean_and_a_zero_cannot_be_bought_off() -> None:
    assert balance([0.5, 1.0, 1.0]) == pytest.approx(3 / (2 + 1 + 1))
    assert balance([0.0, 1.0, 1.0]) == 0.0
    assert balance([None, 1.0]) == 0.0
