"""Words in any script. Oracles: tables by hand, and properties that hold for every text."""

# ruff: noqa: RUF001
from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.evaluators.words import folded_text, word_list, word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop_now, 3.5!", ["don", "t", "stop", "now", "3", "5"]),
        ("Ёлка-палка", ["ёлка", "палка"]),
        ("ΟΔΥΣΣΕΥΣ", ["οδυσσευσ"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("مُحَمَّد", ["مُحَمَّد"]),
        ("林舟，1961年", ["林", "舟", "1961", "年"]),
        ("カメラとレンズ", ["カ", "メ", "ラ", "と", "レ", "ン", "ズ"]),
        ("ກາ", ["ກ", "າ"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("ｆｕｌｌ １２", ["full", "12"]),
        ("co\u00adoperate \u200bhere", ["cooperate", "here"]),
        ("... \u0301", []),
    ],
)
def test_words_by_hand(text: str, words: list[str]) -> None:
    assert word_list(text) == [unicodedata.normalize("NFKC", word) for word in words]


@given(st.text(max_size=60))
def test_words_are_stable_and_hold_a_letter_or_digit(text: str) -> None:
    found = word_list(text)
    assert word_list(" ".join(found)) == found
    assert all(any(unicodedata.category(mark)[0] in "LN" for mark in word) for word in found)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=60))
def test_spans_cover_every_visible_character_once_and_in_order(text: str) -> None:
    spans = word_spans(text)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


def test_spans_leave_marks_and_punctuation_with_their_letter() -> None:
    for text, parts in (("云岭。看 on", ["云", "岭。", "看", "on"]), ("กี่ปี", ["กี่", "ปี"])):
        assert [text[start:end] for start, end in word_spans(text)] == parts


@pytest.mark.parametrize("other", ["Orla  Beck ", "orla beck", "ORLA\nBECK", "Orla\u00a0Beck"])
def test_texts_that_differ_in_case_and_spaces_fold_to_one(other: str) -> None:
    assert folded_text(other) == folded_text("Orla Beck")
    assert folded_text("Orla Becks") != folded_text("Orla Beck")
