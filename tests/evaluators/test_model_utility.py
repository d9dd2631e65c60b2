"""Model utility. Oracle: scipy's harmonic mean of the nine numbers of TOFU's formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hmean

from tests.evaluators.tables import table
from unlearn_sweep.evaluators.aggregate import Bootstrap, match_rows
from unlearn_sweep.evaluators.model_utility import model_utility, resampled_utility

SPLITS = ("retain", "real_authors", "world_facts")


def utility_table(seed: int, rows: int = 12) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    parts = []
    for split in SPLITS:
        columns = {name: draw.uniform(0.1, 1.0, rows) for name in ("probability", "normalised_probability", "rouge")}
        columns["log_truth_ratio"] = draw.normal(-1.0, 0.7, rows)
        parts.append(table({name: list(values) for name, values in columns.items()}, split=split, prefix=split))
    return pd.concat(parts, ignore_index=True)


def by_formula(rows: pd.DataFrame) -> float:
    """Nine means and their harmonic mean, straight from the paper."""
    values = []
    for split in SPLITS:
        part = rows[rows["split"] == split]
        values.append(part["probability" if split == "retain" else "normalised_probability"].mean())
        values.append(part["rouge"].mean())
        values.append(np.maximum(0, 1 - np.exp(part["log_truth_ratio"])).mean())
    return float(hmean(values))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_harmonic_mean_of_nine(seed: int) -> None:
    rows = utility_table(seed)
    found = model_utility(match_rows({"t": rows}), "t", SPLITS)
    assert found.value == pytest.approx(by_formula(rows))
    assert len(found.parts) == 9
    assert found.reason is None


def test_one_component_at_0_takes_it_to_0() -> None:
    rows = utility_table(0)
    rows.loc[rows["split"] == "world_facts", "rouge"] = 0.0
    assert model_utility(match_rows({"t": rows}), "t", SPLITS).value == 0.0


def test_a_missing_component_is_a_reason_and_no_number() -> None:
    rows = utility_table(0)
    rows.loc[rows["split"] == "retain", "log_truth_ratio"] = np.nan
    found = model_utility(match_rows({"t": rows}), "t", SPLITS)
    assert (found.value, found.reason) == (None, "model utility has no value for retain:truth_ratio")
    assert model_utility(match_rows({"t": rows}), "t", []).reason == "model utility has no value for any split"


def test_draws_are_its_value_on_the_drawn_rows() -> None:
    """Oracle: repeat each fact's rows as often as it was drawn, and apply the formula."""
    rows = utility_table(1)
    matched = match_rows({"t": rows})
    bootstrap = Bootstrap.of(matched.clusters, seed=0, resamples=10)
    found = resampled_utility(matched, "t", SPLITS, bootstrap)
    for weights, value in zip(bootstrap.weights, found, strict=True):
        drawn = rows.loc[np.repeat(rows.index.to_numpy(), weights.astype(int))]
        assert value == pytest.approx(by_formula(drawn))
