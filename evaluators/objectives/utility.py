"""Utility retention (UT): what is left of the original's values above chance on the utility splits."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from unlearn_sweep.evaluators.aggregate import Bootstrap, Matched, Values, match_rows, mean_of, spread
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS, metric_card
from unlearn_sweep.evaluators.model_utility import model_utility, resampled_utility
from unlearn_sweep.evaluators.normalise import normalise_utility
from unlearn_sweep.evaluators.objectives.parts import Drawn, check_metrics, clipped, nothing_left
from unlearn_sweep.evaluators.scores import FORGET_SPLIT, Normalised, Objective
from unlearn_sweep.evaluators.split_statistic import HOLDOUT

ALL_UTILITY = "utility"
"""What stands in a part's `split` where a metric is one number over all utility splits."""

TASK_SPLITS = "task:"
"""How the splits of lm-evaluation-harness's tasks begin."""


def utility_retention(
    unlearned: pd.DataFrame,
    original: pd.DataFrame,
    metrics: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    groups: frozenset[str] | None = None,
    beside: frozenset[str] = frozenset(),
    means: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Objective:
    """UT of `retention`, without its bootstrap draws."""
    return retention(unlearned, original, metrics, splits=splits, groups=groups, beside=beside, means=means, seed=seed)[
        0
    ]


def retention(
    unlearned: pd.DataFrame,
    original: pd.DataFrame,
    metrics: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    groups: frozenset[str] | None = None,
    beside: frozenset[str] = frozenset(),
    means: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Drawn[Objective]:
    """UT and its bootstrap draws: mean over utility splits and metrics of what is left of the original above chance.

    `means` names groups of splits: UT is then the mean over groups of the mean over the parts of a group, and a split
    in no group is reported and not counted.

    `splits`: all but "forget" and "holdout" where None. A metric over whole splits (`model_utility`) is one part.
    `groups` limits the facts; splits `beside` are reported and not counted. A part whose original is at chance is left
    out and says so; None where none is left.
    Raises ValueError for an unknown metric, one that does not serve UT, or one a table does not have.
    """
    check_metrics(metrics, "ut")
    chosen = _utility_splits(original) if splits is None else list(splits)
    tables = {"unlearned": unlearned, "original": original}
    scored: list[Drawn[Normalised]] = []
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
    left_out = {table: count for table, count in dropped.items() if count}
    return _utility_objective(scored, rows, left_out) if not means else _mean_of_means(scored, means, rows, left_out)


def _of_split(metrics: Sequence[str], split: str) -> list[str]:
    """The metrics that can have a value there: of a task the task's own, of a benchmark's split all others."""
    is_task = split.startswith(TASK_SPLITS)
    return [name for name in metrics if name not in COMPONENTS and ("task" in METRICS[name].kinds) == is_task]


def _uncounted(part: Normalised) -> Drawn[Normalised]:
    reason = "measured beside UT, as the sweep file says (counts: false)"
    return part.model_copy(update={"score": None, "reason": reason}), np.empty(0)


def _utility_objective(scored: Sequence[Drawn[Normalised]], rows: int, dropped: dict[str, int]) -> Drawn[Objective]:
    parts = tuple(part for part, _ in scored)
    by_split: dict[str, list[float]] = {}
    for part in parts:
        if part.score is not None:
            by_split.setdefault(part.split, []).append(part.score)
    scores = [score for inside in by_split.values() for score in inside]
    if not scores:
        reason = nothing_left(parts, rows)
        return Objective(value=None, parts=parts, reason=reason, rows=rows, dropped=dropped), np.empty(0)
    draws = np.mean([draws for part, draws in scored if part.score is not None], axis=0)
    objective = Objective(
        value=sum(scores) / len(scores),
        standard_error=spread(draws),
        parts=parts,
        groups={split: sum(inside) / len(inside) for split, inside in by_split.items()},
        rows=rows,
        dropped=dropped,
    )
    return objective, draws


def _mean_of_means(
    scored: Sequence[Drawn[Normalised]], means: Mapping[str, Sequence[str]], rows: int, dropped: dict[str, int]
) -> Drawn[Objective]:
    """UT as a mean over groups of splits; a group without any score is left out, and its parts say why."""
    group_of = {split: name for name, splits in means.items() for split in splits}
    kept = [drawn if drawn[0].split in group_of else _ungrouped(drawn[0]) for drawn in scored]
    parts = tuple(part for part, _ in kept)
    members: dict[str, list[tuple[float, Values]]] = {}
    for part, draws in kept:
        if part.score is not None:
            members.setdefault(group_of[part.split], []).append((part.score, draws))
    if not members:
        reason = nothing_left(parts, rows)
        return Objective(value=None, parts=parts, reason=reason, rows=rows, dropped=dropped), np.empty(0)
    found = {name: sum(score for score, _ in inside) / len(inside) for name, inside in members.items()}
    draws = np.mean([np.mean([drawn for _, drawn in inside], axis=0) for inside in members.values()], axis=0)
    objective = Objective(
        value=sum(found.values()) / len(found),
        standard_error=spread(draws),
        parts=parts,
        groups=found,
        rows=rows,
        dropped=dropped,
    )
    return objective, draws


def _ungrouped(part: Normalised) -> Drawn[Normalised]:
    reason = part.reason or "measured beside UT: in no group of evaluators.ut_groups"
    return part.model_copy(update={"score": None, "reason": reason}), np.empty(0)


def _utility_part(matched: Matched, bootstrap: Bootstrap, metric: str, split: str) -> Drawn[Normalised]:
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


def _model_utility_part(matched: Matched, splits: Sequence[str], seed: int) -> Drawn[Normalised]:
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
) -> Drawn[Normalised]:
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
    return part, clipped(share)


def _utility_splits(table: pd.DataFrame) -> list[str]:
    return [str(split) for split in table["split"].unique() if split not in (FORGET_SPLIT, HOLDOUT)]


def _seed_of(seed: int, split: str) -> int:
    """Facts of different splits have nothing in common, so their draws must not either."""
    return zlib.crc32(f"{seed}:{split}".encode())
