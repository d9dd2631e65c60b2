"""Tasks of lm-evaluation-harness asked of a model in memory: one line for each row, as for a benchmark's own rows.

The harness asks and scores; likelihoods are ours (`HarnessModel`). What is kept is each row's value, so that a task is
halved, resampled and normalised like everything else. The mean over rows is held against the harness's own number.
"""

from __future__ import annotations

import copy
import functools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from unlearn_sweep.evaluators.tasks.definitions import TaskError
from unlearn_sweep.evaluators.tasks.loading import load_task
from unlearn_sweep.evaluators.tasks.settings import METRIC, AskedTask

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_ROWS = 8
TASKS_KEPT = 8
AGREE_WITHIN = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScores:
    """Rows of all tasks, and the forward passes they took.

    `table`: row_id, group_id, fact_id, split (`task:NAME`), form, kind, answer_tokens, `lm_eval` (the task's metric),
    `chance`, and `generation` where a text was generated.
    """

    table: pd.DataFrame
    forward_passes: int


def score_tasks(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: Sequence[AskedTask]) -> TaskScores:
    """Ask every task.

    Raises:
        TaskError: a task cannot be loaded, or its number is no mean over its rows.
    """
    from unlearn_sweep.evaluators.tasks.harness_model import HarnessModel

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every model that is handed over in memory
    counter = _PassCounter()
    hook = model.register_forward_pre_hook(counter, with_kwargs=True)
    try:
        # A copy, since the harness gives a tokenizer without a padding token one. Its decorator hides the parameters.
        make: Any = HarnessModel
        asking = make(pretrained=model, tokenizer=copy.deepcopy(tokenizer), backend="causal", batch_size=BATCH_ROWS)
        rows = [row for asked in tasks for row in _task_rows(asking, asked)]
    finally:
        hook.remove()
    return TaskScores(table=_table(rows), forward_passes=counter.passes)


class _PassCounter:
    def __init__(self) -> None:
        self.passes = 0

    def __call__(self, module: Any, args: Any, kwargs: Any) -> None:
        self.passes += 1


@functools.lru_cache(maxsize=TASKS_KEPT)
def _loaded(asked: AskedTask) -> dict[str, Task]:
    return load_task(asked)


def _task_rows(asking: Any, asked: AskedTask) -> list[dict[str, Any]]:
    from lm_eval.evaluator import evaluate

    leaves = _loaded(asked)
    found: Any = evaluate(
        lm=asking,
        task_dict={"tasks": leaves},
        limit=asked.limit,
        bootstrap_iters=0,
        apply_chat_template=asked.chat,
        fewshot_as_multiturn=True,
    )
    if found is None:
        raise TaskError(f"{asked.name}: the harness gave no result")
    rows: list[dict[str, Any]] = []
    for name, task in leaves.items():
        samples = [line for line in found["samples"][name] if line["filter"] == asked.filter_name]
        if not samples:
            filters = tuple({str(line["filter"]) for line in found["samples"][name]})
            raise TaskError(f"{name} has no filter {asked.filter_name}", field="metric", allowed=filters)
        own = [_row(asked, name, task, line) for line in samples]
        _check_mean(name, own, found["results"][name].get(f"{asked.metric_name},{asked.filter_name}"))
        rows += own
    return rows


def _row(asked: AskedTask, name: str, task: Task, line: Mapping[str, Any]) -> dict[str, Any]:
    """One row. Its id holds a hash of its content: other rows under the same number are never taken for it."""
    row_id = f"task/{asked.name}/{name}/{int(line['doc_id']):05d}-{line['doc_hash'][:8]}"
    return {
        "row_id": row_id,
        "group_id": row_id,
        "fact_id": row_id,
        "split": asked.split,
        "form": "held_out",
        "kind": "task",
        "part": "",
        "request": 0,
        "answer_tokens": 0,
        METRIC: _value(name, asked, line),
        "chance": _chance(asked, task, line["doc"]),
        "generation": line["resps"][0][0] if task.OUTPUT_TYPE == "generate_until" else None,
    }


def _value(name: str, asked: AskedTask, line: Mapping[str, Any]) -> float:
    value = line[asked.metric_name]
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        message = f"{name}: {asked.metric_name} has no single value for a row: {value!r}"
        raise TaskError(message, field="metric") from error


def _chance(asked: AskedTask, task: Any, doc: Mapping[str, Any]) -> float:
    """What a model scores that finds all choices equally likely; 0 where an answer is to be written."""
    if asked.chance is not None:
        return asked.chance
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    choices = task.doc_to_choice(doc)
    if task.config.process_results is not None:  # a share of probability, as TruthfulQA's second
        return float(task.process_results(doc, [(-1.0, False)] * len(choices))[asked.metric_name])
    target = task.doc_to_target(doc)
    return (len(target) if isinstance(target, list) else 1) / len(choices)


def _check_mean(name: str, rows: Sequence[Mapping[str, Any]], own: Any) -> None:
    mean = sum(row[METRIC] for row in rows) / len(rows)
    if not isinstance(own, int | float) or not math.isclose(mean, own, abs_tol=AGREE_WITHIN):
        raise TaskError(f"{name}: the harness says {own}, and the mean over rows is {mean}: not a mean over rows")


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(list(rows))
    for column in ("row_id", "group_id", "fact_id", "split", "form", "kind", "part", "generation"):
        table[column] = table[column].astype("str" if column != "generation" else object)
    return table.drop(columns="generation") if not any(row["generation"] for row in rows) else table


def add_task_rows(table: pd.DataFrame, tasks: pd.DataFrame) -> pd.DataFrame:
    """A benchmark's rows with the tasks' behind them; what one side does not measure has no value there."""
    joined = pd.concat([table, tasks], ignore_index=True)
    for column in ("row_id", "group_id", "fact_id", "split", "form", "kind", "part"):
        joined[column] = joined[column].astype("str")
    return joined
