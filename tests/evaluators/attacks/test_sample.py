"""The attack `sample` on a model that answers right one time in some. Oracle: the drawn answers, scored by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from unlearn_sweep.evaluators.answer_match import answer_contained
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.evaluate import evaluate_rows

METRICS = ["probability", "answer_contained", "rouge", "distinct_ngrams"]
SETTINGS = {"answers": [1, 2, 5], "drawn": 6, "temperature": 2.0}


def rows_of(target: Target, state: Attacked, splits: tuple[str, ...] = ("forget", "retain")) -> pd.DataFrame:
    benchmark = target.benchmark
    return evaluate_rows(
        state.model,
        target.tokenizer,
        [row for split in splits for row in benchmark.evaluation[split]],
        metrics=METRICS,
        template=benchmark.template,
        max_new_tokens=benchmark.max_new_tokens,
        prompt_edit=state.prompt_edit,
        sampling=state.sampling,
    ).table.set_index("row_id")


def greedy(target: Target) -> pd.DataFrame:
    return rows_of(target, Attacked(strength=0, unit="answers", model=target.model))


def test_a_row_is_worth_the_mean_worst_of_its_answers(target: Target) -> None:
    states = list(build("sample", SETTINGS).run(target))
    tables = [rows_of(target, state) for state in states]
    sampling = states[0].sampling
    assert sampling is not None
    drawn = dict(zip((ids for ids, _ in sampling.known), sampling.known.values(), strict=True))
    assert len(drawn) == len(target.benchmark.evaluation["forget"])
    spread = 0
    for row in target.benchmark.evaluation["forget"]:
        (answers,) = [texts for ids, texts in drawn.items() if row.question in target.tokenizer.decode(list(ids))]
        texts = [str(target.tokenizer.decode(list(ids), skip_special_tokens=True)) for ids in answers]
        hits = [answer_contained(row.answer, text) for text in texts]
        spread += 0 < sum(hits) < 6
        for k, table in zip((1, 2, 5), tables, strict=True):
            expected = np.mean([max(chosen) for chosen in itertools.combinations(hits, k)])
            assert table.loc[row.row_id, "answer_contained"] == pytest.approx(expected)
        assert answer_contained(row.answer, str(tables[-1].loc[row.row_id, "generation"])) == max(hits)
    assert spread > 0, "every row is answered always or never: nothing was tested"


def test_more_answers_give_more_away_and_likelihoods_and_kept_facts_stay(target: Target) -> None:
    before = greedy(target)
    first, second, third = (rows_of(target, state) for state in build("sample", SETTINGS).run(target))
    forget = before["split"] == "forget"
    shares = [np.asarray(table[forget]["rouge"]) for table in (first, second, third)]
    assert np.all(shares[0] <= shares[1] + 1e-12)
    assert np.mean(shares[1]) < np.mean(shares[2])
    for table in (first, third):
        assert table["probability"].equals(before["probability"])
        assert table[~forget].equals(before[~forget])


def test_draws_are_the_same_again_and_others_with_another_seed(target: Target) -> None:
    (once,), (again,) = (list(build("sample", {"answers": 3}).run(target)) for _ in range(2))
    (other,) = build("sample", {"answers": 3}).run(replace(target, seed=6))
    first = rows_of(target, once, ("forget",))
    assert first.equals(rows_of(target, again, ("forget",)))
    assert not first.equals(rows_of(target, other, ("forget",)))


def test_it_draws_behind_the_prompts_of_a_chain_and_ends_it(target: Target) -> None:
    chain = [{"few_shot": {"shots": 1}}, {"sample": {"answers": 2}}]
    (state,) = build("chain", {"steps": chain}).run(target)
    assert state.sampling is not None
    rows_of(target, state, ("forget",))
    longest = max(len(ids) for ids, _ in state.sampling.known)
    (alone,) = build("sample", {"answers": 2}).run(target)
    rows_of(target, alone, ("forget",))
    assert alone.sampling is not None
    assert longest > max(len(ids) for ids, _ in alone.sampling.known)
    with pytest.raises(AttackError, match="only be the last attack"):
        list(build("chain", {"steps": chain[::-1]}).run(target))
