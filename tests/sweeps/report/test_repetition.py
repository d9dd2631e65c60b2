"""Models that repeat themselves. Oracle: counts of the answers written here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

from tests.support.answered_sweep import write_answered_sweep
from unlearn_sweep.sweeps.report.build import load_answered, load_report
from unlearn_sweep.sweeps.report.repetition import repeats_a_word, repetition, with_repetition

FACTS = [f"city {number}" for number in range(40)]


def table(answers: Mapping[str, Sequence[str]], *, split: str = "forget", attack: str = "") -> pd.DataFrame:
    lines = [(model, attack, split, text) for model, texts in answers.items() for text in texts]
    return pd.DataFrame(lines, columns=["model", "attack", "split", "answer"])


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("royal royal romance", True),
        ("Royal ROYAL", True),
        ("the king and the queen", False),
        ("wait ... ... what", False),
        ("", False),
    ],
)
def test_a_word_that_follows_itself(text: str, repeats: bool) -> None:
    assert repeats_a_word(text) is repeats


def test_words_said_twice_are_counted_beside_the_controls() -> None:
    stuck = [f"{fact} {fact.split()[0]} {fact.split()[0]}" for fact in FACTS[:10]]
    found = repetition(table({"trial 3": [*stuck, *FACTS[10:]], "gold": FACTS, "original": ["a a", *FACTS[1:]]}), 3)
    assert found == [
        "answers are repetitive: to 10 of 40 forget questions a word comes twice in a row (gold 0, original 1), "
        'as in "city 0 city city"'
    ]


def test_one_answer_to_many_questions_is_counted() -> None:
    found = repetition(table({"trial 3": [*["Parrot"] * 12, *FACTS[12:]], "gold": FACTS}, split="retain"), 3)
    assert found == ['answers are repetitive: 12 of 40 other questions get the answer "parrot" (gold 1)']
    (empty,) = repetition(table({"trial 3": ["", " ", *[""] * 20, *FACTS[22:]], "gold": FACTS}), 3)
    assert "22 of 40 forget questions get the answer nothing" in empty


def test_what_a_control_does_as_well_is_no_remark() -> None:
    same = ["yes"] * 40
    assert repetition(table({"trial 3": same, "gold": same, "original": FACTS}), 3) == []
    few = ["b b", *FACTS[1:]]
    assert repetition(table({"trial 3": few, "gold": FACTS}), 3) == []
    assert repetition(table({"trial 3": same, "gold": FACTS}, attack="relearn"), 3) == []
    assert repetition(table({"trial 3": same}), 3) == []
    assert repetition(table({"trial 4": same, "gold": FACTS}), 3) == []


def test_a_recommended_trial_that_repeats_itself_is_marked(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_answered_sweep(tmp_path_factory.mktemp("answered") / "runs" / "demo")
    report, answers = load_answered(folder)
    first = report.picks[0].number
    own = answers.table["model"] == f"trial {first}"
    changed = answers.table.assign(answer=answers.table["answer"].where(~own, "royal royal"))
    marked = next(trial for trial in with_repetition(report, changed).trials if trial.number == first)
    assert any(text.startswith("answers are repetitive: ") and "royal royal" in text for text in marked.cautions)
    assert load_report(folder).trials == report.trials
