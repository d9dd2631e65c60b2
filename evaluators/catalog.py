"""Every metric the tool knows, in one table. Reading it imports no model library.

`group` is the UE group: a harmonic mean runs over groups, a plain mean inside one; it plays no part in UT. All metrics
here are per row, but those of `COMPONENTS`, which are made of others over whole splits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.judged_cards import JUDGED_CARDS
from unlearn_sweep.evaluators.metric_cards import ANSWER_CARDS, LIKELIHOOD_CARDS
from unlearn_sweep.evaluators.part_cards import PART_CARDS
from unlearn_sweep.evaluators.privacy_cards import PRIVACY_CARDS, PUBLISHED_PRIVACY_CARDS
from unlearn_sweep.evaluators.probe_parts import RWKU_METRICS
from unlearn_sweep.plugins import Catalog

METRICS = Catalog(
    "metrics",
    MetricCard,
    (*LIKELIHOOD_CARDS, *ANSWER_CARDS, *JUDGED_CARDS, *PRIVACY_CARDS, *PUBLISHED_PRIVACY_CARDS, *PART_CARDS),
)

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "model_utility": ("probability", "normalised_probability", "rouge", "truth_ratio"),
    "forget_quality": ("truth_ratio",),
    "forget_quality_p": ("truth_ratio",),
    "mia_loss_auc": ("mia_loss",),
    "mia_zlib_auc": ("mia_zlib",),
    "mia_min_k_auc": ("mia_min_k",),
    "mia_min_k_plus_plus_auc": ("mia_min_k_plus_plus",),
    "mia_gradnorm_auc": ("mia_gradnorm",),
    "mia_zlib_ou_auc": ("mia_zlib_ou",),
    "mia_min_k_ou_auc": ("mia_min_k_ou",),
    "mia_min_k_plus_plus_ou_auc": ("mia_min_k_plus_plus_ou",),
    "mia_gradnorm_ou_auc": ("mia_gradnorm_ou",),
    "mia_reference_auc": ("mia_loss",),
    "privleak": ("mia_min_k",),
    "contained_worst": ("answer_contained",),
    "judge_worst_paraphrase": ("judge_accuracy",),
    "judge_worst_context": ("judge_accuracy",),
    "judge_worst": ("judge_accuracy",),
    **dict.fromkeys(RWKU_METRICS, ("rouge_rwku",)),
    "mia_loss_rise": ("mia_loss",),
    "lume_forget_aggregate": ("regurgitation", "exact_answer"),
    "lume_task_aggregate": ("regurgitation", "exact_answer"),
}
"""Metrics that are one number over whole splits, and the per-row metrics they are made of."""

AGAINST_HOLDOUT = frozenset(name for name in COMPONENTS if name.endswith("_auc") or name == "privleak")
"""Metrics that hold forget rows against rows no model saw, split "holdout"."""


def metric_card(name: str) -> MetricCard:
    """The card of a metric.

    Raises:
        ValueError: no such metric; the message lists the names and the nearest one.
    """
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}{hint}")


def row_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The per-row metrics behind `names`, each once, in order; a metric over splits stands for its components.

    Raises:
        ValueError: an unknown name.
    """
    expanded = (part for name in names for part in COMPONENTS.get(metric_card(name).name, (name,)))
    return tuple(dict.fromkeys(expanded))


def metric_modules(names: Iterable[str]) -> tuple[str, ...]:
    """The modules of those of these metrics that come from outside; built-in ones are measured by modules of ours."""
    targets = (METRICS[name].target for name in row_metrics(names))
    return tuple(dict.fromkeys(target.partition(":")[0] for target in targets if target))


def measuring_facts(names: Iterable[str]) -> dict[str, Any]:
    """What cards decide of the rows and columns that are measured, by per-row metric. Plain JSON; no descriptions."""
    cards = [METRICS[name] for name in row_metrics(names)]
    return {card.name: [card.needs, sorted(card.kinds), card.chance_by_row] for card in cards}


def scoring_facts(names: Iterable[str]) -> dict[str, Any]:
    """What cards decide of the objectives, by metric. Plain JSON; no descriptions."""
    cards = [metric_card(name) for name in names]
    return {
        card.name: [card.group, card.range, card.better_on_forget, card.better_on_retain, card.chance, card.has_floor]
        for card in cards
    }
