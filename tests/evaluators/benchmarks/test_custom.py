"""A benchmark of one's own files. Oracles: the rows written here, set algebra, and files broken on purpose."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.search_half import search_groups
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.passages import continuation_row, passages

Rows = list[dict[str, Any]]


def questions(first: int, count: int, **extra: Any) -> Rows:
    return [
        {"question": f"Who keeps lighthouse {i}?", "answer": f"Keeper {i}", **extra}
        for i in range(first, first + count)
    ]


def write_json(file: Path, rows: Rows) -> Path:
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def write_lines(file: Path, rows: Rows) -> Path:
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return file


def write_csv(file: Path, rows: Rows) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    return file


def write_parquet(file: Path, rows: Rows) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return file


WRITERS = {".json": write_json, ".jsonl": write_lines, ".csv": write_csv, ".parquet": write_parquet}


def load(folder: Path, forget: Rows, retain: Rows, **options: Any) -> Benchmark:
    paths = {
        "forget_path": str(write_lines(folder / "forget.jsonl", forget)),
        "retain_path": str(write_lines(folder / "retain.jsonl", retain)),
    }
    return load_benchmark("custom", paths | options)


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    forget = questions(0, 6, paraphrased_answer="The one", perturbed_answer=["Keeper 90", "Keeper 91"])
    retain = questions(20, 6)
    expected = load(tmp_path, forget, retain)
    paths = {
        "forget_path": str(WRITERS[ending](tmp_path / f"first{ending}", forget)),
        "retain_path": str(WRITERS[ending](tmp_path / f"second{ending}", retain)),
    }
    found = load_benchmark("custom", paths)
    assert found.digest() == expected.digest()
    assert [row.answer for row in found.train["forget"]] == [f"Keeper {i}" for i in range(6)]
    assert found.evaluation["forget"][0].perturbed_answers == ("Keeper 90", "Keeper 91")
    assert found.evaluation["forget"][0].paraphrased_answer == "The one"


def test_judged_rows_keep_the_names_of_the_trained_ones(tmp_path: Path) -> None:
    found = load(tmp_path, questions(0, 6), questions(20, 6))
    assert [row.row_id for row in found.evaluation["forget"]] == [row.row_id for row in found.train["forget"]]
    assert {row.form for row in found.evaluation["forget"]} == {"trained"}


def test_own_judged_rows_are_held_out_and_share_facts_by_group(tmp_path: Path) -> None:
    asked = [{**row, "group": f"g{i // 2}"} for i, row in enumerate(questions(0, 8))]
    judged = write_lines(tmp_path / "judged.jsonl", [{**row, "question": "Tell: " + row["question"]} for row in asked])
    found = load(tmp_path, asked, questions(20, 6), forget_judged_path=str(judged))
    assert {row.form for row in found.evaluation["forget"]} == {"held_out"}
    assert not {row.row_id for row in found.evaluation["forget"]} & {row.row_id for row in found.train["forget"]}
    groups = {row.group_id for row in found.evaluation["forget"]}
    assert groups == {row.group_id for row in found.train["forget"]}
    assert len(groups) == 4
    assert len(forget_halves(found).seen) == len(search_groups(found.evaluation["forget"])) == 2


def test_texts_are_trained_on_whole_and_judged_by_their_continuation(tmp_path: Path) -> None:
    texts = [
        {"text": f"Report {i}. " + "The harbour was silted and the pilots were paid in salt. " * 6} for i in range(5)
    ]
    found = load(tmp_path, texts, questions(20, 6), passage_characters=120)
    trained, judged = found.train["forget"], found.evaluation["forget"]
    assert {row.kind for row in trained} == {"text"}
    assert {row.kind for row in judged} == {"continuation"}
    assert all(len(row.answer) <= 120 and row.question == "" for row in trained)
    for index, record in enumerate(texts):
        parts = [row.answer for row in trained if row.row_id.startswith(f"forget/{index:05d}/")]
        assert " ".join(" ".join(parts).split()) == " ".join(record["text"].split())
    by_id = {row.row_id: row for row in trained}
    for row in judged:
        assert f"{row.question} {row.answer}".split() == by_id[row.row_id].answer.split()
        assert row.group_id == by_id[row.row_id].group_id


def test_multiple_choice_rows_are_asked_by_letter(tmp_path: Path) -> None:
    rows = [
        {"question": f"Which pier is {i}?", "choices": ["north", "south", "east"], "answer": i % 3} for i in range(6)
    ]
    (found, *_) = load(tmp_path, rows, questions(20, 6)).evaluation["forget"]
    assert (found.kind, found.choices, found.answer) == ("choice", ("A", "B", "C"), "A")
    assert found.question == "Which pier is 0?\nA. north\nB. south\nC. east"
    csv_file = write_csv(tmp_path / "choices.csv", [{**row, "answer": "ABC"[row["answer"]]} for row in rows])
    again = load_benchmark("custom", {"forget_path": str(csv_file), "retain_path": str(tmp_path / "retain.jsonl")})
    assert [row.answer for row in again.evaluation["forget"]] == list("ABCABC")


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    named = [{"prompt": row["question"], "completion": row["answer"], "source": "x"} for row in questions(0, 6)]
    found = load(tmp_path, named, questions(20, 6), columns={"question": "prompt", "answer": "completion"})
    assert found.digest() == load(tmp_path, questions(0, 6), questions(20, 6)).digest()


def test_the_prompt_is_the_users_own(tmp_path: Path) -> None:
    found = load(tmp_path, questions(0, 6), questions(20, 6), prompt="Q {question} A", answer_lead=": ")
    assert found.template.prompt("x") == "Q x A"
    assert found.tokenizer_texts[0] == "Q Who keeps lighthouse 0? A: Keeper 0"


def test_held_out_rows_are_a_split_that_is_no_utility(tmp_path: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", questions(50, 5))
    found = load(tmp_path, questions(0, 6), questions(20, 6), holdout_path=str(other))
    assert set(found.evaluation) == {"forget", "retain", "holdout"}
    assert found.utility_splits == ("retain",)


@pytest.mark.parametrize(
    ("forget", "told"),
    [
        ([{"question": "Who?"}], r"forget.jsonl, row 1, column answer: field required; the row has question"),
        ([{"question": "Who?", "anwser": "He"}], r"row 1, column answer: .* the row has 'anwser': is that it\?"),
        ([{"prompt": "Who?", "completion": "He"}], r"needs columns question and answer .* it has: prompt, completion"),
        ([{"Question": "Who?", "Answer": "He"}], r"'Question' looks like question: rename it, or write columns"),
        ([{"question": "Who?", "answer": 5.5}], r"row 1, column answer: .*string, got '5.5'"),
        ([{"question": "Who?", "answer": ""}], r"row 1, column answer: .*at least 1 character"),
        ([{"text": ""}], r"row 1, column text: .*at least 1 character"),
        ([*questions(0, 4), {"text": "x"}], r"row 5, column question: field required; the row has text"),
        (questions(0, 5, perturbed_answers=["a"]), r"column perturbed_answers: .* did you mean perturbed_answer\?"),
        (questions(0, 5, perturbed_answer=["Keeper 3"]), r"row 4, .*: perturbed_answer holds the right answer"),
        (questions(0, 5, perturbed_answer="none"), r"row 1, column perturbed_answer: .*list"),
        (
            [{"question": "Which?", "choices": ["a", "b"], "answer": 2}],
            r"row 1, .* answer is 2, and there are 2 choices",
        ),
        ([{"question": "Which?", "choices": ["a"], "answer": 0}], r"row 1, column choices: .*at least 2 items"),
        (questions(0, 3), r"forget.jsonl: 3 facts to judge forgetting by; at least 4 are needed"),
        (questions(20, 6), r"6 rows are in both .*forget.jsonl \(forget_path\) and .*retain.jsonl \(retain_path\)"),
        ([{"text": "word"}] * 4, r"no text of two words or more"),
        ([], r"forget.jsonl: needs columns|forget.jsonl: no rows"),
    ],
)
def test_a_mistake_is_told_by_file_row_and_column(tmp_path: Path, forget: Rows, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        load(tmp_path, forget, questions(20, 6))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"question,answer\nWho?\n", r"a.csv, row 2: 1 cells, and the header has 2 columns"),
        ("a.csv", b"question,question\nWho?,He\n", r"row 1: column 'question' is there more than once"),
        ("a.csv", b'question,answer\n"Who?,He\n', r"a.csv, line 2: no CSV"),
        ("a.json", b'[{"question": ]', r"a.json, line 1: no JSON \(.* at column 15\)"),
        ("a.jsonl", b'{"question": "Who?", "answer": "He"}\n{broken', r"a.jsonl, row 2: no JSON"),
        ("a.parquet", b"not parquet", r"a.parquet: no parquet file"),
        ("a.json", '{"question": "O\u00f9?"}'.encode("latin-1"), r"a.json: not UTF-8"),
        ("a.txt", b"text", r"files end with .json, .jsonl, .csv, .parquet; this one ends with '.txt'"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    retain = write_lines(tmp_path / "retain.jsonl", questions(20, 6))
    with pytest.raises(ValueError, match=told):
        load_benchmark("custom", {"forget_path": str(tmp_path / name), "retain_path": str(retain)})


def test_a_spreadsheets_row_is_named_as_the_spreadsheet_does(tmp_path: Path) -> None:
    """The header is row 1; a cell with a line break does not count twice."""
    file = tmp_path / "a.csv"
    file.write_text('question,answer\n"Who\nis it?",He\nWho?,\n', encoding="utf-8-sig")
    with pytest.raises(ValueError, match=r"a.csv, row 3, column answer: field required"):
        load_benchmark("custom", {"forget_path": str(file), "retain_path": str(file)})


def test_a_missing_file_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    write_lines(tmp_path / "forget.jsonl", questions(0, 6))
    with pytest.raises(ValueError, match=r"forgot.jsonl: no such file; did you mean 'forget.jsonl'"):
        load_benchmark("custom", {"forget_path": str(tmp_path / "forgot.jsonl"), "retain_path": "x.jsonl"})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"columns": {"qestion": "q"}}, "'qestion' is no column of this tool; it reads .*question"),
        ({"prompt": "no place"}, "must have {question} in it, once"),
        ({"passage_characters": 5}, "greater than or equal to 40"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        load(tmp_path, questions(0, 6), questions(20, 6), **options)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab .\n", max_size=300), st.integers(5, 60))
def test_passages_lose_nothing_but_white_space(text: str, characters: int) -> None:
    found = passages(text, characters)
    assert all(part.strip() and len(part) <= characters for part in found)
    assert "".join("".join(found).split()) == "".join(text.split())


def test_passages_end_where_a_reader_would_pause() -> None:
    text = "One two three.\n\nFour five six seven. Eight nine"
    assert passages(text, 25) == ["One two three.", "Four five six seven.", "Eight nine"]
    assert passages("x" * 7, 3) == ["xxx", "xxx", "x"]


def test_documents_in_scripts_without_spaces_are_taken_and_continued(tmp_path: Path) -> None:
    """Ten Chinese documents of some twenty characters: half of each, by hand, is asked and the other half judged."""
    texts = [f"林舟是云岭镇{mark}号灯塔看守人。他每天点亮灯火" for mark in "甲乙丙丁戊己庚辛壬癸"]
    found = load(tmp_path, [{"text": text} for text in texts], questions(20, 6))
    judged = found.evaluation["forget"]
    assert [row.question + row.answer for row in judged] == texts
    assert judged[0].question == "林舟是云岭镇甲号灯塔"
    assert judged[0].template is not None
    assert judged[0].template.answer_lead == ""


def test_passages_end_behind_a_full_stop_of_any_script() -> None:
    assert passages("他是看守人。他每天点亮灯火。", 10) == ["他是看守人。", "他每天点亮灯火。"]
    assert passages("यह घर है। वह पेड़ है।", 13) == ["यह घर है।", "वह पेड़ है।"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "three."]), max_size=12), st.floats(0.0, 1.0))
def test_a_continuation_has_words_on_both_sides(words: list[str], share: float) -> None:
    row = continuation_row("r", "forget", " ".join(words), share=share)
    if len(words) < 2:
        assert row is None
    else:
        assert row is not None
        assert row.question.split() + row.answer.split() == words
        assert row.question
        assert row.answer


def test_whole_numbers_are_text_in_every_format(tmp_path: Path) -> None:
    """As a CSV file has them; JSON and parquet keep them as numbers."""
    rows = [{"question": f"In which year was pier {i} built?", "answer": 1900 + i, "group": i // 2} for i in range(8)]
    retain = write_lines(tmp_path / "retain.jsonl", questions(20, 6))
    digests = set()
    for ending, write in WRITERS.items():
        file = write(tmp_path / f"years{ending}", rows)
        found = load_benchmark("custom", {"forget_path": str(file), "retain_path": str(retain)})
        digests.add(found.digest())
        assert [row.answer for row in found.train["forget"]] == [str(1900 + i) for i in range(8)]
        assert len({row.group_id for row in found.train["forget"]}) == 4
    assert len(digests) == 1


def test_a_csv_cell_may_be_of_any_length(tmp_path: Path) -> None:
    text = " ".join(f"In year {i} the harbour was silted." for i in range(5000))
    file = write_csv(tmp_path / "book.csv", [{"text": text}])
    assert len(text) > 131_072
    retain = write_lines(tmp_path / "retain.jsonl", questions(20, 6))
    found = load_benchmark("custom", {"forget_path": str(file), "retain_path": str(retain)})
    assert " ".join(row.answer for row in found.train["forget"]).split() == text.split()
