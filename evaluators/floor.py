"""What stands in for a gold model that does not exist: a table in which every answer is at chance.

Nobody can train a model on all but the facts of a public benchmark, so WMDP, LKF and RWKU have no gold model. There the
lower anchor is assumed: what a model that knows nothing would score (one in the number of choices, nothing recalled).
A metric without such a value - a loss, a membership score, a distance to gold - has none on this table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from unlearn_sweep.evaluators.catalog import METRICS


def at_chance(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a measured table with each metric at its chance value where it has a value at all."""
    changed = table.copy()
    for name, card in METRICS.items():
        if name in table.columns:
            at_chance = table["chance"] if card.chance_by_row else card.chance
            changed[name] = np.where(table[name].isna(), np.nan, at_chance if card.has_floor else np.nan)
    if "log_truth_ratio" in table.columns:
        changed["log_truth_ratio"] = np.where(table["log_truth_ratio"].isna(), np.nan, 0.0)
    return changed
