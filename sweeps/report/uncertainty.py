"""Standard errors of the objectives on both halves of the rows, and which trials they cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.front_noise import counted_attacks, drawn_objective

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Half = Literal["search", "report"]
OBJECTIVES = ("ue", "ut", "rob", "report_ue", "report_ut", "report_rob")
ERRORS_APART = 2.0


def standard_errors(trial: TrialRecord) -> dict[str, float]:
    """Return the standard error of each objective that has a value and a known error, by field name.

    By bootstrap over facts. Rob of a record without draws: the error of the family that is its minimum; that of a
    family is the mean of its attacks' errors, which is its upper limit, since the attacks are measured on the same
    facts.
    """
    errors: dict[str, float] = {}
    for name in OBJECTIVES:
        detail = getattr(trial, f"{name}_detail")
        error = _rob_error(trial, name) if name.endswith("rob") else None if detail is None else detail.standard_error
        if error is not None and getattr(trial, name) is not None:
            errors[name] = error
    return errors


def chosen_half(front: Sequence[TrialRecord], objectives: Sequence[str]) -> Half:
    """Return "report" (rows the search never saw) if every front member has all objectives there, else "search"."""
    names = [f"report_{objective}" for objective in objectives]
    whole = all(getattr(trial, name) is not None for trial in front for name in names)
    return "report" if front and whole else "search"


def alike(trial: TrialRecord, others: Sequence[TrialRecord], objectives: Sequence[str], half: Half) -> list[int]:
    """Return the numbers of the other trials that cannot be told apart from `trial` on one half.

    Two trials are told apart if an objective differs by more than two standard errors of the difference. That error is
    over bootstrap draws with the same facts in both; without draws, it is as if the two were measured on separate rows.
    A trial without the value or error of an objective is not in the list.
    """
    return [
        other.number
        for other in others
        if other.number != trial.number
        and all(_within_error(trial, other, field_of(name, half)) for name in objectives)
    ]


def field_of(objective: str, half: Half) -> str:
    """Return the name of the field that holds an objective on one half."""
    return f"report_{objective}" if half == "report" else objective


def _within_error(one: TrialRecord, other: TrialRecord, name: str) -> bool:
    first, second = getattr(one, name), getattr(other, name)
    error = _error_of_difference(one, other, name)
    return (
        first is not None and second is not None and error is not None and abs(first - second) <= ERRORS_APART * error
    )


def _error_of_difference(one: TrialRecord, other: TrialRecord, name: str) -> float | None:
    first, second = _draws(one, name), _draws(other, name)
    if first is not None and second is not None and len(first) == len(second):
        return float((first - second).std(ddof=1))
    first_error, second_error = standard_errors(one).get(name), standard_errors(other).get(name)
    return None if first_error is None or second_error is None else math.hypot(first_error, second_error)


def _draws(trial: TrialRecord, name: str) -> NDArray[np.float64] | None:
    prefix = "report_" if name.startswith("report_") else ""
    return drawn_objective(trial, name.removeprefix("report_"), prefix)


def _rob_error(trial: TrialRecord, name: str) -> float | None:
    report = name.startswith("report_")
    if (draws := _draws(trial, name)) is not None and not trial.rob_is_bound:
        return float(draws.std(ddof=1))
    families: dict[str, list[tuple[float, float | None]]] = {}
    for attack in counted_attacks(trial):
        value, error = _measured(attack, report=report)
        if value is not None:
            families.setdefault(attack.family, []).append((value, error))
    if not families:
        return None
    means = {family: sum(value for value, _ in inside) / len(inside) for family, inside in families.items()}
    errors = [error for _, error in families[min(means, key=lambda family: means[family])]]
    known = [error for error in errors if error is not None]
    return sum(known) / len(known) if len(known) == len(errors) else None


def _measured(attack: AttackScore, *, report: bool) -> tuple[float | None, float | None]:
    if report:
        return attack.report_value, attack.report_standard_error
    return attack.value, attack.standard_error
