"""Other questions for a fact, from a benchmark's own rows. No model library: plans ask whether there are any."""

from __future__ import annotations

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Row


def other_wordings(benchmark: Benchmark, row: Row) -> list[str]:
    """Other questions for the fact of `row` with the same answer: its own paraphrase first, each once."""
    related = [*benchmark.evaluation["forget"], *benchmark.train["forget"]]
    questions = [row.paraphrased_question] if row.paraphrased_question else []
    questions += [other.question for other in related if other.fact == row.fact and other.answer == row.answer]
    return [question for question in dict.fromkeys(questions) if question != row.question]
