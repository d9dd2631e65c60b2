"""Fine-tuning on other data: it must take, hold rows apart, and say what is wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest
import torch

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.finetune_params import FinetuneParams
from unlearn_sweep.evaluators.benchmarks.task_data import TaskDataError, task_rows

GSM8K = Path(__file__).parents[3].parent / "shared" / "data" / "gsm8k" / "train_first1000.jsonl"


@pytest.fixture
def sums(tmp_path: Path) -> str:
    path = tmp_path / "sums.jsonl"
    records = [{"question": f"What is {a} plus {b}?", "answer": f"It is {a + b}."} for a in range(6) for b in range(6)]
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n", encoding="utf-8")
    return str(path)


def test_held_out_loss_falls_and_is_recorded(target: Target, sums: str) -> None:
    params = {"data": sums, "steps": [0, 10], "heldout_rows": 8, "batch_size": 8, "learning_rate": 1e-3}
    start, end = build("finetune", params).run(target)
    assert start.notes is not None
    assert end.notes is not None
    assert start.notes["task_nll_before"] == start.notes["task_nll_after"] == end.notes["task_nll_before"]
    assert start.notes["tuning_took"] == 0.0
    assert end.notes["task_nll_after"] < end.notes["task_nll_before"] - 0.5
    assert end.notes["tuning_took"] == 1.0
    assert end.scored_groups is None


def test_accuracy_is_that_of_the_models_own_tokens(target: Target, sums: str) -> None:
    """Oracle: the argmax of one unpadded pass a held-out row."""
    params = {"data": sums, "steps": 6, "heldout_rows": 5, "batch_size": 8, "learning_rate": 1e-3}
    (state,) = build("finetune", params).run(target)
    rows = task_rows(FinetuneParams.model_validate(params), seed=target.seed)[:5]
    shares = []
    for example in encode_rows(target.tokenizer, rows, target.benchmark.template):
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
        with torch.no_grad():
            guessed = state.model(ids).logits[0].argmax(-1)[len(example.prompt_ids) - 1 : -1]
        shares.append(float((guessed == torch.tensor(example.answer_ids)).float().mean()))
    assert state.notes is not None
    assert state.notes["task_accuracy_after"] == pytest.approx(fmean(shares))


SENTENCES = [("figs and plums", 1), ("oats and leeks", 0), ("pears", 1), ("rye", 0)]


@pytest.fixture
def sentiments(tmp_path: Path) -> str:
    """SST-2's columns in a CSV file; the unlabelled row has -1, as its test split has."""
    lines = [f"{sentence},{label}" for _ in range(12) for sentence, label in SENTENCES]
    path = tmp_path / "sst2.csv"
    path.write_text("\n".join(["sentence,label", *lines, "nobody rated this,-1"]), encoding="utf-8")
    return str(path)


def test_sentiment_is_asked_in_words_and_unlabelled_rows_are_left_out(sentiments: str) -> None:
    rows = task_rows(FinetuneParams(data=sentiments, task="sst2", heldout_rows=4), seed=0)
    assert len(rows) == 48
    assert {(row.answer == "positive") for row in rows if "pears" in row.question} == {True}
    assert {row.answer for row in rows if "oats" in row.question} == {"negative"}
    assert all(row.question.startswith("Is this sentence positive or negative?") for row in rows)


def test_inference_has_three_classes_by_number_or_name(tmp_path: Path) -> None:
    path = tmp_path / "mnli.jsonl"
    labels = [0, 1, 2, "contradiction", -1]
    records = [
        {"premise": f"p{i}.", "hypothesis": "h.", "label": label, "genre": "x"} for i, label in enumerate(labels)
    ]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    rows = task_rows(FinetuneParams(data=str(path), task="mnli", heldout_rows=1), seed=0)
    answers = {row.question.partition(".")[0]: row.answer for row in rows}
    assert answers == {
        "Premise: p0": "entailment", "Premise: p1": "neutral", "Premise: p2": "contradiction",
        "Premise: p3": "contradiction",
    }  # fmt: skip


def test_a_class_out_of_range_is_told_by_file_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "sst2.jsonl"
    path.write_text('{"sentence": "a", "label": 1}\n{"sentence": "b", "label": 7}\n', encoding="utf-8")
    with pytest.raises(TaskDataError, match=r"sst2\.jsonl, row 2, column label: input should be less than 2, got '7'"):
        task_rows(FinetuneParams(data=str(path), task="sst2", heldout_rows=1), seed=0)


def test_classification_takes_and_its_accuracy_rises(target: Target, sentiments: str) -> None:
    params = {
        "data": sentiments,
        "task": "sst2",
        "steps": 120,
        "heldout_rows": 16,
        "batch_size": 24,
        "learning_rate": 3e-3,  # at 1e-2 the end depends on rounding: held-out accuracy .4 to 1 over six seeds
    }
    (state,) = build("finetune", params).run(target)
    assert state.notes is not None
    assert state.notes["task_accuracy_before"] < 0.9
    assert state.notes["task_accuracy_after"] == 1.0
    assert state.notes["tuning_took"] == 1.0


def test_names_of_data_are_names_of_tasks() -> None:
    assert [FinetuneParams(data=name).named_task for name in ("gsm8k", "sst2", "mnli", "x/y")] == [
        "questions", "sst2", "mnli", "questions",
    ]  # fmt: skip
    assert FinetuneParams(data="my.csv", task="mnli").named_task == "mnli"


def test_a_rate_of_zero_is_seen_not_to_take_and_changes_nothing(target: Target, sums: str) -> None:
    (state,) = build("finetune", {"data": sums, "steps": 3, "heldout_rows": 8, "learning_rate": 0.0}).run(target)
    assert state.notes is not None
    assert state.notes["tuning_took"] == 0.0
    assert same_weights(state.model, target.model)


def test_rows_are_drawn_by_seed_and_capped(sums: str) -> None:
    params = FinetuneParams(data=sums, heldout_rows=4, max_rows=10)
    questions = {seed: [row.question for row in task_rows(params, seed=seed)] for seed in (1, 2)}
    assert len(questions[1]) == len(set(questions[1])) == 10
    assert questions[1] == [row.question for row in task_rows(params, seed=1)]
    assert questions[1] != questions[2]


def test_gsm8k_file_is_read() -> None:
    if not GSM8K.is_file():
        pytest.skip(f"no GSM8K file at {GSM8K.name} in the shared data folder")
    rows = task_rows(FinetuneParams(data=str(GSM8K)), seed=0)
    assert len(rows) == sum(1 for line in GSM8K.read_text(encoding="utf-8").splitlines() if line.strip())
    assert all("####" in row.answer for row in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "a", "answer": "b"}\n{"question"', r"data\.jsonl, row 2: no JSON"),
        ('"text"\n', r"data\.jsonl, row 1, column \(the whole row\)"),
        (
            '{"question": "a", "answer": "b"}\n{"Question": "a", "answer": "b"}\n',
            r"data\.jsonl, row 2, column question: field required; the row has 'Question': is that it\?",
        ),
        ('{"question": 3, "answer": "b"}\n', r"data\.jsonl, row 1, column question: input should be a valid string"),
        ('{"question": "a", "answer": "b"}\n', "1 rows, of which heldout_rows=1 are kept apart; none is left"),
    ],
)
def test_bad_files_are_named_with_line_or_column(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TaskDataError, match=message):
        task_rows(FinetuneParams(data=str(path), heldout_rows=1), seed=0)


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(TaskDataError, match=r"nowhere\.jsonl: no such file"):
        task_rows(FinetuneParams(data="nowhere.jsonl"), seed=0)


def test_rows_longer_than_the_limit_leave_nothing_to_check_with(target: Target, sums: str) -> None:
    with pytest.raises(AttackError, match="longer than max_tokens=2"):
        list(build("finetune", {"data": sums, "heldout_rows": 4, "max_tokens": 2}).run(target))


def test_a_hub_data_set_that_cannot_be_reached_is_named_with_what_was_tried() -> None:
    wanted = (
        r"'nobody/no-such-set' is no file \(\.json, \.jsonl, \.csv, \.parquet\) and could not be loaded "
        "as hub data set 'nobody/no-such-set'"
    )
    with pytest.raises(TaskDataError, match=wanted):
        task_rows(FinetuneParams(data="nobody/no-such-set"), seed=0)
