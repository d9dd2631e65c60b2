"""UE, UT and Rob from per-row tables. All lie in [0, 1], higher is better.

Anchors come from the original and the gold model, measured on the same rows: the original has UE 0 and UT 1, the gold
model UE 1. A number that cannot be had is None with a reason that names the figures; nothing here is ever NaN.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

import numpy as np
import pandas as pd

from unlearn_sweep.evaluators.aggregate import (
    Bootstrap,
    Matched,
    Values,
    harmonic_mean,
    lifted,
    match_rows,
    mean_of,
    spread,
)
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS, metric_card
from unlearn_sweep.evaluators.model_utility import model_utility, resampled_utility
from unlearn_sweep.evaluators.normalise import normalise_forgetting, normalise_utility
from unlearn_sweep.evaluators.scores import AttackPoint, AttackScore, AttackTables, Normalised, Objective, Robustness
from unlearn_sweep.evaluators.split_metrics import HOLDOUT, SPLIT_METRICS, NoValueError, split_values

FORGET_SPLIT = "forget"
ALL_UTILITY = "utility"
"""What stands in a part's `split` where a metric is one number over all utility splits."""

TASK_SPLITS = "task:"
"""How the splits of lm-evaluation-harness's tasks begin."""

Drawn = tuple[Normalised, Values]
"""A part and its score in every bootstrap draw (empty where it has no score)."""

Scored = tuple[Normalised, Values, float]
"""The same, and the noise of its score where it is one number over whole splits: 0 for the mean of a row metric."""


# --- unlearning effectiveness -----------------------------------------------------------------------------------------


def unlearning_effectiveness(
    unlearned: pd.DataFrame,
    original: pd.DataFrame,
    gold: pd.DataFrame,
    metrics: Sequence[str],
    *,
    groups: frozenset[str] | None = None,
    seed: int = 0,
) -> Objective:
    """UE: harmonic mean over metric groups of the mean normalised score inside a group, on rows of split "forget".

    A harmonic mean takes the worst group's word, so a metric over whole splits may not say more than its rows can: its
    group counts as no less than its noise (`lifted`), and `groups` holds what each counted as.
    Each metric is taken on rows where all three models have a value; `groups` limits the facts (search or report half).
    A metric whose anchors are too close is left out and its part says so; None where none is left.
    Raises ValueError for an unknown metric, one that does not serve UE, or one a table does not have.
    """
    return _effectiveness({"unlearned": unlearned, "original": original, "gold": gold}, metrics, groups, seed)[0]


def _effectiveness(
    tables: Mapping[str, pd.DataFrame], metrics: Sequence[str], groups: frozenset[str] | None, seed: int
) -> tuple[Objective, Values]:
    """UE and its bootstrap draws."""
    _check_metrics(metrics, "ue")
    matched = match_rows(tables, splits=[FORGET_SPLIT], groups=groups)
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    scored = [
        _split_part(metric, tables, groups, seed)
        if metric in SPLIT_METRICS
        else _forgetting_part(matched, bootstrap, metric)
        for metric in metrics
    ]
    parts = tuple(part for part, _, _ in scored)
    members: dict[str, list[Scored]] = {}
    for part in scored:
        if part[0].score is not None:
            members.setdefault(part[0].group, []).append(part)
    if not members:
        reason = _nothing_left(parts, len(matched))
        objective = Objective(value=None, parts=parts, reason=reason, rows=len(matched), dropped=matched.dropped)
        return objective, np.empty(0)
    least = np.array([fmean(noise for _, _, noise in inside) for inside in members.values()], dtype=np.float64)
    means = np.array([[fmean(part.score or 0.0 for part, _, _ in inside)] for inside in members.values()])
    counted = dict(zip(members, lifted(means, least)[:, 0].tolist(), strict=True))
    raw = [np.mean([draws for _, draws, _ in inside], axis=0, dtype=np.float64) for inside in members.values()]
    drawn = lifted(np.stack(raw).astype(np.float64), least)
    with np.errstate(divide="ignore"):
        draws = len(drawn) / (1.0 / drawn).sum(axis=0)
    objective = Objective(
        value=harmonic_mean(list(counted.values())),
        standard_error=spread(draws),
        parts=parts,
        groups=counted,
        rows=len(matched),
        dropped=matched.dropped,
    )
    return objective, draws


def _forgetting_part(matched: Matched, bootstrap: Bootstrap, metric: str) -> Scored:
    """One metric between its anchors, on rows where all three models have a value."""
    card = metric_card(metric)
    columns = np.stack([matched.column(table, metric) for table in ("unlearned", "original", "gold")])
    columns[:, np.isnan(columns).any(axis=0)] = np.nan
    value, original, gold = (mean_of(column) for column in columns)
    if value is None or original is None or gold is None:
        reason = f"none of {len(matched)} rows has a value for all three models"
        return Normalised.missing(metric, FORGET_SPLIT, card.group, reason), np.empty(0), 0.0
    u, o, g = (bootstrap.means(column) for column in columns)
    gap_sd = spread(o - g) if bootstrap.possible else None
    return *_forgotten(metric, (value, original, gold), (u, o, g), gap_sd), 0.0


def _split_part(metric: str, tables: Mapping[str, pd.DataFrame], groups: frozenset[str] | None, seed: int) -> Scored:
    """One metric over whole splits between its anchors."""
    try:
        found = split_values(metric, tables, groups=groups, seed=seed)
    except NoValueError as error:
        return Normalised.missing(metric, FORGET_SPLIT, metric_card(metric).group, str(error)), np.empty(0), 0.0
    gold, g, slack = found.gold_anchor(two_sided=metric_card(metric).better_on_forget == "gold")
    u, o = found.draws["unlearned"], found.draws["original"]
    value, original = found.values["unlearned"], found.values["original"]
    gap_sd = spread(o - found.twin) if found.possible else None
    part, draws = _forgotten(metric, (value, original, gold), (u, o, g), gap_sd, slack)
    if part.score is None or gap_sd is None:
        return part, draws, 0.0
    return part, draws, gap_sd / (abs(original - gold) - slack)


def _forgotten(
    metric: str,
    values: tuple[float, float, float],
    draws: tuple[Values, Values, Values],
    gap_sd: float | None,
    slack: float = 0.0,
) -> Drawn:
    """A part from the values of the three models and their draws; `slack` as in `normalise_forgetting`."""
    card = metric_card(metric)
    value, original, gold = values
    u, o, g = draws
    score, reason = normalise_forgetting(value, original, gold, gap_sd, better=card.better_on_forget, slack=slack)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        beyond, gap = np.maximum(0.0, np.abs(u - g) - slack), np.maximum(0.0, np.abs(o - g) - slack)
        share = 1.0 - beyond / gap if card.better_on_forget == "gold" else (o - u) / (o - g)
    part = Normalised(
        metric=metric,
        split=FORGET_SPLIT,
        group=card.group,
        value=value,
        original=original,
        gold=gold,
        score=score,
        reason=reason,
    )
    return part, _clipped(share)


# --- utility retention ------------------------------------------------------------------------------------------------


def utility_retention(
    unlearned: pd.DataFrame,
    original: pd.DataFrame,
    metrics: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    groups: frozenset[str] | None = None,
    beside: frozenset[str] = frozenset(),
    seed: int = 0,
) -> Objective:
    """UT: mean over utility splits and metrics of what is left of the original's value above chance.

    `splits`: all but "forget" and "holdout" where None. A metric over whole splits (`model_utility`) is one part.
    `groups` limits the facts; splits `beside` are reported and not counted. A part whose original is at chance is left
    out and says so; None where none is left.
    Raises ValueError for an unknown metric, one that does not serve UT, or one a table does not have.
    """
    _check_metrics(metrics, "ut")
    chosen = _utility_splits(original) if splits is None else list(splits)
    tables = {"unlearned": unlearned, "original": original}
    scored: list[Drawn] = []
    rows, dropped = 0, dict.fromkeys(tables, 0)
    for split in chosen:
        matched = match_rows(tables, splits=[split], groups=groups)
        bootstrap = Bootstrap.of(matched.clusters, seed=_seed_of(seed, split))
        parts = [_utility_part(matched, bootstrap, name, split) for name in _of_split(metrics, split)]
        scored += [_uncounted(part) for part, _ in parts] if split in beside else parts
        rows += len(matched)
        dropped = {table: count + matched.dropped.get(table, 0) for table, count in dropped.items()}
    if "model_utility" in metrics:
        scored.append(_model_utility_part(match_rows(tables, splits=chosen, groups=groups), chosen, seed))
    return _utility_objective(scored, rows, {table: count for table, count in dropped.items() if count})


def _of_split(metrics: Sequence[str], split: str) -> list[str]:
    """The metrics that can have a value there: of a task the task's own, of a benchmark's split all others."""
    is_task = split.startswith(TASK_SPLITS)
    return [name for name in metrics if name not in COMPONENTS and ("task" in METRICS[name].kinds) == is_task]


def _uncounted(part: Normalised) -> Drawn:
    reason = "measured beside UT, as the sweep file says (counts: false)"
    return part.model_copy(update={"score": None, "reason": reason}), np.empty(0)


def _utility_objective(scored: Sequence[Drawn], rows: int, dropped: dict[str, int]) -> Objective:
    parts = tuple(part for part, _ in scored)
    by_split: dict[str, list[float]] = {}
    for part in parts:
        if part.score is not None:
            by_split.setdefault(part.split, []).append(part.score)
    scores = [score for inside in by_split.values() for score in inside]
    if not scores:
        return Objective(value=None, parts=parts, reason=_nothing_left(parts, rows), rows=rows, dropped=dropped)
    draws = np.mean([draws for part, draws in scored if part.score is not None], axis=0)
    return Objective(
        value=sum(scores) / len(scores),
        standard_error=spread(draws),
        parts=parts,
        groups={split: sum(inside) / len(inside) for split, inside in by_split.items()},
        rows=rows,
        dropped=dropped,
    )


def _utility_part(matched: Matched, bootstrap: Bootstrap, metric: str, split: str) -> Drawn:
    """One metric on one split, on rows where both models have a value."""
    card = metric_card(metric)
    columns = np.stack([matched.column(table, metric) for table in ("unlearned", "original")])
    columns[:, np.isnan(columns).any(axis=0)] = np.nan
    value, original = (mean_of(column) for column in columns)
    if value is None or original is None:
        reason = f"none of {len(matched)} rows has a value for both models"
        return Normalised.missing(metric, split, card.group, reason), np.empty(0)
    u, o = (bootstrap.means(column) for column in columns)
    level, drawn = card.chance, np.full_like(o, card.chance)
    if card.chance_by_row:
        chance = np.where(np.isnan(columns[0]), np.nan, matched.column("original", "chance"))
        level, drawn = float(np.nanmean(chance)), bootstrap.means(chance)
    return _retained(metric, split, (value, original, level), (u, o, drawn), bootstrap)


def _model_utility_part(matched: Matched, splits: Sequence[str], seed: int) -> Drawn:
    """TOFU's model utility over all splits together."""
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    found = [model_utility(matched, table, splits) for table in ("unlearned", "original")]
    value, original = (utility.value for utility in found)
    if value is None or original is None:
        reason = next(utility.reason for utility in found if utility.reason is not None)
        return Normalised.missing("model_utility", ALL_UTILITY, METRICS["model_utility"].group, reason), np.empty(0)
    u, o = (resampled_utility(matched, table, splits, bootstrap) for table in ("unlearned", "original"))
    chance = METRICS["model_utility"].chance
    values, draws = (value, original, chance), (u, o, np.full_like(o, chance))
    return _retained("model_utility", ALL_UTILITY, values, draws, bootstrap)


def _retained(
    metric: str,
    split: str,
    values: tuple[float, float, float],
    draws: tuple[Values, Values, Values],
    bootstrap: Bootstrap,
) -> Drawn:
    """A part from its value, the original's and chance, each with its draws."""
    card = metric_card(metric)
    value, original, chance = values
    u, o, c = draws
    score, reason = normalise_utility(value, original, chance, spread(o - c) if bootstrap.possible else None)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (u - c) / (o - c)
    part = Normalised(
        metric=metric,
        split=split,
        group=card.group,
        value=value,
        original=original,
        gold=None,
        score=score,
        reason=reason,
    )
    return part, _clipped(share)


# --- robustness -------------------------------------------------------------------------------------------------------


def attack_score(
    points: Sequence[AttackTables], metrics: Sequence[str], *, groups: frozenset[str] | None = None, seed: int = 0
) -> AttackScore:
    """What is still forgotten under an attack: UE with original and gold under the same attack at the same strength.

    `points` run from weak to strong, as the attack gave them (4 bits come after 8). `value` is the mean over strengths
    above 0 (the normalised area under the curve), `utility` that of the last point. A strength at which the attacked
    original and gold cannot be told apart is left out of it and its point says so: that depends on the controls alone,
    so it is left out for every trial. None where no strength is left.
    Raises ValueError as `unlearning_effectiveness` does.
    """
    curve: list[AttackPoint] = []
    counted: list[tuple[float, Values]] = []
    for point in points:
        tables = {"unlearned": point.unlearned, "original": point.original, "gold": point.gold}
        effect, draws = _effectiveness(tables, metrics, _both(groups, point.scored_groups), seed)
        curve.append(
            AttackPoint(
                strength=point.strength,
                unit=point.unit,
                still_forgotten=effect.value,
                utility=point.utility,
                metrics={part.metric: part.value for part in effect.parts if part.value is not None},
                notes=point.notes,
                reason=effect.reason,
            )
        )
        if effect.value is not None and point.strength > 0:
            counted.append((effect.value, draws))
    utility = curve[-1].utility if curve else None
    if not counted:
        return AttackScore(
            value=None, standard_error=None, utility=utility, curve=tuple(curve), reason=_no_strength(curve)
        )
    value = sum(value for value, _ in counted) / len(counted)
    error = spread(np.mean([draws for _, draws in counted], axis=0))
    return AttackScore(value=value, standard_error=error, utility=utility, curve=tuple(curve), reason=None)


def robustness(scores: Mapping[str, float | None], families: Mapping[str, str]) -> Robustness:
    """Rob: minimum over families of the mean score inside a family.

    `families` names every planned attack's family, `scores` holds the finished ones; a finished attack without a score
    (None) is excluded. An attack that failed or has not run yet must not be in `scores`: it is unfinished and counts as
    1, the most it can become. A family's mean then never rises when an attack finishes, excluded or not, so `value` is
    an upper bound of the final Rob. The plain mean over finished attacks would be none: it rises when a later attack
    of the family does less harm. None with a reason where all attacks are finished and none has a score.
    Raises ValueError for a score outside [0, 1] or an attack without a family.
    """
    _check_scores(scores, families)
    unfinished = tuple(attack for attack in families if attack not in scores)
    excluded = tuple(attack for attack, score in scores.items() if score is None)
    members: dict[str, list[float]] = {}
    for attack, family in families.items():
        score = scores.get(attack, 1.0)
        if score is not None:
            members.setdefault(family, []).append(score)
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
    )


# --- shared -----------------------------------------------------------------------------------------------------------


def _check_metrics(metrics: Sequence[str], objective: Literal["ue", "ut"]) -> None:
    if not metrics:
        raise ValueError(f"no metric is given for {objective.upper()}")
    for name in metrics:
        if objective not in metric_card(name).serves:
            allowed = ", ".join(card.name for card in METRICS.values() if objective in card.serves)
            raise ValueError(f"metric {name!r} does not serve {objective.upper()}; those that do: {allowed}")


def _check_scores(scores: Mapping[str, float | None], families: Mapping[str, str]) -> None:
    for attack, score in scores.items():
        if attack not in families:
            raise ValueError(f"attack {attack!r} has a score but no family; these have one: {', '.join(families)}")
        if score is not None and not 0.0 <= score <= 1.0:
            raise ValueError(f"attack {attack!r} has the score {score}, which is outside [0, 1]")


def _utility_splits(table: pd.DataFrame) -> list[str]:
    return [str(split) for split in table["split"].unique() if split not in (FORGET_SPLIT, HOLDOUT)]


def _seed_of(seed: int, split: str) -> int:
    """Facts of different splits have nothing in common, so their draws must not either."""
    return zlib.crc32(f"{seed}:{split}".encode())


def _clipped(share: Values) -> Values:
    return np.clip(np.where(np.isfinite(share), share, np.nan), 0.0, 1.0)


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _nothing_left(parts: Sequence[Normalised], rows: int) -> str:
    if not rows:
        return "no row is left: the models share none in the chosen splits and facts"
    return "; ".join(f"{part.metric} on {part.split}: {part.reason}" for part in parts)


def _no_strength(curve: Sequence[AttackPoint]) -> str:
    if not any(point.strength > 0 for point in curve):
        return "the attack has no strength above 0"
    return "; ".join(f"at {point.strength:g} {point.unit}: {point.reason}" for point in curve if point.strength > 0)
