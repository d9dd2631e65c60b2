"""Lay the models' answers out side by side: one line for each question, one column for each model and attack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.answers import Answers, sampled_rows, strongest

if TYPE_CHECKING:
    import pandas as pd

TRIAL = "trial "
TEXT_SHOWN = 700
CHARS_ON_PAGE = 1_200_000


class _View(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


class AnswerState(_View):
    """What answered: a model before any attack (`attack` is "") or at the last strength of one attack."""

    model: str
    trial: int | None
    attack: str
    strength: float | None
    unit: str


class AnswerRow(_View):
    """One question. `answers` follows `AnswerSheet.states`; None where the row was not asked. Long texts are cut."""

    row_id: str
    split: str
    question: str | None
    reference: str | None
    answers: list[str | None]


class AnswerSheet(_View):
    """Answers for display. `asked` counts the rows with an answer, of which `rows` is a fixed sample."""

    states: list[AnswerState]
    rows: list[AnswerRow]
    asked: int
    problems: list[str]


def answer_sheet(answers: Answers, *, chars: int = CHARS_ON_PAGE) -> AnswerSheet:
    """Lay out a sample of rows (`sampled_rows`), fewer if the texts exceed `chars` characters in total."""
    table = strongest(answers.table)
    states = _states(table)
    chosen = sampled_rows(table)
    columns = list(zip(table["model"], table["attack"], table["split"], table["row_id"], strict=True))
    said: dict[tuple[str, ...], str] = dict(zip(columns, table["answer"].map(str), strict=True))
    rows, used = [], 0
    for split, row_id, question, reference in chosen:
        texts = [said.get((state.model, state.attack, split, row_id)) for state in states]
        row = AnswerRow(
            row_id=row_id,
            split=split,
            question=_cut(question),
            reference=_cut(reference),
            answers=[_cut(text) for text in texts],
        )
        used += sum(len(text or "") for text in (row.question, row.reference, *row.answers))
        if used > chars:
            break
        rows.append(row)
    asked = len(table.drop_duplicates(["split", "row_id"]))
    return AnswerSheet(states=states, rows=rows, asked=asked, problems=list(answers.problems))


def _states(table: pd.DataFrame) -> list[AnswerState]:
    unique = table.drop_duplicates(["model", "attack"])
    columns = (unique[name] for name in ("model", "attack", "strength", "unit"))
    return [
        AnswerState(
            model=str(model),
            trial=int(model.removeprefix(TRIAL)) if model.startswith(TRIAL) else None,
            attack=str(attack),
            strength=None if math.isnan(strength) else float(strength),
            unit=str(unit),
        )
        for model, attack, strength, unit in zip(*columns, strict=True)
    ]


def _cut(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    return text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + "\N{HORIZONTAL ELLIPSIS}"
