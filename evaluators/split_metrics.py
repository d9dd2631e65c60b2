"""Metrics of forgetting that are one number over whole splits: of three models at once, with their bootstrap draws.

A row metric's mean is enough for most of what is measured; these need all rows together (a distance between two
distributions, an area under a curve), rows of texts that no model saw, or every wording of a fact.

Some of them compare a model with gold, and gold compared with itself is perfect without any spread: no model that has
truly forgotten gets there. So each also gives what a second gold model would get, by drawing gold's rows twice.
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
from unlearn_sweep.evaluators.part_metrics import PART_METRICS, WIDER
from unlearn_sweep.evaluators.split_statistic import (
    FORGET,
    HOLDOUT,
    MODELS,
    ByModel,
    NoValueError,
    Statistic,
    forget_rows,
    known_rows,
    texts_of,
)

TWIN_SEED = 1_000_003
"""Added to a seed: the draws of a second gold model have nothing in common with the first one's."""

TEST_LEVEL = 0.05
"""p-value above which the test does not tell a model from gold (TOFU); a second gold is below it one time in twenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitValues:
    """One metric of the three models: values, and bootstrap draws; `possible` is False with nothing to resample.

    `facts`: how many facts the forget rows ask for.

    `twin` [draws] is the metric of a second gold model, whose rows are drawn apart from gold's. `self_compared`: the
    metric compares with gold, so gold's own value is perfect by construction and says nothing of a second gold's.
    """

    values: Mapping[str, float]
    draws: Mapping[str, Values]
    possible: bool
    facts: int
    twin: Values
    self_compared: bool

    def gold_anchor(self, *, two_sided: bool) -> tuple[float, Values, float]:
        """What stands for gold: its value, its draws, and how far from it a second gold lies (0 if not two-sided).

        One-sided and compared with itself, gold's value is what a second gold gets in the median.
        """
        gold, draws = self.values["gold"], self.draws["gold"]
        if two_sided:
            return gold, draws, float(np.nanmedian(np.abs(self.twin - draws)))
        if self.self_compared:
            gold = float(np.nanmedian(self.twin))
            draws = np.full_like(draws, gold)
        return gold, draws, 0.0


def split_values(
    metric: str, tables: Mapping[str, pd.DataFrame], *, groups: frozenset[str] | None, seed: int
) -> SplitValues:
    """A metric of `SPLIT_METRICS` for the tables "unlearned", "original" and "gold".

    Raises:
        NoValueError: no rows to compute it from.
    """
    matched = match_rows(tables, splits=None if metric in WIDER else [FORGET, HOLDOUT], groups=groups)
    if not len(matched):
        raise NoValueError("no rows in common")
    bootstrap = Bootstrap.of(matched.clusters, seed=seed)
    second = Bootstrap.of(matched.clusters, seed=seed + TWIN_SEED)
    statistic = SPLIT_METRICS[metric](matched)
    exact = statistic.of(np.ones((1, len(matched))))
    values = {model: float(exact[model][0]) for model in MODELS}
    broken = sorted(model for model, value in values.items() if np.isnan(value))
    if broken:
        raise NoValueError(f"{metric} is not defined for {', '.join(broken)}")
    weights = bootstrap.weights[:, matched.clusters]
    return SplitValues(
        values=values,
        draws=statistic.of(weights),
        possible=bootstrap.possible,
        facts=len(np.unique(matched.clusters[matched.splits(MODELS[0]) == FORGET])),
        twin=statistic.twin(weights, second.weights[:, matched.clusters]),
        self_compared=statistic.self_compared,
    )


def _forget_quality(matched: Matched) -> Statistic:
    rows = forget_rows(matched, "log_truth_ratio")
    ratios = {model: matched.column(model, "log_truth_ratio")[rows] for model in MODELS}
    gold = ratios["gold"]
    return Statistic(
        of=lambda weights: {model: 1.0 - ks_distance(found, gold, weights[:, rows]) for model, found in ratios.items()},
        twin=lambda ours, theirs: 1.0 - ks_distance(gold, gold, ours[:, rows], theirs[:, rows]),
        self_compared=True,
    )


def _forget_quality_p(matched: Matched) -> Statistic:
    rows = forget_rows(matched, "log_truth_ratio")
    ratios = {model: matched.column(model, "log_truth_ratio")[rows] for model in MODELS}
    gold, count = ratios["gold"], int(rows.sum())

    def statistic(weights: Values) -> ByModel:
        if len(weights) == 1:  # the sample itself: the exact test
            return {model: np.array([ks_p_value(found, gold)]) for model, found in ratios.items()}
        distances = {model: ks_distance(found, gold, weights[:, rows]) for model, found in ratios.items()}
        return {model: drawn_p_values(found, count) for model, found in distances.items()}

    def twin(ours: Values, theirs: Values) -> Values:
        """Any p-value is as likely as another for a second gold: all above the test's level are as good as gold's."""
        return np.full(len(ours), TEST_LEVEL)

    return Statistic(of=statistic, twin=twin, self_compared=True)


def _auc(column: str, *, relative: bool = False) -> Callable[[Matched], Statistic]:
    """Area under the curve of a row metric; `relative` takes the gold model's own value of each row off it first."""

    def make(matched: Matched) -> Statistic:
        members, strangers = _members_and_strangers(matched, column)
        base = matched.column("gold", column) if relative else 0.0
        scores = {model: matched.column(model, column) - base for model in MODELS}

        def area(found: Values, weights: Values) -> Values:
            return area_under_curve(found[members], found[strangers], weights[:, members], weights[:, strangers])

        def chance(ours: Values, theirs: Values) -> Values:
            """A second gold's losses less gold's are noise, whatever its size: each draw has noise of its own."""
            noise = np.random.default_rng(TWIN_SEED).random((len(theirs), theirs.shape[1]))
            return np.concatenate([area(row, np.ones((1, len(row)))) for row in noise])

        return Statistic(
            of=lambda weights: {model: area(found, weights) for model, found in scores.items()},
            twin=chance if relative else lambda ours, theirs: area(scores["gold"], theirs),
            self_compared=relative,
        )

    return make


def _privleak(matched: Matched) -> Statistic:
    curves = _auc("mia_min_k")(matched)

    def statistic(weights: Values) -> ByModel:
        areas = curves.of(weights)
        return {model: privleak(areas[model], areas["gold"]) for model in MODELS}

    def twin(ours: Values, theirs: Values) -> Values:
        return privleak(curves.twin(ours, theirs), curves.of(ours)["gold"])

    return Statistic(of=statistic, twin=twin, self_compared=True)


def _any_form(column: str, keep: Callable[[NDArray[np.object_]], NDArray[np.bool_]]) -> Callable[[Matched], Statistic]:
    """Share of facts that a model still gives away in any of the kept forms: the worst case over wordings."""

    def make(matched: Matched) -> Statistic:
        rows = forget_rows(matched, column) & keep(texts_of(matched, "form"))
        if not rows.any():
            raise NoValueError(f"no forget row in such a form has a value of {column} for all three models")
        facts = texts_of(matched, "fact_id")
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

        return Statistic(of=statistic, twin=lambda ours, theirs: statistic(theirs)["gold"])

    return make


def _members_and_strangers(matched: Matched, column: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Forget rows and held-out rows of the same kind."""
    kinds, known = texts_of(matched, "kind"), known_rows(matched, column)
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
    "mia_zlib_ou_auc": _auc("mia_zlib_ou"),
    "mia_min_k_ou_auc": _auc("mia_min_k_ou"),
    "mia_min_k_plus_plus_ou_auc": _auc("mia_min_k_plus_plus_ou"),
    "mia_gradnorm_ou_auc": _auc("mia_gradnorm_ou"),
    "mia_reference_auc": _auc("mia_loss", relative=True),
    "privleak": _privleak,
    "contained_worst": _any_form("answer_contained", lambda forms: forms != ""),
    "judge_worst_paraphrase": _any_form("judge_accuracy", lambda forms: forms != "in_context"),
    "judge_worst_context": _any_form("judge_accuracy", lambda forms: forms == "in_context"),
    "judge_worst": _any_form("judge_accuracy", lambda forms: forms != ""),
    **PART_METRICS,
}
"""Each metric of the catalog that is one number over whole splits, but `model_utility`, which serves utility."""
