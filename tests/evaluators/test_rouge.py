"""ROUGE-L. Oracle: the `rouge-score` package called as its own documentation does, also on real TOFU answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from unlearn_sweep.evaluators.rouge import rouge_l

TOFU = Path("../shared/data/tofu/forget01_perturbed.json")


def test_one_word_of_three() -> None:
    score = rouge_l("the cat sat", "cat")
    assert score.recall == pytest.approx(1 / 3)
    assert score.f1 == pytest.approx(0.5)


@pytest.mark.parametrize("stemmer", [True, False])
@pytest.mark.skipif(not TOFU.exists(), reason="the TOFU files are not beside the project")
def test_scores_are_the_packages_own_on_tofu(stemmer: bool) -> None:
    scorer = RougeScorer(["rougeL"], use_stemmer=stemmer)
    for line in TOFU.read_text().splitlines():
        row = json.loads(line)
        for generation in (row["answer"], row["perturbed_answer"][0], row["question"]):
            expected = scorer.score(row["paraphrased_answer"], generation)["rougeL"]
            found = rouge_l(row["paraphrased_answer"], generation, stemmer=stemmer)
            assert (found.recall, found.f1) == (expected.recall, expected.fmeasure)


def test_the_stemmer_makes_a_difference() -> None:
    assert rouge_l("running", "runs").recall == 1.0
    assert rouge_l("running", "runs", stemmer=False).recall == 0.0


def test_f1_punishes_rambling_and_recall_does_not() -> None:
    rambling = rouge_l("Basil Kuwaiti", "Basil Kuwaiti and a great many words more")
    assert rambling.recall == 1.0
    assert rambling.f1 < 0.5


def test_an_empty_answer_scores_0_and_an_unreadable_reference_has_no_value() -> None:
    assert rouge_l("Basil Kuwaiti", "").recall == 0.0
    for reference in ("", "...", "Москва", "東京"):
        score = rouge_l(reference, reference)
        assert math.isnan(score.recall)
        assert math.isnan(score.f1)
