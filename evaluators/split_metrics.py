"""Metrics of forgetting that are one number over whole splits: of three models at once, with their bootstrap draws.

A row metric's mean is enough for most of what is measured; these need all rows together (a distance between two
distributions, an area under a curve), rows of texts that no model saw, or every wording of a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unlearn_sweep.evaluators.aggregate import Bootstrap, Matched, Values, match_rows
from unlearn_sweep.evaluators.forget_quality import drawn_p_values, ks_distance, ks_p_value
from unlearn_sweep.evaluators.membership import area_under_curve, privleak

FORGET, HOLDOUT = "forget", "holdout"
MODELS = ("unlearned", "original", "gold")
ByModel = dict[str, Values]
"""A statistic of each model, [draws]."""


class NoValueError(ValueError):
    """There is nothing to compute this metric from; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitValues:
    """One metric of the three models: values, and bootstrap draws; `possible` is False with nothing to resample."""

    values: Mapping[str, float]
    draws: Mapping[str, Values]
    possible: bool


def split_values(
    metric: str, tables: Mapping[str, pd.DataFrame], *, groups: frozenset[str] | None, seed: int
) -> SplitValues:
    """A metric of `SPLIT_METRICS` for the tables "unlearned", "original" and "gold".

    Raises:
        NoValueError: no rows to compute it from.
    """
    matched = match_rows(tables, splits=[FORGET, HOLDOUT], groups=groups)
    if not len(matched):
        raise NoValueError("no rows in common")
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    statistic = SPLIT_METRICS[metric](matched)
    exact = statistic(np.ones((1, len(matched))))
    values = {model: float(exact[model][0]) for model in MODELS}
    broken = sorted(model for model, value in values.items() if np.isnan(value))
    if broken:
        raise NoValueError(f"{metric} is not defined for {', '.join(broken)}")
    return SplitValues(
        values=values, draws=statistic(bootstrap.weights[:, matched.clusters]), possible=bootstrap.possible
    )


Statistic = Callable[[Values], ByModel]
"""From row weights [draws, rows] to a number of each model in every draw."""


def _forget_quality(matched: Matched) -> Statistic:
    rows = _forget_rows(matched, "log_truth_ratio")
    ratios = {model: matched.column(model, "log_truth_ratio")[rows] for model in MODELS}
    return lambda weights: {
        model: 1.0 - ks_distance(ratios[model], ratios["gold"], weights[:, rows]) for model in MODELS
    }


def _forget_quality_p(matched: Matched) -> Statistic:
    rows = _forget_rows(matched, "log_truth_ratio")
    ratios = {model: matched.column(model, "log_truth_ratio")[rows] for model in MODELS}

    def statistic(weights: Values) -> ByModel:
        if len(weights) == 1:  # the sample itself: the exact test
            return {model: np.array([ks_p_value(ratios[model], ratios["gold"])]) for model in MODELS}
        distances = {model: ks_distance(ratios[model], ratios["gold"], weights[:, rows]) for model in MODELS}
        return {model: drawn_p_values(found, int(rows.sum())) for model, found in distances.items()}

    return statistic


def _auc(column: str, *, relative: bool = False) -> Callable[[Matched], Statistic]:
    """Area under the curve of a row metric; `relative` takes the gold model's own value of each row off it first."""

    def make(matched: Matched) -> Statistic:
        members, strangers = _members_and_strangers(matched, column)
        base = matched.column("gold", column) if relative else 0.0
        scores = {model: matched.column(model, column) - base for model in MODELS}
        return lambda weights: {
            model: area_under_curve(found[members], found[strangers], weights[:, members], weights[:, strangers])
            for model, found in scores.items()
        }

    return make


def _privleak(matched: Matched) -> Statistic:
    curves = _auc("mia_min_k")(matched)

    def statistic(weights: Values) -> ByModel:
        areas = curves(weights)
        return {model: privleak(areas[model], areas["gold"]) for model in MODELS}

    return statistic


def _any_form(column: str, keep: Callable[[NDArray[np.object_]], NDArray[np.bool_]]) -> Callable[[Matched], Statistic]:
    """Share of facts that a model still gives away in any of the kept forms: the worst case over wordings."""

    def make(matched: Matched) -> Statistic:
        forms = matched.tables[MODELS[0]]["form"].to_numpy(dtype=object)[matched.positions[MODELS[0]]]
        rows = _forget_rows(matched, column) & keep(forms)
        if not rows.any():
            raise NoValueError(f"no forget row in such a form has a value of {column} for all three models")
        facts = matched.tables[MODELS[0]]["fact_id"].to_numpy(dtype=object)[matched.positions[MODELS[0]]]
        _, first, places = np.unique(facts[rows].astype(str), return_index=True, return_inverse=True)
        given_away = {}
        for model in MODELS:
            worst = np.zeros(len(first))
            np.maximum.at(worst, places, matched.column(model, column)[rows])
            given_away[model] = worst

        def statistic(weights: Values) -> ByModel:
            own = weights[:, rows][:, first]  # the rows of a fact are drawn together, so one stands for all
            total = own.sum(axis=1)
            return {
                model: np.divide(own @ found, total, out=np.full(len(own), np.nan), where=total > 0)
                for model, found in given_away.items()
            }

        return statistic

    return make


def _forget_rows(matched: Matched, column: str) -> NDArray[np.bool_]:
    """Forget rows where all three models have a value."""
    known = np.logical_and.reduce([~np.isnan(matched.column(model, column)) for model in MODELS])
    rows = known & (matched.splits(MODELS[0]) == FORGET)
    if not rows.any():
        raise NoValueError(f"no forget row has a value of {column} for all three models")
    return rows


def _members_and_strangers(matched: Matched, column: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Forget rows and held-out rows of the same kind."""
    table = matched.tables[MODELS[0]]
    kinds = table["kind"].to_numpy(dtype=object)[matched.positions[MODELS[0]]]
    known = np.logical_and.reduce([~np.isnan(matched.column(model, column)) for model in MODELS])
    strangers = known & (matched.splits(MODELS[0]) == HOLDOUT)
    if not strangers.any():
        raise NoValueError("no rows of split holdout were measured: texts that no model saw are needed")
    members = known & (matched.splits(MODELS[0]) == FORGET) & np.isin(kinds, np.unique(kinds[strangers].astype(str)))
    if not members.any():
        raise NoValueError("no forget row is of the kind of the held-out rows")
    return members, strangers


SPLIT_METRICS: Mapping[str, Callable[[Matched], Statistic]] = {
    "forget_quality": _forget_quality,
    "forget_quality_p": _forget_quality_p,
    "mia_loss_auc": _auc("mia_loss"),
    "mia_zlib_auc": _auc("mia_zlib"),
    "mia_min_k_auc": _auc("mia_min_k"),
    "mia_min_k_plus_plus_auc": _auc("mia_min_k_plus_plus"),
    "mia_gradnorm_auc": _auc("mia_gradnorm"),
    "mia_reference_auc": _auc("mia_loss", relative=True),
    "privleak": _privleak,
    "contained_worst": _any_form("answer_contained", lambda forms: forms != ""),
    "judge_worst_paraphrase": _any_form("judge_accuracy", lambda forms: forms != "in_context"),
    "judge_worst_context": _any_form("judge_accuracy", lambda forms: forms == "in_context"),
    "judge_worst": _any_form("judge_accuracy", lambda forms: forms != ""),
}
"""Each metric of the catalog that is one number over whole splits, but `model_utility`, which serves utility."""
