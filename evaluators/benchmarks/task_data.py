"""Data of the tasks that out-of-domain training reads: GSM8K, SST-2, MNLI, or any file of questions and answers.

Sources: GSM8K (Cobbe et al., arXiv 2110.14168), SST-2 (Socher et al., 2013) and MNLI (Williams et al., 2018) as the
Full-Stack evaluation (arXiv 2510.07626) trains on them: their train splits, unlabelled rows left out. Each comes from
the hub or from a local file with the same columns; a wrong column is told by file, row and column.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from unlearn_sweep.evaluators.benchmarks.tables import ENDINGS, check_rows, read_table
from unlearn_sweep.evaluators.benchmarks.task_settings import KNOWN, TaskDataSettings
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.user_error import UserError

UNLABELLED = -1
TASK_VIEW = "task:"
"""What stands before a task's data where a training view is named: task:gsm8k."""
Filled = Annotated[str, Field(min_length=1)]


class TaskDataError(UserError):
    """The data of a task cannot be read or leave nothing to train on; the message says why and what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)


def _label(*names: str) -> Any:
    """A class as its number (-1: unlabelled) or its name; numbers may be text, as CSV files have them."""

    def number(value: Any) -> Any:
        if isinstance(value, str) and value.strip().lower() in names:
            return names.index(value.strip().lower())
        return int(value) if isinstance(value, str) and value.strip().lstrip("-").isdigit() else value

    return Annotated[int, Field(ge=UNLABELLED, lt=len(names), strict=True), BeforeValidator(number)]


SENTIMENTS = ("negative", "positive")
RELATIONS = ("entailment", "neutral", "contradiction")


class SentimentRecord(_Record):
    """A row of SST-2: 0 is negative, 1 positive."""

    sentence: Filled
    label: _label(*SENTIMENTS)  # type: ignore[valid-type]


class InferenceRecord(_Record):
    """A row of MNLI: 0 is entailment, 1 neutral, 2 contradiction."""

    premise: Filled
    hypothesis: Filled
    label: _label(*RELATIONS)  # type: ignore[valid-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task: its rows' columns, its question and answer from a row (None: unlabelled), and where it is on the hub.

    `classes` are the possible answers, empty where answers are free text.
    """

    record: type[BaseModel]
    ask: Callable[[Any], tuple[str, str] | None]
    classes: tuple[str, ...] = ()
    hub: tuple[str, str | None] | None = None


def _sentiment(record: SentimentRecord) -> tuple[str, str] | None:
    question = f"Is this sentence positive or negative? Answer with one word. {record.sentence.strip()}"
    return None if record.label == UNLABELLED else (question, SENTIMENTS[record.label])


def _inference(record: InferenceRecord) -> tuple[str, str] | None:
    question = (
        f"Premise: {record.premise.strip()} Hypothesis: {record.hypothesis.strip()} Is the hypothesis an entailment of "
        "the premise, neutral to it, or a contradiction? Answer with one word."
    )
    return None if record.label == UNLABELLED else (question, RELATIONS[record.label])


def task_of(params: TaskDataSettings) -> Task:
    """The task of this data, from `task` or from the data's name; questions with free answers where neither says."""
    match params.named_task:
        case "sst2":
            return Task(record=SentimentRecord, ask=_sentiment, classes=SENTIMENTS, hub=("stanfordnlp/sst2", None))
        case "mnli":
            return Task(record=InferenceRecord, ask=_inference, classes=RELATIONS, hub=("nyu-mll/multi_nli", None))
        case _:
            columns = {
                "question": (Filled, Field(alias=params.question_column)),
                "answer": (Filled, Field(alias=params.answer_column)),
            }
            record = create_model("QuestionRecord", __base__=_Record, **columns)  # type: ignore[call-overload]
            hub = ("openai/gsm8k", "main") if params.data == "gsm8k" else None
            return Task(record=record, ask=lambda row: (row.question, row.answer), hub=hub)


def task_hub(params: TaskDataSettings) -> tuple[str, str | None] | None:
    """The hub data set and configuration that a task is read from; None for a local file."""
    if params.data.endswith(ENDINGS):
        return None
    known = task_of(params).hub if params.data in KNOWN else None
    return known or (params.data, None)


def task_rows(params: TaskDataSettings, *, seed: int) -> list[Row]:
    """At most `max_rows` rows of the task in an order drawn from `seed`; the first `heldout_rows` are not trained on.

    Raises:
        TaskDataError: the data cannot be read, a row lacks a column, or nothing is left to train on.
    """
    task = task_of(params)
    try:
        records = check_rows(params.data, _drawn(params, seed), task.record)
    except ValueError as error:
        raise TaskDataError(f"task data: {error}") from error
    # Unlabelled rows fall out here; no task has more of them than labelled ones, so enough are left.
    asked = [found for found in map(task.ask, records) if found is not None][: params.max_rows]
    if len(asked) <= params.heldout_rows:
        raise TaskDataError(
            f"{params.data}: {len(asked)} rows, of which heldout_rows={params.heldout_rows} are kept apart; "
            "none is left"
        )
    return [
        Row(row_id=f"task-{i}", group_id=f"task-{i}", split="task", question=question, answer=answer)
        for i, (question, answer) in enumerate(asked)
    ]


def _drawn(params: TaskDataSettings, seed: int) -> Iterable[tuple[int, Any]]:
    """Numbered rows in an order drawn from `seed`."""
    if params.data.endswith(ENDINGS):
        rows = list(read_table(Path(params.data)))
        random.Random(seed).shuffle(rows)
        return rows
    table = _hub(params)
    order = list(range(len(table)))
    random.Random(seed).shuffle(order)
    return ((place + 1, table[place]) for place in order[: 2 * params.max_rows])


def _hub(params: TaskDataSettings) -> Sequence[Mapping[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    name, subset = task_hub(params) or (params.data, None)
    try:
        return load_dataset(name, params.subset or subset, split=params.data_split)  # type: ignore[return-value]
    except (DatasetsError, OSError, ValueError) as error:
        what = f"{params.data!r} is no file ({', '.join(ENDINGS)})"
        raise ValueError(f"{what} and could not be loaded as hub data set {name!r}: {error}") from error
