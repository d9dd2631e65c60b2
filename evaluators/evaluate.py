"""Every per-row metric of one model, with no more forward passes than the metrics asked for need.

One teacher-forced pass covers answers, paraphrased and perturbed answers and choices of all rows. Generation starts
where that pass shows that the model leaves the reference answer, so an answer known by heart is not generated again.
Rows that no metric applies to are not asked at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from unlearn_sweep.evaluators.answering import Answering
from unlearn_sweep.evaluators.cards import GENERATED
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.external_judges import asked_of, fill_verdicts
from unlearn_sweep.evaluators.inference import context_tokens, padding_id
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.probability import mean_nll
from unlearn_sweep.evaluators.row_encoder import AskedRow, RowEncoder
from unlearn_sweep.evaluators.row_metrics import Measured, metric_value
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row, Template
from unlearn_sweep.evaluators.sampled_answers import Sampling
from unlearn_sweep.evaluators.thinking import Considered, Thinker, ThoughtCount, counts
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings
from unlearn_sweep.evaluators.thoughts import Thought

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.judge.judge import Cost

CACHE_SHARE = 4
"""Generation feeds one token a row and step: its batches are bounded by memory (cached tokens), not by arithmetic."""
TEACHER_FORCED = frozenset({"likelihood", "moments", "alternatives", "choices"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What one model scored on each row, and what it took.

    `table`: one line a row with row_id, group_id, fact_id, split, form, kind, part, request, answer_tokens, a column
    for each per-row metric, with choices also `chance` (of the row), with `truth_ratio` also `log_truth_ratio`, and
    where text was generated `generation` and `generation_tokens`. NaN: this metric has no value for this row (`missing`
    counts them by metric, over the kinds of row it is for). `dropped` counts rows left out, by reason. `judging` says
    what was asked of judges, and what it cost. `thoughts`: of a model that thinks first, the counts of its thoughts by
    split; the table then has columns thought, thought_tokens and thought_cut, empty for rows that are not asked to
    think. Of thoughts that an attack put there it has the text alone.
    """

    table: pd.DataFrame
    forward_passes: int
    generated_tokens: int
    dropped: dict[str, int]
    missing: dict[str, int]
    judging: dict[str, Cost] = field(default_factory=dict)
    thoughts: dict[str, ThoughtCount] = field(default_factory=dict)


def evaluate_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    *,
    metrics: Sequence[str],
    template: Template,
    max_new_tokens: int,
    prompt_edit: PromptEdit | None = None,
    sampling: Sampling | None = None,
    batch_tokens: int = 4096,
    opponents: Mapping[str, str] | None = None,
    thinking: ThinkingSettings | None = None,
) -> Evaluation:
    """Score `rows` on a model; a metric over whole splits (`model_utility`) stands for the per-row ones it is made of.

    `prompt_edit` changes the answer's example and, each with its own tokens, those of the alternatives. It drops a row
    by dropping its answer; a dropped alternative is merely missing. Paraphrased and perturbed answers are asked for by
    the row's own question, as in TOFU. Generation is greedy, at most `max_new_tokens`; with `sampling`, answers of the
    forget split are drawn and the worst of several is scored. `opponents` are the original model's answers by row_id,
    for a metric that compares with them; None where the model is the original. With `thinking`, rows that are asked in
    a chat are asked behind the model's own thoughts.

    Raises:
        ValueError: an unknown metric, a row_id given twice, or a prompt without any token.
        ThinkingError: no row has room for a thought in the model's context.
        NonFiniteLogits: the model is broken.
        JudgeFailedError: a judge is asked and gives too few verdicts.
    """
    names = row_metrics(metrics)
    rows = [row for row in rows if _wanted(row, names)]
    asking = RowEncoder(tokenizer=tokenizer, template=template, prompt_edit=prompt_edit, context=context_tokens(model))
    asked, dropped = asking.ask(rows, alternatives=any(METRICS[name].needs == "alternatives" for name in names))
    considered = _considered(model, tokenizer, asked, thinking, max_new_tokens, batch_tokens)
    asked = considered.asked
    pairs = [(item, Measured(row=item.row, reference=item.reference)) for item in asked]
    passes = considered.forward_passes + _fill_likelihood(model, tokenizer, pairs, names, batch_tokens)
    passes += _fill_gradients(model, pairs, names)
    answering = Answering(
        model=model,
        tokenizer=tokenizer,
        template=template,
        max_new_tokens=max_new_tokens,
        cache_tokens=CACHE_SHARE * batch_tokens,
        thinking=thinking,
        sampling=sampling,
    )
    passes += answering.answer([(item, row) for item, row in pairs if _wanted(item.row, names) & GENERATED])
    measured = [row for _, row in pairs]
    answers = [answer for row in measured for answer in (row.samples or (row,))]
    _fill_opponents(answers, names, opponents)
    judging = fill_verdicts(answers, names, opponents) if asked_of(names) else {}
    for row in measured:
        answering.show_worst(row, names)
    table = _table(asked, measured, names)
    if thinking is not None or any(_given_thought(item) is not None for item in asked):
        table = table.assign(**_thought_columns(asked, considered.thoughts))
    return Evaluation(
        table=table,
        forward_passes=passes,
        generated_tokens=sum(len(answer.generated or ()) for answer in answers),
        dropped=dict(Counter(dropped) + Counter(considered.dropped)),
        missing=_missing(table, names),
        judging=judging,
        thoughts=counts(asked, considered.thoughts),
    )


def _considered(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: list[AskedRow],
    thinking: ThinkingSettings | None,
    max_new_tokens: int,
    batch_tokens: int,
) -> Considered:
    """The rows behind the model's thoughts, or as they are without `thinking`."""
    if thinking is None:
        return Considered(asked=asked, thoughts={}, dropped={}, forward_passes=0)
    return Thinker(
        model=model,
        tokenizer=tokenizer,
        settings=thinking,
        answer_tokens=max_new_tokens,
        cache_tokens=CACHE_SHARE * batch_tokens,
    ).consider(asked)


def _given_thought(item: AskedRow) -> str | None:
    """The thought that an attack put before the answer."""
    return None if item.answer.text is None else item.answer.text.thought


def _fill_opponents(answers: Sequence[Measured], names: Sequence[str], opponents: Mapping[str, str] | None) -> None:
    """The original's answers, for a metric that compares with them; with None the model is the original."""
    if not any(METRICS[name].needs == "original" for name in names):
        return
    for row in answers:
        row.opponent = row.generation if opponents is None else opponents.get(row.row.row_id)


def _thought_columns(asked: Sequence[AskedRow], thoughts: Mapping[str, Thought]) -> dict[str, pd.Series]:
    own = [thoughts.get(item.row.row_id) for item in asked]
    texts = [_given_thought(item) if one is None else one.text for item, one in zip(asked, own, strict=True)]
    return {
        "thought": pd.Series(texts, dtype="str"),
        "thought_tokens": pd.Series([None if one is None else one.tokens for one in own], dtype="Int64"),
        "thought_cut": pd.Series([None if one is None else one.cut for one in own], dtype="boolean"),
    }


def _wanted(row: Row, names: Sequence[str]) -> frozenset[str]:
    """What the metrics that apply to this row need."""
    return frozenset(METRICS[name].needs for name in names if row.kind in METRICS[name].kinds)


def _fill_likelihood(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[AskedRow, Measured]],
    names: Sequence[str],
    batch_tokens: int,
) -> int:
    """One pass over every example of every row that needs it. Returns the number of forward passes."""
    chosen = [(item, row) for item, row in pairs if _wanted(item.row, names) & TEACHER_FORCED]
    families = [_family(item) for item, _ in chosen]
    firsts = accumulate(map(len, families), initial=0)
    # Moments of the distribution are read at a row's own answer only, which is the first of its family.
    own = [first for first, (item, _) in zip(firsts, chosen, strict=False) if "moments" in _wanted(item.row, names)]
    done = score(
        model,
        [example for family in families for example in family],
        pad_id=padding_id(tokenizer),
        batch_tokens=batch_tokens,
        moments=own,
    )
    scores = iter(done.scores)
    for item, row in chosen:
        if item.row.choices:
            row.choice_logps = tuple(float(next(scores).logp.sum(dtype=np.float64)) for _ in item.choices)
            continue
        row.scores = next(scores)
        row.content = row.scores.correct[: len(item.answer.content_ids)]
        if "mia_zlib_ou" in names:
            row.scored_text = str(tokenizer.decode(list(item.answer.answer_ids), skip_special_tokens=True))
        row.paraphrase_nll = None if item.paraphrase is None else mean_nll(next(scores).logp)
        row.wrong_nlls = tuple(mean_nll(next(scores).logp) for _ in item.perturbed)
    return done.forward_passes


def _family(item: AskedRow) -> list[Example]:
    """All examples of one row, which share its prompt."""
    if item.row.choices:
        return list(item.choices)
    return [item.answer, *([] if item.paraphrase is None else [item.paraphrase]), *item.perturbed]


def _fill_gradients(model: PreTrainedModel, pairs: Sequence[tuple[AskedRow, Measured]], names: Sequence[str]) -> int:
    """A forward and a backward pass a row, where a metric asks for it. Returns the number of forward passes."""
    chosen = [(item, row) for item, row in pairs if "gradient" in _wanted(item.row, names)]
    if not chosen:
        return 0
    from unlearn_sweep.evaluators.gradient_norm import gradient_norms

    passes = 0
    if "mia_gradnorm" in names:
        passes += len(chosen)
        for (_, row), norm in zip(chosen, gradient_norms(model, [item.answer for item, _ in chosen]), strict=True):
            row.gradient_norm = norm
    if "mia_gradnorm_ou" in names:
        said = [(replace(item.answer, answer_ids=item.answer.content_ids), row) for item, row in chosen]
        said = [(example, row) for example, row in said if example.answer_ids]
        passes += len(said)
        norms = gradient_norms(model, [example for example, _ in said], form="open_unlearning")
        for (_, row), norm in zip(said, norms, strict=True):
            row.gradient_norm_ou = norm
    return passes


def _table(asked: Sequence[AskedRow], measured: Sequence[Measured], names: Sequence[str]) -> pd.DataFrame:
    rows = [item.row for item in asked]
    columns: dict[str, Any] = {
        "row_id": pd.Series([row.row_id for row in rows], dtype="str"),
        "group_id": pd.Series([row.group_id for row in rows], dtype="str"),
        "fact_id": pd.Series([row.fact for row in rows], dtype="str"),
        "split": pd.Series([row.split for row in rows], dtype="str"),
        "form": pd.Series([row.form for row in rows], dtype="str"),
        "kind": pd.Series([row.kind for row in rows], dtype="str"),
        "part": pd.Series([row.part for row in rows], dtype="str"),
        "request": pd.Series([row.request for row in rows], dtype="int64"),
        "answer_tokens": pd.Series([len(item.answer.answer_ids) for item in asked], dtype="int64"),
    }
    for name in names:
        columns[name] = pd.Series([metric_value(name, row) for row in measured], dtype="float64")
    if any(METRICS[name].chance_by_row for name in names):
        columns["chance"] = pd.Series([_chance(row) for row in rows], dtype="float64")
    if "truth_ratio" in names:
        columns["log_truth_ratio"] = pd.Series([row.log_truth_ratio for row in measured], dtype="float64")
    if any(METRICS[name].needs in GENERATED for name in names):
        columns["generation"] = pd.Series([row.generation for row in measured], dtype="str")
        if asked_of(names) & {"judge", "comparison"}:
            columns["judge_reason"] = pd.Series([row.judge_reason for row in measured], dtype="str")
        lengths = [None if row.generated is None else len(row.generated) for row in measured]
        columns["generation_tokens"] = pd.Series(lengths, dtype="Int64")
    return pd.DataFrame(columns)


def _chance(row: Row) -> float:
    """What a model that knows nothing scores by choosing; NaN where nothing is to be chosen."""
    return 1.0 / len(row.choices) if row.choices else math.nan


def _missing(table: pd.DataFrame, names: Sequence[str]) -> dict[str, int]:
    counts = {}
    for name in names:
        applies = table["kind"].isin(METRICS[name].kinds)
        counts[name] = int(np.isnan(table.loc[applies, name].to_numpy(dtype=np.float64)).sum())
    return {name: count for name, count in counts.items() if count}
