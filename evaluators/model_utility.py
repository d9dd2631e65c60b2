"""TOFU's model utility: the harmonic mean of probability, ROUGE-L recall and truth ratio over every utility split.

Source: arXiv 2401.06121, section 2.2.2, with retain, real authors and world facts as splits: nine numbers. As there,
real authors and world facts take the probability relative to the wrong answers, and the truth ratio is max(0, 1 - TR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearn_sweep.evaluators.aggregate import Bootstrap, Matched, Values, harmonic_mean, mean_of
from unlearn_sweep.evaluators.truth_ratio import truthfulness

NORMALISED_SPLITS = frozenset({"real_authors", "world_facts"})
"""Splits whose facts the base model may know: there TOFU asks whether the answer beats the wrong ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUtility:
    """`value` in [0, 1], higher is better, or the reason why there is none; `parts` by "split:metric"."""

    value: float | None
    parts: dict[str, float | None]
    reason: str | None


def model_utility(matched: Matched, table: str, splits: Sequence[str]) -> ModelUtility:
    """Model utility of one of the matched tables. None where a component has no value on a split; 0 where one is 0."""
    parts = {name: mean_of(column) for name, column in _components(matched, table, splits).items()}
    missing = [name for name, value in parts.items() if value is None]
    if missing or not parts:
        what = ", ".join(missing) if missing else "any split"
        return ModelUtility(value=None, parts=parts, reason=f"model utility has no value for {what}")
    values = [value for value in parts.values() if value is not None]
    return ModelUtility(value=harmonic_mean(values), parts=parts, reason=None)


def resampled_utility(matched: Matched, table: str, splits: Sequence[str], bootstrap: Bootstrap) -> Values:
    """Model utility in every bootstrap draw [draws]; NaN in a draw that misses a component."""
    means = np.stack([bootstrap.means(column) for column in _components(matched, table, splits).values()])
    with np.errstate(divide="ignore"):
        return len(means) / (1.0 / means).sum(axis=0)


def _components(matched: Matched, table: str, splits: Sequence[str]) -> dict[str, Values]:
    """One column [rows] a component, NaN outside its split."""
    where = matched.splits(table)
    columns: dict[str, Values] = {}
    for split in splits:
        chosen = "normalised_probability" if split in NORMALISED_SPLITS else "probability"
        columns[f"{split}:{chosen}"] = np.where(where == split, matched.column(table, chosen), np.nan)
        columns[f"{split}:rouge"] = np.where(where == split, matched.column(table, "rouge"), np.nan)
        truthful = truthfulness(matched.column(table, "log_truth_ratio"))
        columns[f"{split}:truth_ratio"] = np.where(where == split, truthful, np.nan)
    return columns
