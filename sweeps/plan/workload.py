"""How much there is to compute: rows, tokens and steps of each stage. Counted from the benchmark; no model library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import (
    Choice,
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Uniform,
)
from unlearn_sweep.engine.training.settings import DEFAULT_EPOCHS
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.cards import GENERATED
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.rows import Row

CHARACTERS_PER_TOKEN = 4.0
"""Of English text under the usual tokenizers, and of the built-in benchmark under its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of a benchmark as a sweep uses it. Tokens are estimates from characters.

    One evaluation reads each prompt once and `answers_per_row` answers behind it (wrong and paraphrased ones among
    them, where a metric needs them); `new_tokens` are generated a row at most.
    """

    forget_rows: int
    retain_rows: int
    tokens_per_row: float
    evaluation_rows: int
    prompt_tokens: float
    answer_tokens: float
    answers_per_row: float
    new_tokens: int


def workload_of(benchmark: Benchmark, metrics: Sequence[str]) -> Workload:
    """The sizes behind a benchmark and the metrics asked of it."""
    evaluated = [row for rows in benchmark.evaluation.values() for row in rows]
    trained = [*benchmark.train.get("forget", ()), *benchmark.train.get("retain", ())]
    needs = {METRICS[name].needs for name in row_metrics(metrics)}
    others = sum(len(row.perturbed_answers) + (row.paraphrased_answer is not None) for row in evaluated)
    answers = 1.0 + (others / len(evaluated) if "alternatives" in needs and evaluated else 0.0)
    prompt, answer = tokens_of(evaluated, benchmark)
    return Workload(
        forget_rows=len(benchmark.train.get("forget", ())),
        retain_rows=len(benchmark.train.get("retain", ())),
        tokens_per_row=sum(tokens_of(trained, benchmark)),
        evaluation_rows=len(evaluated),
        prompt_tokens=prompt,
        answer_tokens=answer,
        answers_per_row=answers,
        new_tokens=benchmark.max_new_tokens if needs & GENERATED else 0,
    )


def tokens_of(rows: Sequence[Row], benchmark: Benchmark) -> tuple[float, float]:
    """Mean tokens of a row's prompt, and of its answer with end-of-text."""
    if not rows:
        return 0.0, 0.0
    prompts = sum(len(benchmark.template.prompt(row.question)) for row in rows) / len(rows)
    answers = sum(len(benchmark.template.answer_lead) + len(row.answer) for row in rows) / len(rows)
    return prompts / CHARACTERS_PER_TOKEN, answers / CHARACTERS_PER_TOKEN + 1


def unlearn_steps(job: SweepJob, space: MethodSpace, work: Workload) -> float:
    """Optimizer steps of a typical trial of one method."""
    if job.training.max_steps is not None:
        return float(job.training.max_steps)
    epochs = space.params.get("epochs")
    passes = typical(epochs) if epochs is not None else job.training.epochs or DEFAULT_EPOCHS
    return max(1.0, passes * math.ceil(work.forget_rows / job.training.global_batch_size))


def finetune_tokens(recipe: Mapping[str, Any], rows: int, work: Workload) -> tuple[float, float]:
    """Steps and tokens of training an original or gold model on `rows` rows, by a whole recipe."""
    epochs, batch = float(recipe["epochs"]), int(recipe["batch_size"])
    return epochs * math.ceil(rows / batch), epochs * rows * work.tokens_per_row


def typical(dimension: Dimension) -> float:
    """The mean value a dimension gives when it is drawn at random."""
    match dimension:
        case Fixed(value=value):
            return float(value)
        case Choice(values=values):
            return sum(float(value) for value in values) / len(values)
        case Uniform(low=low, high=high) | Integer(low=low, high=high):
            return (low + high) / 2
        case LogUniform(low=low, high=high) | LogInteger(low=low, high=high):
            return (high - low) / math.log(high / low) if high > low else float(low)
    raise TypeError(f"no such dimension {dimension!r}")
