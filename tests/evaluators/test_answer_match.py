"""Answer match. Oracle: a table made by hand."""

from __future__ import annotations

import math

import pytest

from unlearn_sweep.evaluators.answer_match import answer_contained, answer_match


@pytest.mark.parametrize(
    ("reference", "generation", "matches"),
    [
        ("Paris", "Paris", True),
        ("Paris", "  paris.", True),
        ("Paris", "Paris, the capital of France", True),
        ("Paris", "Pariser Platz", False),
        ("Paris", "The answer is Paris", False),
        ("Paris", "", False),
        ("the Tin Harbour", "The Tin Harbour", True),
        ("the Tin Harbour", "Tin Harbour", False),
        ("1,000", "1000 people", True),
        ("C++", "C", False),
        ("A", "A. Berlin", True),
        ("A", "The", False),
        ("Straße", "STRASSE", True),
        ("東京", "東京。", True),
        ("New York City", "New York", False),
        ("fi", "\ufb01", True),  # a ligature is its letters
    ],
)
def test_matches_by_hand(reference: str, generation: str, matches: bool) -> None:
    assert answer_match(reference, generation) == float(matches)


@pytest.mark.parametrize("reference", ["", "  ", "..."])
def test_an_empty_reference_has_no_value(reference: str) -> None:
    assert math.isnan(answer_match(reference, "anything"))


@pytest.mark.parametrize(
    ("reference", "generation", "contained"),
    [
        ("林舟", "云岭灯塔由林舟看守。", True),
        ("林舟", "云岭灯塔由林看守舟。", False),
        ("林舟", "", False),
        ("ｶﾗｽ", "カラスが鳴く", True),  # half-width letters are the same letters
        ("มานี", "ผู้ดูแลคือมานีครับ", True),
        ("Козлова", "Марта КОЗЛОВА, Пермь", True),
        ("Козлов", "Марта Козлова", False),
        ("किताब", "यह किताब है", True),
        ("कताब", "यह किताब है", False),
    ],
)
def test_contains_by_hand_in_other_scripts(reference: str, generation: str, contained: bool) -> None:
    assert answer_contained(reference, generation) == float(contained)
