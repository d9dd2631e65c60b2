"""Rows of TOFU's published number and mean length: what a plan computes with while the rows are on the hub.

Their texts are made up and mean nothing. Nothing is trained on them or measured by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.tofu import Kind, TofuParams, load_from


@dataclass(frozen=True, slots=True)
class Shape:
    """One file: its rows, and mean characters of a question, an answer, their paraphrases and a wrong answer."""

    rows: int
    question: float
    answer: float
    paraphrased_question: float = 0
    paraphrased_answer: float = 0
    wrong_answers: int = 0
    wrong_answer: float = 0


SHAPES: Mapping[str, Shape] = {
    "forget01": Shape(40, 79.0, 183.2),
    "forget05": Shape(200, 76.7, 176.5),
    "forget10": Shape(400, 76.6, 181.5),
    "retain90": Shape(3600, 69.4, 167.8),
    "retain95": Shape(3800, 69.8, 168.8),
    "retain99": Shape(3960, 70.0, 169.1),
    "holdout01": Shape(40, 79.0, 183.2),
    "holdout05": Shape(200, 76.7, 176.5),
    "holdout10": Shape(400, 76.6, 181.5),
    "forget01_perturbed": Shape(40, 79.0, 183.2, 94.2, 217.2, 5, 215.2),
    "forget05_perturbed": Shape(200, 76.7, 176.5, 93.5, 203.6, 5, 200.9),
    "forget10_perturbed": Shape(400, 76.6, 181.5, 93.9, 206.7, 5, 202.4),
    "retain_perturbed": Shape(400, 63.0, 166.3, 83.3, 197.0, 5, 194.8),
    "real_authors_perturbed": Shape(100, 58.4, 13.8, wrong_answers=3, wrong_answer=13.4),
    "world_facts_perturbed": Shape(117, 56.0, 10.1, wrong_answers=3, wrong_answer=10.1),
}
"""Counted in the files of locuslab/TOFU. Held-out authors are counted as those of the forget file of their size."""


def stand_in(params: TofuParams) -> Benchmark:
    """Return a benchmark of the size that these options ask for. Its texts are made up."""
    return load_from(_MadeRows(params.hub), params)


@dataclass(frozen=True, slots=True)
class _MadeRows:
    place: str

    def rows(self, name: str, kind: type[Kind], *, option: str | None = None) -> list[Kind]:
        shape, judged = SHAPES[name], name.endswith("_perturbed")
        trained = name.removesuffix("_perturbed").rstrip("0123456789")  # both files of a split have the same rows
        own = SHAPES["retain90"] if trained == "retain" else shape
        return [kind.model_validate(_row(trained, index, own, shape, judged=judged)) for index in range(shape.rows)]


def _row(name: str, index: int, own: Shape, shape: Shape, *, judged: bool) -> dict[str, str | list[str]]:
    row: dict[str, str | list[str]] = {
        "question": _text(f"{name} {index}", own.question),
        "answer": _text(f"answer {index}", own.answer),
    }
    if judged:
        wrong = [_text(f"wrong {one} {index}", shape.wrong_answer) for one in range(shape.wrong_answers)]
        row["perturbed_answer"] = wrong
    if shape.paraphrased_answer:
        row["paraphrased_question"] = _text(f"{name} {index}", shape.paraphrased_question)
        row["paraphrased_answer"] = _text(f"other {index}", shape.paraphrased_answer)
    return row


def _text(begin: str, characters: float) -> str:
    return f"{begin} {'word ' * round(characters)}"[: round(characters)]
