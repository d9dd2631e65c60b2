"""Superficial forgetting: does a model still answer in other words what it no longer answers as it was asked?

GAO (Zhong et al. 2025, released code): the mean over forget facts of ROUGE-1 recall on the trained question less the
mean of ROUGE-1 recall on its other wordings. 0 where wordings make no difference, negative where other wordings bring
back more: the forgetting is superficial. Different from the release: its other wordings are six texts that the model
wrote, each of which it goes on with from its last line, or scores against itself where there is one line; here they are
questions, held against the fact's own answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.rouge import rouge_1_recall

if TYPE_CHECKING:
    import pandas as pd

TRAINED, OTHER = "trained", "held_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Superficial:
    """The value in [-1, 1], its bootstrap standard error over facts (None below two), and the number of facts."""

    value: float
    error: float | None
    facts: int


def superficial_forgetting(rows: pd.DataFrame, references: Mapping[str, str], *, seed: int = 0) -> Superficial:
    """Return it for the rows of one model, from its generations and the reference of each row by row id.

    Raises:
        ValueError: no generations, or no forget fact was asked both as trained and in other words.
    """
    import numpy as np

    from unlearn_sweep.evaluators.aggregate import Bootstrap, spread

    if "generation" not in rows.columns:
        raise ValueError("superficial forgetting needs generated answers, and no metric of the sweep generates any")
    by_fact: dict[str, dict[str, list[float]]] = {}
    asked = rows.loc[(rows["split"] == "forget") & rows["form"].isin([TRAINED, OTHER]) & rows["generation"].notna()]
    columns = (asked[name].tolist() for name in ("fact_id", "form", "row_id", "generation"))
    for fact, form, row_id, text in zip(*columns, strict=True):
        recall = rouge_1_recall(references[str(row_id)], str(text))
        if recall == recall:
            by_fact.setdefault(str(fact), {}).setdefault(str(form), []).append(recall)
    gaps = [
        sum(found[TRAINED]) / len(found[TRAINED]) - sum(found[OTHER]) / len(found[OTHER])
        for found in by_fact.values()
        if len(found) == 2
    ]
    if not gaps:
        raise ValueError("no forget fact is asked both as it was trained and in other words")
    bootstrap = Bootstrap.of(np.arange(len(gaps)), seed=seed)
    error = spread(bootstrap.means(np.array(gaps))) if bootstrap.possible else None
    return Superficial(value=sum(gaps) / len(gaps), error=error, facts=len(gaps))
