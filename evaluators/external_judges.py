"""What others say of generated answers: a judge, an entailment model, a classifier of gibberish.

Who they are comes from the environment, so that it is settled here once: whether they are there before a sweep starts,
what of them belongs into a stage's key, and their answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.entailment import entailment_classifier, entailment_model
from unlearn_sweep.evaluators.gibberish import gibberish_classifier, gibberish_model
from unlearn_sweep.evaluators.judge.judge import Cost, Judge
from unlearn_sweep.evaluators.judge.questions import Compared, Question
from unlearn_sweep.evaluators.judge.settings import judge_question, judge_settings, named_judge
from unlearn_sweep.evaluators.local_models import model_identity

if TYPE_CHECKING:
    from unlearn_sweep.evaluators.row_metrics import Measured

ASKED_ABOUT: Mapping[str, tuple[str, ...]] = {
    "judge": ("question",),
    "comparison": ("question", "instruction"),
    "entailment": ("question",),
    "gibberish": ("question", "continuation", "quiz", "instruction"),
}
"""Who has to answer, as `MetricCard.needs` names them, and the kinds of row they are asked about."""
ORIGINALS = frozenset({"comparison", "original"})
"""What a metric needs that compares with the original's answers."""
UNCOMPARED = frozenset({"forget", "holdout"})
"""Splits whose answers nobody compares: what is to be forgotten may well be answered worse."""
QUESTIONS: Mapping[str, Callable[[], type[Question]]] = {"judge": judge_question, "comparison": lambda: Compared}
"""What is asked by who is asked; the rules of a judge are named in the environment."""
NAMED: Mapping[str, Callable[[], Any]] = {
    "judge": named_judge,
    "comparison": judge_settings,
    "entailment": entailment_model,
    "gibberish": gibberish_model,
}


def asked_of(metrics: Iterable[str]) -> frozenset[str]:
    """Who has to answer for these metrics, as in `ASKED_ABOUT`."""
    return frozenset(METRICS[name].needs for name in row_metrics(metrics)) & ASKED_ABOUT.keys()


def compares(metrics: Iterable[str]) -> bool:
    """Whether answers are held against the original model's, so that these have to be there."""
    return bool(ORIGINALS & {METRICS[name].needs for name in row_metrics(metrics)})


def compares_forget(metrics: Iterable[str]) -> bool:
    """Whether answers to forget rows are among those that are held against the original model's."""
    return "original" in {METRICS[name].needs for name in row_metrics(metrics)}


def missing_verdicts(metrics: Sequence[str]) -> list[str]:
    """Why a verdict that these metrics need cannot be had; empty where all can."""
    reasons = []
    for needed in sorted(asked_of(metrics)):
        try:
            NAMED[needed]()
        except ValueError as error:
            reasons.append(str(error))
    return list(dict.fromkeys(reasons))


def verdict_identity(metrics: Sequence[str]) -> dict[str, str]:
    """Who judges, as far as it decides the verdicts; empty where nobody is asked. It holds no key and no address.

    Raises:
        ValueError: somebody is asked for and not there.
    """
    identity = {}
    for needed in sorted(asked_of(metrics)):
        if needed in QUESTIONS:
            identity[needed] = Judge(judge_settings()).identity(QUESTIONS[needed]())
        else:
            identity[needed] = model_identity(NAMED[needed]())
    return identity


def fill_verdicts(
    measured: Sequence[Measured], metrics: Sequence[str], opponents: Mapping[str, str] | None = None
) -> dict[str, Cost]:
    """Ask about every generated answer; returns what it cost, by who was asked.

    `opponents`: the original model's answer to each row, by row_id; None: these are the original's own answers.

    Raises:
        ValueError: somebody is asked for and not there.
        JudgeFailedError, EndpointUnusableError: the judge gave too few verdicts, or refuses to give any.
    """
    cost: dict[str, Cost] = {}
    for needed in sorted(asked_of(metrics)):
        rows = [
            (row, row.generation)
            for row in measured
            if row.row.kind in ASKED_ABOUT[needed] and row.generation is not None
        ]
        if needed == "judge":
            cost[needed] = _judge(rows)
        elif needed == "comparison":
            cost[needed] = _compare(rows, opponents)
        elif needed == "entailment":
            model = entailment_classifier(entailment_model())
            for (row, _), entails in zip(
                rows, model.entails([(text, row.reference) for row, text in rows]), strict=True
            ):
                row.entailed = entails
            cost[needed] = Cost(rows=len(rows))
        else:
            classifier = gibberish_classifier(gibberish_model())
            for (row, _), share in zip(rows, classifier.clean([text for _, text in rows]), strict=True):
                row.clean = share
            cost[needed] = Cost(rows=len(rows))
    return cost


def summed(costs: Iterable[Mapping[str, Cost]]) -> dict[str, Cost]:
    """Return the costs of several evaluations by judge. Reasons of failures are counted together."""
    total: dict[str, Cost] = {}
    for cost in costs:
        for judge, spent in cost.items():
            total[judge] = total[judge].plus(spent) if judge in total else spent
    return total


def _judge(rows: Sequence[tuple[Measured, str]]) -> Cost:
    question = judge_question()
    asked = [question(row.row.question, row.reference, text) for row, text in rows]
    found, spent = Judge(judge_settings()).verdicts(asked)
    for (row, _), verdict in zip(rows, found, strict=True):
        row.judged = None if verdict.value is None else bool(verdict.value)
        row.judge_reason = verdict.reason
    return spent


def _compare(rows: Sequence[tuple[Measured, str]], opponents: Mapping[str, str] | None) -> Cost:
    """Each answer against the original's in both orders, for a judge prefers what it reads first, or last."""
    pairs = [
        (row, text, text if opponents is None else opponents[row.row.row_id])
        for row, text in rows
        if row.row.split not in UNCOMPARED and (opponents is None or row.row.row_id in opponents)
    ]
    there = [Compared(row.row.question, text, other) for row, text, other in pairs]
    back = [Compared(row.row.question, other, text) for row, text, other in pairs]
    found, spent = Judge(judge_settings()).verdicts([*there, *back])
    for (row, _, _), first, second in zip(pairs, found[: len(pairs)], found[len(pairs) :], strict=True):
        if first.value is None or second.value is None:
            row.judge_reason = first.reason or second.reason
        else:
            row.preferred = (first.value + 1.0 - second.value) / 2.0
    return spent
