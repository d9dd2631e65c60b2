"""Robustness (Rob): what is still forgotten under attacks, against original and gold under the same attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unlearn_sweep.evaluators.aggregate import Values, spread
from unlearn_sweep.evaluators.objectives.forgetting import effectiveness
from unlearn_sweep.evaluators.objectives.parts import Drawn, Weights
from unlearn_sweep.evaluators.scores import AttackPoint, AttackScore, AttackTables, Robustness


def attack_score(
    points: Sequence[AttackTables],
    metrics: Sequence[str],
    *,
    groups: frozenset[str] | None = None,
    seed: int = 0,
    weights: Weights | None = None,
) -> AttackScore:
    """The score of `attacked`, without its bootstrap draws."""
    return attacked(points, metrics, groups=groups, seed=seed, weights=weights)[0]


def attacked(
    points: Sequence[AttackTables],
    metrics: Sequence[str],
    *,
    groups: frozenset[str] | None = None,
    seed: int = 0,
    weights: Weights | None = None,
) -> Drawn[AttackScore]:
    """Score and bootstrap draws of an attack: UE, with original and gold under the same attack at the same strength.

    `points` run from weak to strong, as the attack gave them (4 bits come after 8). `value` is the mean over strengths
    above 0 (the normalised area under the curve), `utility` that of the last point. A strength at which the attacked
    original and gold cannot be told apart is left out of it and its point says so: that depends on the controls alone,
    so it is left out for every trial. None where no strength is left.
    Raises ValueError as `unlearning_effectiveness` does.
    """
    curve: list[AttackPoint] = []
    counted: list[tuple[float, Values]] = []
    for point, draws in scored_states(points, metrics, groups=groups, seed=seed, weights=weights):
        curve.append(point)
        if point.still_forgotten is not None and point.strength > 0:
            counted.append((point.still_forgotten, draws))
    utility = curve[-1].utility if curve else None
    if not counted:
        return AttackScore(value=None, utility=utility, curve=tuple(curve), reason=no_strength(curve)), np.empty(0)
    value = sum(value for value, _ in counted) / len(counted)
    draws = np.mean([draws for _, draws in counted], axis=0)
    return AttackScore(value=value, standard_error=spread(draws), utility=utility, curve=tuple(curve)), draws


def scored_states(
    points: Sequence[AttackTables],
    metrics: Sequence[str],
    *,
    groups: frozenset[str] | None = None,
    seed: int = 0,
    weights: Weights | None = None,
) -> list[Drawn[AttackPoint]]:
    """Each state of an attack as a point with its UE, and the bootstrap draws of that UE. Errors as for `attacked`."""
    states: list[Drawn[AttackPoint]] = []
    for point in points:
        tables = {"unlearned": point.unlearned, "original": point.original, "gold": point.gold}
        effect, draws = effectiveness(tables, metrics, _both(groups, point.scored_groups), seed, weights=weights)
        scored = AttackPoint(
            strength=point.strength,
            unit=point.unit,
            still_forgotten=effect.value,
            utility=point.utility,
            metrics={part.metric: part.value for part in effect.parts if part.value is not None},
            notes=point.notes,
            reason=effect.reason,
        )
        states.append((scored, draws))
    return states


def robustness(
    scores: Mapping[str, float | None], families: Mapping[str, str], searched: Mapping[str, str] | None = None
) -> Robustness:
    """Rob: minimum over families of the mean score inside a family.

    `families` names every planned attack's family, `scores` holds the finished ones; a finished attack without a score
    (None) is excluded. An attack that failed or has not run yet must not be in `scores`: it is unfinished and counts as
    1, the most it can become. A family's mean then never rises when an attack finishes, excluded or not, so `value` is
    an upper bound of the final Rob. The plain mean over finished attacks would be none: it rises when a later attack
    of the family does less harm. None with a reason where all attacks are finished and none has a score.
    `searched` names, for each setting of a searched attacker, that attacker. It counts as one attack of its family,
    whose score is the lowest of its settings; that too never rises when a setting finishes.
    Raises ValueError for a score outside [0, 1] or an attack without a family.
    """
    _check_scores(scores, families)
    unfinished = tuple(attack for attack in families if attack not in scores)
    excluded = tuple(attack for attack, score in scores.items() if score is None)
    lowest: dict[str, tuple[float, str]] = {}
    for attack in families:
        score, name = scores.get(attack, 1.0), (searched or {}).get(attack, attack)
        if score is not None:
            lowest[name] = min(lowest.get(name, (2.0, "")), (score, attack), key=lambda found: found[0])
    members: dict[str, list[float]] = {}
    for score, attack in lowest.values():
        members.setdefault(families[attack], []).append(score)
    means = {family: sum(inside) / len(inside) for family, inside in members.items()}
    reason = None
    if not means:
        reason = "no attack was planned" if not families else f"no attack has a score: {', '.join(excluded)}"
    return Robustness(
        value=min(means.values()) if means else None,
        is_bound=bool(unfinished),
        families=means,
        unfinished=unfinished,
        excluded=excluded,
        reason=reason,
        worst={name: attack for name, (_, attack) in lowest.items() if name != attack and attack in scores},
    )


def _check_scores(scores: Mapping[str, float | None], families: Mapping[str, str]) -> None:
    for attack, score in scores.items():
        if attack not in families:
            raise ValueError(f"attack {attack!r} has a score but no family; these have one: {', '.join(families)}")
        if score is not None and not 0.0 <= score <= 1.0:
            raise ValueError(f"attack {attack!r} has the score {score}, which is outside [0, 1]")


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def no_strength(curve: Sequence[AttackPoint]) -> str:
    """Return why an attack has no score: no state above strength 0, or why each of these has none."""
    if not any(point.strength > 0 for point in curve):
        return "the attack has no strength above 0"
    return "; ".join(f"at {point.strength:g} {point.unit}: {point.reason}" for point in curve if point.strength > 0)
