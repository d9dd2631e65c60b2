"""Short answers. Oracles: values by hand after SQuAD's published scorer, and its F1 in plain precision and recall."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from unlearn_sweep.evaluators.answering import answer_in
from unlearn_sweep.evaluators.benchmarks.rwku_abilities import CONCLUSION
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rows import Row, Template
from unlearn_sweep.evaluators.short_answers import answer_f1, exact_match, plain_words


@pytest.mark.parametrize(
    ("accepted", "answer", "exact", "f1"),
    [
        (["Indian Ocean"], "the indian ocean.", 1.0, 1.0),
        (["Indian Ocean"], "It is the Indian Ocean", 0.0, 2 * 2 / (2 + 4)),
        (["Beck", "Orla Beck"], "Orla Beck", 1.0, 1.0),
        (["Orla Beck"], "Beck", 0.0, 2 / 3),
        (["1989"], "", 0.0, 0.0),
        (["(A)"], "(B)", 0.0, 0.0),
        (["(A)"], "A", 1.0, 1.0),
        (["a b b"], "b b c", 0.0, 4 / 5),
        (["林舟"], "「林舟」。", 1.0, 1.0),
        (["林舟"], "林野", 0.0, 1 / 2),
        (["Марта Козлова"], "марта козлова!", 1.0, 1.0),
        (["Марта Козлова"], "Козлова", 0.0, 2 / 3),
    ],
)
def test_by_hand(accepted: list[str], answer: str, exact: float, f1: float) -> None:
    assert exact_match(accepted, answer) == exact
    assert answer_f1(accepted, answer) == pytest.approx(f1)


WORDS = st.lists(st.sampled_from(["salt", "light", "tower", "of"]), max_size=6).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=3), WORDS)
def test_f1_is_that_of_precision_and_recall(accepted: list[str], answer: str) -> None:
    def one(right: list[str], said: list[str]) -> float:
        common = sum((Counter(right) & Counter(said)).values())
        if not right or not said:
            return float(right == said)
        if not common:
            return 0.0
        precision, recall = common / len(said), common / len(right)
        return 2 * precision * recall / (precision + recall)

    expected = max(one(plain_words(right), plain_words(answer)) for right in accepted)
    assert answer_f1(accepted, answer) == pytest.approx(expected)
    assert exact_match(accepted, answer) <= answer_f1(accepted, answer) + 1e-12


def test_what_follows_the_conclusion_is_the_answer() -> None:
    template = Template(extract=CONCLUSION)
    assert answer_in("First this. So the answer is Orla Beck. And more.", template) == "Orla Beck"
    assert answer_in("No conclusion at all", template) == "No conclusion at all"


def test_a_quiz_row_is_scored_against_all_its_answers(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model: LlamaForCausalLM = tiny_models.llama().eval()
    blank = Row(row_id="a", group_id="a", split="facts", question="Who?", answer="x", accepted=("x",), kind="quiz")
    metrics = ["exact_match", "answer_f1"]
    said = evaluate_rows(model, tiny_tokenizer, [blank], metrics=metrics, template=Template(), max_new_tokens=6).table[
        "generation"
    ][0]
    right = Row(
        row_id="b", group_id="b", split="facts", question="Who?", answer="x", accepted=("x", str(said)), kind="quiz"
    )
    table = evaluate_rows(
        model, tiny_tokenizer, [blank, right], metrics=metrics, template=Template(), max_new_tokens=6
    ).table
    assert table["exact_match"].tolist() == [0.0, 1.0]
    assert table["answer_f1"].tolist()[1] == 1.0
