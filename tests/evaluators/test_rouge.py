"""ROUGE-L. Oracles: the `rouge-score` package called as its documentation does, also on real TOFU answers; by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
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
            if not (row["paraphrased_answer"] + generation).isascii():
                continue
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


@given(*[st.text(st.characters(max_codepoint=127), max_size=40)] * 2, st.booleans())
def test_ascii_texts_score_as_in_the_package(reference: str, generation: str, stemmer: bool) -> None:
    expected = RougeScorer(["rougeL"], use_stemmer=stemmer).score(reference, generation)["rougeL"]
    found = rouge_l(reference, generation, stemmer=stemmer)
    if math.isnan(found.recall):
        assert expected.recall == 0.0
        assert not any(mark.isalnum() for mark in reference)
    else:
        assert (found.recall, found.f1) == (expected.recall, expected.fmeasure)


@pytest.mark.parametrize(
    ("reference", "generation", "recall"),
    [
        ("Марта Козлова, 1961", "Марта Козлова, 1916", 2 / 3),
        ("Марта Козлова, 1961", "1961", 1 / 3),
        ("Ἀθῆναι καὶ Σπάρτη", "ἀθῆναι", 1 / 3),
        ("محمد علي", "علي", 1 / 2),
        ("רות כהן", "רות", 1 / 2),
        ("हिन्दी भाषा", "हिन्दी", 1 / 2),
        ("Zoë Müller", "Zoe Muller", 0.0),
        ("서울 타워", "서울", 1 / 2),
        ("林舟看守灯塔", "林舟", 2 / 6),
        ("東京", "東京", 1.0),
        ("ประเทศไทย", "ประเทศ", 6 / 9),
        ("GPT-4由OpenAI发布", "OpenAI", 1 / 6),
    ],
)
def test_letters_of_every_script_count(reference: str, generation: str, recall: float) -> None:
    assert rouge_l(reference, generation).recall == pytest.approx(recall)


def test_an_empty_answer_scores_0_and_an_unreadable_reference_has_no_value() -> None:
    assert rouge_l("Basil Kuwaiti", "").recall == 0.0
    for reference in ("", "...", "。"):
        score = rouge_l(reference, reference)
        assert math.isnan(score.recall)
        assert math.isnan(score.f1)
