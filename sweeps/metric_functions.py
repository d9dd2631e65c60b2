"""Metrics as functions: of two texts, or of rows that a model of one's own is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.rows import Row

MAX_NEW_TOKENS = 64


def score_text(metric: str, reference: str, answer: str) -> float:
    """Return what a metric over answers ("rouge", "answer_match", ...) gives for one answer; its card has the range.

    Raises:
        UserError: there is no such metric, or it needs more than the two texts.
    """
    from unlearn_sweep.evaluators.catalog import metric_card
    from unlearn_sweep.evaluators.row_metrics import Measured, row_metric
    from unlearn_sweep.evaluators.rows import Row

    try:
        function, needs = row_metric(metric), metric_card(metric).needs
    except ValueError as error:
        raise UserError(str(error)) from error
    if needs != "generation":
        raise UserError(f"metric {metric!r} needs {needs}, not only two texts", advice="Use score_rows with a model.")
    row = Row(row_id="0", group_id="0", split="rows", question="", answer=reference, accepted=(reference,))
    return function(Measured(row=row, reference=reference, generation=answer))


def score_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: pd.DataFrame | Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    *,
    chat: bool | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> pd.DataFrame:
    """Ask a model rows and return one line each with the metrics' values, as a sweep measures them.

    Args:
        model: Any causal model of transformers, on its device.
        tokenizer: Its tokenizer.
        rows: Mappings or a data frame with `question` and `answer`; optional are the other fields of
            `evaluators.rows.Row`, such as `paraphrased_answer`, `perturbed_answers`, `choices` and `kind`.
        metrics: Names of `unlearn-sweep evaluators`; one over whole splits stands for the per-row ones behind it.
        chat: Ask through the chat template; None: where the tokenizer has one.
        max_new_tokens: Longest answer, for metrics that read generated text (greedy).

    Returns:
        Columns `row_id`, a column for each per-row metric, `answer_tokens`, and `generation` where text was written.
        NaN where a metric has no value for a row. Rows that do not fit the model's context are left out.

    Raises:
        UserError: an unknown metric or column, a row without question or answer, or no row at all.
    """
    from unlearn_sweep.evaluators.evaluate import evaluate_rows
    from unlearn_sweep.evaluators.rows import Template

    asked = [_row(place, dict(line)) for place, line in enumerate(_lines(rows))]
    if not asked:
        raise UserError("no row is given")
    template = Template(auto=chat is None, chat=bool(chat)).resolved(tokenizer)
    try:
        found = evaluate_rows(
            model, tokenizer, asked, metrics=metrics, template=template, max_new_tokens=max_new_tokens
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return found.table


def _lines(rows: pd.DataFrame | Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    if isinstance(rows, Sequence):
        return rows
    return [{str(key): value for key, value in line.items()} for line in rows.to_dict(orient="records")]


def _row(place: int, line: dict[str, Any]) -> Row:
    from unlearn_sweep.evaluators.rows import Row

    fields = {field.name for field in dataclasses.fields(Row)}
    unknown = [name for name in line if name not in fields]
    if unknown:
        raise UserError(f"row {place}: no field {', '.join(unknown)}; there are {', '.join(sorted(fields))}")
    for name in ("question", "answer"):
        if not isinstance(line.get(name), str):
            raise UserError(f"row {place}: {name} must be a text, got {line.get(name)!r}")
    values: dict[str, Any] = {"row_id": str(place), "group_id": str(place), "split": "rows"}
    values |= {name: tuple(value) if isinstance(value, list) else value for name, value in line.items()}
    return Row(**values)
