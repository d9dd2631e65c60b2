"""Warn of a model that repeats itself: a word again and again, or one answer to many questions.

Such a model has not forgotten a fact, it has lost the ability to answer; metrics of forgetting do not tell the two
apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.fluency import words
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_sweep.sweeps.report.document import Report

LEAST_MORE = 0.1
ERRORS_MORE = 2.0
TEXT_SHOWN = 40
CONTROLS = ("gold", "original")
GROUPS = {True: "forget questions", False: "other questions"}


def with_repetition(report: Report, table: pd.DataFrame) -> Report:
    """Return the report in which the cautions of the recommended trials also say how their answers repeat."""
    found = {pick.number: repetition(table, pick.number) for pick in report.picks}
    trials = [
        trial.model_copy(update={"cautions": [*trial.cautions, *found[trial.number]]})
        if found.get(trial.number)
        else trial
        for trial in report.trials
    ]
    return report.model_copy(update={"trials": trials})


def repetition(table: pd.DataFrame, trial: int) -> list[str]:
    """Return sentences without a final period on how a trial's answers repeat themselves; empty if they do not.

    `table` is that of `engine.answers.Answers`; answers before any attack count. A share of answers is remarked on if
    it exceeds that of gold and of the original by more than a tenth and more than two standard errors.
    """
    plain = table.loc[table["attack"] == ""]
    found = []
    for forget, name in GROUPS.items():
        group = plain.loc[(plain["split"] == FORGET_SPLIT) == forget]
        said = {str(model): [str(text) for text in rows["answer"]] for model, rows in group.groupby("model")}
        own = said.get(f"trial {trial}", [])
        controls = {model: said[model] for model in CONTROLS if model in said}
        if own and controls:
            found += [text for text in (_stuck(own, controls, name), _same(own, controls, name)) if text]
    return found


def repeats_a_word(text: str) -> bool:
    """Return whether a word follows itself, in any case of letters."""
    tokens = [word.casefold() for word in words(text)]
    return any(one == other and one.isalnum() for one, other in pairwise(tokens))


def _stuck(own: Sequence[str], controls: Mapping[str, Sequence[str]], name: str) -> str | None:
    stuck = [text for text in own if repeats_a_word(text)]
    others = {model: sum(map(repeats_a_word, texts)) for model, texts in controls.items()}
    if not _more(len(stuck), len(own), others, controls):
        return None
    return (
        f"answers are repetitive: to {len(stuck)} of {len(own)} {name} a word comes twice in a row "
        f"({_counts(others)}), as in {_quoted(Counter(stuck).most_common(1)[0][0])}"
    )


def _same(own: Sequence[str], controls: Mapping[str, Sequence[str]], name: str) -> str | None:
    text, count = _commonest(own)
    others = {model: _commonest(texts)[1] for model, texts in controls.items()}
    if not _more(count, len(own), others, controls):
        return None
    return f"answers are repetitive: {count} of {len(own)} {name} get the answer {_quoted(text)} ({_counts(others)})"


def _commonest(texts: Sequence[str]) -> tuple[str, int]:
    return Counter(text.strip().casefold() for text in texts).most_common(1)[0]


def _more(count: int, rows: int, others: Mapping[str, int], controls: Mapping[str, Sequence[str]]) -> bool:
    share = count / rows
    for model, other in others.items():
        against = other / len(controls[model])
        error = sqrt(share * (1 - share) / rows + against * (1 - against) / len(controls[model]))
        if share - against <= max(LEAST_MORE, ERRORS_MORE * error):
            return False
    return True


def _counts(others: Mapping[str, int]) -> str:
    return ", ".join(f"{model} {count}" for model, count in others.items())


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    if not shown:
        return "nothing"
    return f'"{shown}"' if len(shown) <= TEXT_SHOWN else f'"{shown[:TEXT_SHOWN]}\N{HORIZONTAL ELLIPSIS}"'
