"""The score of one setting of a searched attacker: the state that recovers most and still is a useful model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearn_sweep.evaluators.aggregate import spread
from unlearn_sweep.evaluators.objectives.parts import Drawn, Weights
from unlearn_sweep.evaluators.objectives.robustness import no_strength, scored_states
from unlearn_sweep.evaluators.scores import AttackPoint, AttackScore, AttackTables, Objective


def worst_kept(
    points: Sequence[AttackTables],
    metrics: Sequence[str],
    *,
    halves: tuple[frozenset[str], frozenset[str]],
    least_utility: float | None,
    untouched: tuple[Drawn[Objective], Drawn[Objective]],
    seed: int = 0,
    weights: Weights | None = None,
) -> tuple[Drawn[AttackScore], Drawn[AttackScore]]:
    """Score and draws of an attacker's setting on the search half and on the report half.

    The score is the lowest `still_forgotten` of the states above strength 0 whose utility is at least `least_utility`
    (None: no state has to keep any), or `untouched`, UE without an attack on the two halves, where that is lower: an
    attacker may always leave the model as it is, so a state that breaks the model is no defence. `reason` says where it
    is. The state is chosen on the search half and its value on the report half is that of the same state, so the second
    number has no part in the choice. A state that cannot be scored is left out, and one whose utility is unknown counts
    as not kept. Where no state can be scored whatever its utility, or none is left and UE has no value, the score is
    None with a reason.
    Raises ValueError as `forgetting.effectiveness` does.
    """
    search = scored_states(points, metrics, groups=halves[0], seed=seed, weights=weights)
    report = scored_states(points, metrics, groups=halves[1], seed=seed, weights=weights)
    curves = tuple(tuple(_marked(point, least_utility) for point, _ in found) for found in (search, report))
    utility = curves[0][-1].utility if curves[0] else None
    scored = [i for i, (point, _) in enumerate(search) if point.still_forgotten is not None and point.strength > 0]
    if not scored:
        reason = no_strength([point for point, _ in search])
        nothing = [AttackScore(value=None, utility=utility, curve=curve, reason=reason) for curve in curves]
        return (nothing[0], np.empty(0)), (nothing[1], np.empty(0))
    kept = [i for i in scored if _keeps(search[i][0], least_utility)]
    worst = min(kept, key=lambda i: search[i][0].still_forgotten or 0.0, default=None)
    alone = untouched[0][0].value
    if worst is None or (alone is not None and alone < (search[worst][0].still_forgotten or 0.0)):
        why = "no state kept the utility" if worst is None else "every state that kept the utility left more forgotten"
        reason = f"{why}: the attacker leaves the model as it is"
        left = [_untouched(found, utility, curve, reason) for found, curve in zip(untouched, curves, strict=True)]
        return left[0], left[1]
    picked = [_picked(found[worst], utility, curve) for found, curve in zip((search, report), curves, strict=True)]
    return picked[0], picked[1]


def _keeps(point: AttackPoint, least: float | None) -> bool:
    return least is None or (point.utility is not None and point.utility >= least)


def _marked(point: AttackPoint, least: float | None) -> AttackPoint:
    """Say in a point that its utility is too low to count."""
    if point.reason is not None or point.strength <= 0 or _keeps(point, least):
        return point
    kept = "unknown" if point.utility is None else f"{point.utility:.3g}"
    return point.model_copy(update={"reason": f"does not count: its utility is {kept}, below {least:.3g}"})


def _picked(state: Drawn[AttackPoint], utility: float | None, curve: tuple[AttackPoint, ...]) -> Drawn[AttackScore]:
    point, draws = state
    score = AttackScore(
        value=point.still_forgotten,
        standard_error=spread(draws) if point.still_forgotten is not None else None,
        utility=utility,
        curve=curve,
        worst_strength=point.strength,
        reason=point.reason if point.still_forgotten is None else None,
    )
    return score, draws


def _untouched(
    found: Drawn[Objective], utility: float | None, curve: tuple[AttackPoint, ...], reason: str
) -> Drawn[AttackScore]:
    objective, draws = found
    score = AttackScore(
        value=objective.value,
        standard_error=objective.standard_error,
        utility=utility,
        curve=curve,
        reason=reason if objective.value is not None else f"{reason}; UE has no value: {objective.reason}",
    )
    return score, draws
