"""Count rows, tokens and steps per stage from the benchmark, without a model library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import (
    CHECKPOINT,
    Choice,
    Dimension,
    Fixed,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Uniform,
)
from unlearn_sweep.engine.training.settings import DEFAULT_EPOCHS, TrainingSettings
from unlearn_sweep.engine.training_space import checkpoint_shares, training_values
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.cards import GENERATED
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.rows import Row, Template

CHARACTERS_PER_TOKEN = 4.0
"""Holds for English text with common tokenizers, and for the built-in benchmark with its own tokenizer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of a benchmark in a sweep. Token counts are estimated from characters.

    Attributes:
        forget_rows: Training rows of view "forget".
        retain_rows: Training rows of view "retain".
        tokens_per_row: Mean tokens of a training row, prompt and answer.
        evaluation_rows: Rows of all evaluation splits.
        prompt_tokens: Mean tokens of a prompt in evaluation.
        answer_tokens: Mean tokens of an answer in evaluation.
        answers_per_row: Mean answers scored per row, including wrong and paraphrased ones if a metric needs them.
        new_tokens: Maximum tokens generated per row; 0 if no metric generates.
        forget_judged: Rows of the evaluation split "forget".
        thinking_rows: Evaluation rows that are asked to think first, if a chat is asked at all.
        thought_tokens: Longest thought in tokens; 0 if models do not think first.
    """

    forget_rows: int
    retain_rows: int
    tokens_per_row: float
    evaluation_rows: int
    prompt_tokens: float
    answer_tokens: float
    answers_per_row: float
    new_tokens: int
    forget_judged: int = 0
    thinking_rows: int = 0
    thought_tokens: int = 0


def workload_of(benchmark: Benchmark, metrics: Sequence[str]) -> Workload:
    """Return the workload of evaluating these metrics and training on a benchmark."""
    evaluated = [row for rows in benchmark.evaluation.values() for row in rows]
    trained = [*benchmark.train.get("forget", ()), *benchmark.train.get("retain", ())]
    needs = {METRICS[name].needs for name in row_metrics(metrics)}
    others = sum(len(row.perturbed_answers) + (row.paraphrased_answer is not None) for row in evaluated)
    answers = 1.0 + (others / len(evaluated) if "alternatives" in needs and evaluated else 0.0)
    prompt, answer = tokens_of(evaluated, benchmark)

    def asked_in(row: Row) -> Template:
        return row.template or benchmark.template

    return Workload(
        forget_rows=len(benchmark.train.get("forget", ())),
        retain_rows=len(benchmark.train.get("retain", ())),
        tokens_per_row=sum(tokens_of(trained, benchmark)),
        evaluation_rows=len(evaluated),
        prompt_tokens=prompt,
        answer_tokens=answer,
        answers_per_row=answers,
        new_tokens=benchmark.max_new_tokens if needs & GENERATED else 0,
        forget_judged=len(benchmark.evaluation.get("forget", ())),
        thinking_rows=sum(template.chat or template.auto for template in map(asked_in, evaluated)),
        thought_tokens=0 if benchmark.thinking is None else benchmark.thinking.max_tokens,
    )


def tokens_of(rows: Sequence[Row], benchmark: Benchmark) -> tuple[float, float]:
    """Return the mean tokens of a prompt, and of an answer including the end-of-text token."""
    if not rows:
        return 0.0, 0.0
    prompts = sum(len(benchmark.template.prompt(row.question)) for row in rows) / len(rows)
    answers = sum(len(benchmark.template.answer_lead) + len(row.answer) for row in rows) / len(rows)
    return prompts / CHARACTERS_PER_TOKEN, answers / CHARACTERS_PER_TOKEN + 1


def unlearn_steps(job: SweepJob, space: MethodSpace, work: Workload) -> float:
    """Return the optimizer steps of a typical trial of a method."""
    training = typical_training(job, space)
    if training.max_steps is not None:
        return float(training.max_steps)
    epochs = space.params.get("epochs")
    passes = typical(epochs) if epochs is not None else training.epochs or DEFAULT_EPOCHS
    return max(1.0, passes * math.ceil(work.forget_rows / training.global_batch_size))


def typical_training(job: SweepJob, space: MethodSpace) -> TrainingSettings:
    """Return the training of a typical trial of a method: searched lengths and batches at their expected value."""
    found = training_values(space.params)
    whole = {name: round(typical(found[name])) for name in ("global_batch_size", "max_steps") if name in found}
    passes = {"epochs": typical(found["epochs"])} if "epochs" in found else {}
    return job.training.with_values({**whole, **passes})


def trainings_in(job: SweepJob, space: MethodSpace, trials: int) -> int:
    """Return how many trainings so many trials of a method are: one training is measured at all its shares."""
    if trials == 0 or CHECKPOINT not in space.params:
        return trials
    epochs = space.params.get("epochs")
    passes = {} if epochs is None else {"epochs": typical(epochs)}
    return math.ceil(trials / len(checkpoint_shares(typical_training(job, space), {CHECKPOINT: 1.0, **passes})))


def finetune_tokens(recipe: Mapping[str, Any], rows: int, work: Workload) -> tuple[float, float]:
    """Return steps and tokens of training an original or gold model on `rows` rows by a complete recipe."""
    epochs, batch = float(recipe["epochs"]), int(recipe["batch_size"])
    return epochs * math.ceil(rows / batch), epochs * rows * work.tokens_per_row


def typical(dimension: Dimension) -> float:
    """Return the expected value of a random draw from a dimension."""
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
