"""Each per-row metric of the catalog as a function of what a model gave for one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.evaluators.answer_match import answer_contained, answer_match
from unlearn_sweep.evaluators.cards import GENERATED
from unlearn_sweep.evaluators.catalog import metric_card
from unlearn_sweep.evaluators.fluency import distinct_ngrams, ngram_entropy
from unlearn_sweep.evaluators.likelihood import TokenScores
from unlearn_sweep.evaluators.membership import min_k, min_k_plus_plus, zlib_score
from unlearn_sweep.evaluators.memorization import exact_memorization, extraction_strength
from unlearn_sweep.evaluators.multiple_choice import (
    LETTERS,
    choice_accuracy,
    choice_accuracy_norm,
    choice_mass,
    choice_probability,
)
from unlearn_sweep.evaluators.probability import mean_nll, normalised_probability, probability
from unlearn_sweep.evaluators.rouge import RougeL, rouge_l
from unlearn_sweep.evaluators.rouge_words import distinct_word_recall
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.sampled_answers import expected_best
from unlearn_sweep.evaluators.short_answers import answer_f1, exact_match, same_text
from unlearn_sweep.evaluators.truth_ratio import log_truth_ratio, truth_ratio


@dataclass(slots=True, kw_only=True)
class Measured:
    """What came back for one row; what was not asked for, or does not exist for this row, stays None or empty.

    `content` marks the answer tokens that are the model's own choice, end-of-text left out. `scored_text` is what the
    scored tokens say, the blank before the answer included. `judged`, `entailed`, `preferred` (1: over the original's
    answer in both orders) and `clean` (a probability) are None where nobody was asked, or gave no readable answer.
    `opponent` is the original model's answer. `samples` are drawn answers to the same question, of which the worst of
    `best_of` counts.
    """

    row: Row
    reference: str
    scores: TokenScores | None = None
    content: NDArray[np.bool_] | None = None
    paraphrase_nll: float | None = None
    wrong_nlls: tuple[float, ...] = ()
    choice_logps: tuple[float, ...] = ()
    gradient_norm: float | None = None
    gradient_norm_ou: float | None = None
    scored_text: str | None = None
    generated: tuple[int, ...] | None = None
    generation: str | None = None
    judged: bool | None = None
    judge_reason: str | None = None
    entailed: bool | None = None
    preferred: float | None = None
    opponent: str | None = None
    clean: float | None = None
    samples: tuple[Measured, ...] = ()
    best_of: int = 1

    @property
    def nll(self) -> float:
        return math.nan if self.scores is None else mean_nll(self.scores.logp)

    @property
    def log_truth_ratio(self) -> float:
        """The correct answer is the paraphrase, as in TOFU, and the answer itself where a row has none."""
        return log_truth_ratio(self.nll if self.paraphrase_nll is None else self.paraphrase_nll, self.wrong_nlls)

    @property
    def right(self) -> int:
        """Place of the right letter among the choices."""
        return self.row.choices.index(self.row.answer)


RowMetric = Callable[[Measured], float]


def _of_content(metric: Callable[[NDArray[np.bool_]], float]) -> RowMetric:
    return lambda row: math.nan if row.content is None else metric(row.content)


def _without_last(metric: Callable[[NDArray[np.bool_]], float]) -> RowMetric:
    """Over all scored tokens but the last, whatever that is: open-unlearning's way to leave out end-of-text."""
    return lambda row: math.nan if row.scores is None else metric(row.scores.correct[:-1])


def _of_scores(metric: Callable[[TokenScores], float]) -> RowMetric:
    return lambda row: math.nan if row.scores is None else metric(row.scores)


def _of_choices(metric: Callable[[tuple[float, ...], int], float]) -> RowMetric:
    return lambda row: metric(row.choice_logps, row.right) if row.choice_logps else math.nan


def _of_generation(metric: Callable[[str, str], float]) -> RowMetric:
    return lambda row: math.nan if row.generation is None else metric(row.reference, row.generation)


def _rouge(part: Callable[[RougeL], float], *, stemmer: bool) -> RowMetric:
    return _of_generation(lambda reference, generation: part(rouge_l(reference, generation, stemmer=stemmer)))


def _of_text(metric: Callable[[str], float]) -> RowMetric:
    return lambda row: math.nan if row.generation is None else metric(row.generation)


def _min_k_plus_plus(scores: TokenScores, end: int | None = None) -> float:
    """Over the first `end` tokens; None: all of them."""
    if scores.mean is None or scores.variance is None:
        return math.nan
    return min_k_plus_plus(scores.logp[:end], scores.mean[:end], scores.variance[:end])


def _of_said(metric: Callable[[TokenScores, int], float]) -> RowMetric:
    """Over the tokens of the answer without those that close it: how open-unlearning computes membership."""
    return lambda row: math.nan if row.scores is None or row.content is None else metric(row.scores, len(row.content))


def _truth(value: bool | None) -> float:
    return math.nan if value is None else float(value)


LETTER_SET = frozenset(LETTERS)


def _of_accepted(metric: Callable[[Sequence[str], str], float], row: Measured) -> float:
    return math.nan if row.generation is None else metric(row.row.accepted, row.generation)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _of_pair(metric: Callable[[str, str], float]) -> RowMetric:
    """Of the reference and the generated answer."""
    return lambda row: math.nan if row.generation is None else metric(row.reference, row.generation)


def _of_paraphrase(row: Measured) -> float:
    """`rouge` against the answer in other words; NaN where the row has none."""
    if row.generation is None or row.row.paraphrased_answer is None:
        return math.nan
    return rouge_l(row.row.paraphrased_answer, row.generation, stemmer=True).recall


def _of_opponent(row: Measured) -> float:
    """ROUGE-L recall of the original's answer; NaN where there is none, or it has no word."""
    if row.generation is None or not (row.opponent or "").strip():
        return math.nan
    return rouge_l(row.opponent or "", row.generation, stemmer=True).recall


_f1_plain = _rouge(lambda rouge: rouge.f1, stemmer=False)

ROW_METRICS: Mapping[str, RowMetric] = {
    "probability": lambda row: probability(row.nll),
    "paraphrase_probability": lambda row: math.nan if row.paraphrase_nll is None else probability(row.paraphrase_nll),
    "normalised_probability": lambda row: normalised_probability(row.nll, row.wrong_nlls),
    "exact_memorization": _of_content(exact_memorization),
    "exact_memorization_ou": _without_last(exact_memorization),
    "extraction_strength": _of_content(extraction_strength),
    "extraction_strength_ou": _without_last(lambda correct: extraction_strength(correct, floor="open_unlearning")),
    "truth_ratio": lambda row: truth_ratio(row.log_truth_ratio),
    "rouge": _rouge(lambda rouge: rouge.recall, stemmer=True),
    "paraphrase_rouge": _of_paraphrase,
    "rouge_unstemmed": _rouge(lambda rouge: rouge.recall, stemmer=False),
    "rouge_f1": _rouge(lambda rouge: rouge.f1, stemmer=True),
    "rouge_rwku": _of_pair(distinct_word_recall),
    "knowmem": _f1_plain,
    "verbmem": _f1_plain,
    "regurgitation": _rouge(lambda rouge: rouge.recall, stemmer=True),
    "exact_answer": _of_pair(same_text),
    "answer_match": _of_generation(answer_match),
    "answer_contained": _of_generation(answer_contained),
    "choice_accuracy": _of_choices(choice_accuracy),
    "choice_probability": _of_choices(choice_probability),
    "choice_accuracy_norm": lambda row: (
        choice_accuracy_norm(row.choice_logps, row.row.choices, row.right) if row.choice_logps else math.nan
    ),
    "choice_mass": lambda row: choice_mass(row.choice_logps) if set(row.row.choices) <= LETTER_SET else math.nan,
    "exact_match": lambda row: _of_accepted(exact_match, row),
    "answer_f1": lambda row: _of_accepted(answer_f1, row),
    "mia_loss": lambda row: row.nll,
    "mia_zlib": lambda row: zlib_score(row.nll, row.row.answer),
    "mia_min_k": _of_scores(lambda scores: min_k(scores.logp)),
    "mia_min_k_plus_plus": _of_scores(_min_k_plus_plus),
    "mia_zlib_ou": lambda row: math.nan if row.scored_text is None else zlib_score(row.nll, row.scored_text),
    "mia_min_k_ou": _of_said(lambda scores, end: min_k(scores.logp[:end])),
    "mia_min_k_plus_plus_ou": _of_said(_min_k_plus_plus),
    "mia_gradnorm_ou": lambda row: _or_nan(row.gradient_norm_ou),
    "mia_gradnorm": lambda row: math.nan if row.gradient_norm is None else row.gradient_norm,
    "ngram_entropy": _of_text(ngram_entropy),
    "distinct_ngrams": _of_text(distinct_ngrams),
    "judge_accuracy": lambda row: _truth(row.judged),
    "entailment": lambda row: _truth(row.entailed),
    "answer_kept": _of_opponent,
    "win_rate": lambda row: _or_nan(row.preferred),
    "clean_text": lambda row: _or_nan(row.clean),
    "lm_eval": lambda row: math.nan,  # no row of a benchmark is a task's: `evaluators.tasks` has those
}
"""Each per-row metric of the catalog. NaN: no value for this row."""


def row_metric(name: str) -> RowMetric:
    """The function of a per-row metric, built in or from outside.

    Raises:
        ValueError: no such metric, or one over whole splits.
    """
    if name in ROW_METRICS:
        return ROW_METRICS[name]
    card = metric_card(name)
    if not card.target:
        raise ValueError(f"metric {name!r} has no value for a row: it is one over whole splits")
    return card.load()


def metric_value(name: str, row: Measured) -> float:
    """The value of a per-row metric for one row; NaN where it has none.

    Where several answers were drawn, a metric of generated text is the mean over choices of `best_of` of them of the
    value that gives most away: the largest, or the smallest if higher is better on forget rows. A metric that is
    best at gold's value has no such direction: its mean.
    """
    card = metric_card(name)
    if row.row.kind not in card.kinds:
        return math.nan
    if not row.samples or card.needs not in GENERATED:
        return row_metric(name)(row)
    values = [value for sample in row.samples if not math.isnan(value := row_metric(name)(sample))]
    match card.better_on_forget:
        case "lower":
            return expected_best(values, row.best_of)
        case "higher":
            return -expected_best([-value for value in values], row.best_of)
        case "gold":
            return expected_best(values, 1)


def most_telling(row: Measured, names: Sequence[str]) -> Measured:
    """The drawn answer that the first metric of generated text says gives most away; the first one without a metric."""
    cards = [metric_card(name) for name in names]
    card = next((card for card in cards if card.needs in GENERATED and row.row.kind in card.kinds), None)
    if card is None:
        return row.samples[0]
    sign = -1.0 if card.better_on_forget == "higher" else 1.0
    values = [sign * row_metric(card.name)(sample) for sample in row.samples]
    return row.samples[max(range(len(values)), key=lambda place: (not math.isnan(values[place]), values[place]))]
