"""Unlearning effectiveness (UE): how far the forget rows went from the original's values to the gold model's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import pandas as pd

from unlearn_sweep.evaluators.aggregate import (
    Bootstrap,
    Matched,
    Values,
    harmonic_mean,
    least_share,
    lifted,
    match_rows,
    mean_of,
    spread,
)
from unlearn_sweep.evaluators.catalog import metric_card
from unlearn_sweep.evaluators.normalise import normalise_forgetting
from unlearn_sweep.evaluators.objectives.parts import (
    Drawn,
    Weights,
    check_metrics,
    check_weights,
    clipped,
    nothing_left,
)
from unlearn_sweep.evaluators.scores import FORGET_SPLIT, Normalised, Objective
from unlearn_sweep.evaluators.split_metrics import SPLIT_METRICS, split_values
from unlearn_sweep.evaluators.split_statistic import NoValueError

Scored = tuple[Normalised, Values, float]
"""A part, its bootstrap draws, and the least that it counts as beside other groups (`least_share`)."""


def unlearning_effectiveness(
    unlearned: pd.DataFrame,
    original: pd.DataFrame,
    gold: pd.DataFrame,
    metrics: Sequence[str],
    *,
    groups: frozenset[str] | None = None,
    seed: int = 0,
    weights: Weights | None = None,
) -> Objective:
    """UE: harmonic mean over metric groups of the mean normalised score inside a group, on rows of split "forget".

    One group at 0 makes the harmonic mean 0, so a group counts as no less than what chance alone can take from it
    (`least_share`, `lifted`): nothing on many rows, where a 0 is a 0. `groups` holds what each counted as.
    Each metric is taken on rows where all three models have a value; `groups` limits the facts (search or report half).
    A metric whose anchors are too close is left out and its part says so; None where none is left.
    With `weights`, the mean inside a group is weighted by metric, and the harmonic mean by the mean weight of each
    group's metrics. A metric of weight 0 is measured and does not count.
    Raises ValueError for an unknown metric, one that does not serve UE, one a table does not have, or one without a
    weight.
    """
    tables = {"unlearned": unlearned, "original": original, "gold": gold}
    return effectiveness(tables, metrics, groups, seed, weights=weights)[0]


def effectiveness(
    tables: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    groups: frozenset[str] | None,
    seed: int = 0,
    *,
    weights: Weights | None = None,
) -> Drawn[Objective]:
    """UE and its bootstrap draws."""
    check_metrics(metrics, "ue")
    check_weights(metrics, weights)
    matched = match_rows(tables, splits=[FORGET_SPLIT], groups=groups)
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    scored = [
        _split_part(metric, tables, groups, seed)
        if metric in SPLIT_METRICS
        else _forgetting_part(matched, bootstrap, metric)
        for metric in metrics
    ]
    if weights:
        scored = [
            (part.model_copy(update={"weight": weights[part.metric]}), draws, least) for part, draws, least in scored
        ]
    parts = tuple(part for part, _, _ in scored)
    members: dict[str, list[Scored]] = {}
    for part in scored:
        if part[0].score is not None and _weight(part) > 0:
            members.setdefault(part[0].group, []).append(part)
    if not members:
        reason = nothing_left(parts, len(matched))
        objective = Objective(value=None, parts=parts, reason=reason, rows=len(matched), dropped=matched.dropped)
        return objective, np.empty(0)
    counted, drawn = _counted(members)
    shares = [fmean(_weight(part) for part in inside) for inside in members.values()]
    with np.errstate(divide="ignore"):
        draws = sum(shares) / (np.array(shares)[:, None] / drawn).sum(axis=0)
    objective = Objective(
        value=harmonic_mean(list(counted.values()), shares),
        standard_error=spread(draws),
        parts=parts,
        groups=counted,
        rows=len(matched),
        dropped=matched.dropped,
    )
    return objective, draws


def _counted(members: Mapping[str, Sequence[Scored]]) -> tuple[dict[str, float], Values]:
    """What each metric group counts as, and its bootstrap draws [groups, draws]."""
    least, means, raw = [], [], []
    for inside in members.values():
        shares = [_weight(part) for part in inside]
        least.append(np.average([floor for _, _, floor in inside], weights=shares))
        means.append([np.average([part.score for part, _, _ in inside if part.score is not None], weights=shares)])
        raw.append(np.average([draws for _, draws, _ in inside], axis=0, weights=shares))
    floors = np.array(least, dtype=np.float64)
    values = lifted(np.array(means, dtype=np.float64), floors)[:, 0].tolist()
    return dict(zip(members, values, strict=True)), lifted(np.stack(raw).astype(np.float64), floors)


def _weight(scored: Scored) -> float:
    """The weight of a part; 1 if all metrics count the same."""
    weight = scored[0].weight
    return 1.0 if weight is None else weight


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
    part, draws = _forgotten(metric, (value, original, gold), (u, o, g), gap_sd)
    if part.score is None or gap_sd is None:
        return part, draws, 0.0
    gold_sd = spread(g) if card.better_on_forget == "gold" else None
    # Two-sided, the score is the distance to gold, and both ends of that are samples.
    noise = max(gap_sd, math.sqrt(2) * (gold_sd or 0.0)) / abs(original - gold)
    facts = len(np.unique(matched.clusters[~np.isnan(columns[0])]))
    return part, draws, least_share(noise, facts)


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
    return part, draws, least_share(gap_sd / (abs(original - gold) - slack), found.facts)


def _forgotten(
    metric: str,
    values: tuple[float, float, float],
    draws: tuple[Values, Values, Values],
    gap_sd: float | None,
    slack: float = 0.0,
) -> Drawn[Normalised]:
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
    return part, clipped(share)
