"""Answers of a sweep. Oracle: the benchmark's own rows, and what the stages were made to answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.answered_sweep import benchmark, write_answered_sweep
from unlearn_sweep.engine.answers import Answers, keep_questions, read_answers, sampled_rows, strongest
from unlearn_sweep.engine.store.snapshot import read_snapshot
from unlearn_sweep.engine.store.stages import StageStore

ROWS = {row.row_id: row for split in benchmark().evaluation.values() for row in split}


def answers_of(folder: Path, trials: list[int] | None = None) -> Answers:
    return read_answers(read_snapshot(folder), trials)


def test_every_answer_has_its_question_and_reference(tmp_path: Path) -> None:
    found = answers_of(write_answered_sweep(tmp_path / "runs" / "demo"))
    table = found.table
    assert found.problems == ()
    assert len(table) == 4 * 3 * len(ROWS)
    for line in table.to_dict("records"):
        row = ROWS[line["row_id"]]
        assert (line["question"], line["reference"]) == (row.question, row.answer)
        knows = line["model"] in ("original", "trial 1") or (line["model"] == "trial 0" and line["strength"] == 20.0)
        assert line["answer"] == (f"It is {row.answer}." if knows else "nothing")
    assert sorted(table["trial"].dropna().unique()) == [0, 1]
    assert set(table.loc[table["attack"] == "", "unit"]) == {""}


def test_a_chosen_trial_comes_with_the_controls_only(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    assert list(answers_of(folder, [1]).table["model"].unique()) == ["original", "gold", "trial 1"]
    with pytest.raises(ValueError, match="no record of trial 7; trials with one: 0, 1"):
        answers_of(folder, [7])


def test_the_last_strength_of_an_attack_stands_for_it(tmp_path: Path) -> None:
    table = strongest(answers_of(write_answered_sweep(tmp_path / "runs" / "demo")).table)
    assert len(table) == 4 * 2 * len(ROWS)
    assert set(table.loc[table["attack"] != "", "strength"]) == {20.0}


def test_the_sample_is_forget_rows_first_and_the_same_in_any_order(tmp_path: Path) -> None:
    table = answers_of(write_answered_sweep(tmp_path / "runs" / "demo")).table
    chosen = sampled_rows(table, forget=3, others=2)
    assert [row[0] for row in chosen] == ["forget", "forget", "forget", "retain", "retain"]
    assert sampled_rows(table.iloc[::-1], forget=3, others=2) == chosen


def test_texts_of_other_data_are_not_shown(tmp_path: Path) -> None:
    found = answers_of(write_answered_sweep(tmp_path / "runs" / "demo", data="another"))
    assert set(found.table["question"].isna()) == {True}
    assert set(found.table["answer"].notna()) == {True}
    assert found.problems == (
        "questions and references: the benchmark's content or code changed after the sweep measured it",
    )


def test_questions_that_the_sweep_kept_outlive_the_benchmark(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo", data="another")
    keep_questions(benchmark(), folder)
    found = answers_of(folder)
    assert found.problems == ()
    for line in found.table.to_dict("records"):
        row = ROWS[line["row_id"]]
        assert (line["question"], line["reference"]) == (row.question, row.answer)
    (folder / "questions.parquet").write_bytes(b"no parquet")
    assert "questions.parquet cannot be read" in answers_of(folder).problems[0]


def test_missing_and_damaged_rows_are_named(tmp_path: Path) -> None:
    nothing = answers_of(write_answered_sweep(tmp_path / "one" / "demo", stages=False))
    assert nothing.table.empty
    assert nothing.problems == tuple(
        f"{model}: rows of its stages are not in this storage" for model in ("original", "gold", "trial 0", "trial 1")
    )
    folder = write_answered_sweep(tmp_path / "two" / "demo")
    key = read_snapshot(folder).records[0].stage_keys["evaluate"]
    path = StageStore(folder.parent).stage_folder(key) / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    found = answers_of(folder)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("trial 0: ")
    assert "damaged" in found.problems[0]


def test_records_of_an_older_version_are_named(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    controls = read_snapshot(folder).controls
    assert controls is not None
    old = {which: getattr(controls, which).model_copy(update={"stage_keys": {}}) for which in ("original", "gold")}
    (folder / "controls.json").write_text(controls.model_copy(update=old).model_dump_json())
    assert [text.partition(":")[0] for text in answers_of(folder).problems] == ["original", "gold"]
