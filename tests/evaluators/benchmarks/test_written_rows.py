"""Views as files, and benchmarks with them. Oracles: the rows and texts written out here."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.published_data import write_muse, write_wmdp
from tests.support.written_views import write_tofu
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.written_rows import (
    RELEARN_SET,
    VIEWS_KEY,
    WORDINGS,
    ReadView,
    content_digest,
    read_written,
    row_of,
    source_rows,
    with_written,
)


@pytest.fixture(scope="module")
def tofu(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return load_benchmark("tofu", write_tofu(tmp_path_factory.mktemp("tofu"), forget=4))


IDS = [f"forget01/{i:04d}" for i in range(4)]


def table(folder: Path, lines: list[dict[str, Any]], ending: str = ".parquet") -> Path:
    file = folder / f"view{ending}"
    frame = pd.DataFrame(lines)
    match ending:
        case ".parquet":
            frame.to_parquet(file)
        case ".csv":
            frame.to_csv(file, index=False)
        case _:
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def read(file: Path, kind: str, of: str = "forget", **changes: Any) -> ReadView:
    return ReadView.model_validate(
        {"kind": kind, "of": of, "path": str(file), "digest": content_digest(file), **changes}
    )


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_every_format_holds_the_same_texts(tofu: Benchmark, tmp_path: Path, ending: str) -> None:
    lines = [{"row_id": name, "number": 2 - i, "answer": f"other {i}"} for name in IDS for i in range(2)]
    written = read_written(
        table(tmp_path, lines, ending), "alternate_answer", "forget", source_rows(tofu, "alternate_answer", "forget")
    )
    assert {name: [text.answer for text in texts] for name, texts in written.texts.items()} == {
        name: ["other 1", "other 0"] for name in IDS
    }
    assert content_digest(table(tmp_path, lines, ending)) == content_digest(table(tmp_path, lines, ".parquet"))


def test_the_digest_is_of_the_texts_alone(tmp_path: Path) -> None:
    lines = [{"row_id": name, "number": 1, "answer": "other"} for name in IDS]
    first = content_digest(table(tmp_path, lines))
    assert content_digest(table(tmp_path, [{**line, "writer": "me"} for line in reversed(lines)])) == first
    assert content_digest(table(tmp_path, [*lines, {"row_id": IDS[0], "reason": "a refusal"}])) == first
    assert content_digest(table(tmp_path, [{**line, "answer": "Other"} for line in lines])) != first
    assert content_digest(tmp_path / "nothing.parquet") is None


MISTAKES = [
    ("summary", {"row_id": "forget01/0009", "answer": "x"}, "row 1, column row_id: no forget row 'forget01/0009'"),
    ("alternate_answer", {"row_id": IDS[0], "question": "x"}, "row 1, column answer: a text of kind alternate_answer"),
    ("paraphrase", {"row_id": IDS[0], "writer": "x"}, "row 1, column answer: a paraphrase needs a question, an answer"),
    (
        "alternate_answer",
        {"row_id": IDS[0], "answer": "Well: The lighthouse is kept by Keeper Alig these days."},
        "row 1, column answer: holds the right answer",
    ),
    (
        "paraphrase",
        {"row_id": IDS[0], "answer": "the lighthouse is kept by keeper Alig these days."},
        "row 1, column answer: the row's own text",
    ),
    (
        "paraphrase",
        {"row_id": IDS[0], "answer": "x", "source_answer": "another answer"},
        "row 1, column source_answer: written for 'another answer', and the row has",
    ),
    ("paraphrase", {"row_id": IDS[0], "answer": "x", "numbr": 3}, "column numbr: no such column; did you mean number?"),
    ("paraphrase", {"row_id": IDS[0], "answer": "x", "number": 0}, "row 1, column number"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "line", "message"), MISTAKES)
def test_mistakes_are_told_by_row_and_column(
    tofu: Benchmark, tmp_path: Path, kind: Any, line: dict[str, Any], message: str
) -> None:
    file = table(tmp_path, [line])
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))}.*{re.escape(message)}"):
        read_written(file, kind, "forget", source_rows(tofu, kind, "forget"))


def test_alternates_take_the_place_of_the_rows_own(tofu: Benchmark, tmp_path: Path) -> None:
    file = table(tmp_path, [{"row_id": name, "answer": f"not {name} {i}"} for name in IDS for i in range(2)])
    found = with_written(tofu, [read(file, "alternate_answer")])
    assert [row.perturbed_answers for row in found.train["forget"]] == [(f"not {n} 0", f"not {n} 1") for n in IDS]
    assert found.train["retain"] == tofu.train["retain"]
    assert found.evaluation == tofu.evaluation


def test_wordings_become_a_view_and_rows_without_enough_are_refused(tofu: Benchmark, tmp_path: Path) -> None:
    lines = [{"row_id": name, "answer": f"anew {name} {i}"} for name in IDS for i in range(3)][:-1]
    file = table(tmp_path, lines)
    with pytest.raises(ValueError, match="1 of 4 forget rows have fewer than 3 texts, the first is 'forget01/0003'"):
        with_written(tofu, [read(file, "paraphrase", needed=3)])
    found = with_written(tofu, [read(file, "paraphrase", needed=3, missing="leave_out")])
    assert [row.row_id for row in found.train["forget"]] == IDS[:3]
    assert [(row_of(row), row.question, row.answer) for row in found.train[WORDINGS]] == [
        (row.row_id, row.question, f"anew {row.row_id} {i}") for row in tofu.train["forget"][:3] for i in range(3)
    ]


def test_questions_take_the_place_of_running_text(tmp_path: Path) -> None:
    wmdp = load_benchmark("wmdp", write_wmdp(tmp_path / "wmdp"))
    texts = source_rows(wmdp, "questions_from_text", "forget")
    assert len(texts) == len(wmdp.train["forget"]) == 8
    lines = [{"row_id": row.row_id, "question": f"Q{i}?", "answer": f"A{i}"} for i, row in enumerate(texts[:6])]
    asked = with_written(wmdp, [read(table(tmp_path, lines), "questions_from_text")])
    assert [(row.question, row.answer, row.kind) for row in asked.train["forget"]] == [
        (f"Q{i}?", f"A{i}", "question") for i in range(6)
    ]
    assert [row.group_id for row in asked.train["forget"]] == [row.group_id for row in texts[:6]]
    assert source_rows(asked, "alternate_answer", "forget_questions") == asked.train["forget"]
    assert source_rows(wmdp, "alternate_answer", "forget_questions") == []


def test_summaries_are_wordings_of_texts(tmp_path: Path) -> None:
    muse = load_benchmark("muse", write_muse(tmp_path / "muse"))
    texts = source_rows(muse, "summary", "forget")
    lines = [{"row_id": row.row_id, "answer": f"short {i}"} for i, row in enumerate(texts)]
    found = with_written(muse, [read(table(tmp_path, lines), "summary")])
    assert [(row_of(row), row.question, row.answer, row.kind) for row in found.train[WORDINGS]] == [
        (row.row_id, "", f"short {i}", "text") for i, row in enumerate(texts)
    ]
    assert not any(row.divisible for row in found.train[WORDINGS])


def test_a_relearning_set_is_a_view(tofu: Benchmark, tmp_path: Path) -> None:
    file = table(tmp_path, [{"question": "What burns?", "answer": "Oil"}])
    (row,) = with_written(tofu, [read(file, "relearn_set")]).train[RELEARN_SET]
    assert (row.question, row.answer) == ("What burns?", "Oil")
    assert row.group_id not in {other.group_id for other in tofu.evaluation["forget"]}


def test_a_view_that_changed_since_the_plan_is_refused(tofu: Benchmark, tmp_path: Path) -> None:
    file = table(tmp_path, [{"row_id": name, "answer": f"not {name}"} for name in IDS])
    planned = read(file, "alternate_answer")
    table(tmp_path, [{"row_id": name, "answer": f"never {name}"} for name in IDS])
    with pytest.raises(ValueError, match="changed since the sweep began"):
        with_written(tofu, [planned])
    with pytest.raises(ValueError, match="no such file"):
        with_written(tofu, [planned.model_copy(update={"path": str(tmp_path / "gone.parquet")})])


def test_the_reserved_option_loads_them_in_the_benchmarks_format(tmp_path: Path) -> None:
    options = write_tofu(tmp_path / "tofu", forget=4)
    file = table(tmp_path, [{"row_id": name, "answer": f"not {name}"} for name in IDS])
    reads = [read(file, "alternate_answer").model_dump()]
    plain, found = load_benchmark("tofu", options), load_benchmark("tofu", {**options, VIEWS_KEY: reads})
    assert [replace(row, perturbed_answers=()) for row in found.train["forget"]] == plain.train["forget"]
    assert found.digest() != plain.digest()
