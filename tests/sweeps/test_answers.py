"""The command `answers`, and the sheet of the report. Oracle: the answers that the sweep was written with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import yaml
from typer.testing import CliRunner

from tests.support.answered_sweep import benchmark, write_answered_sweep
from tests.support.docs_pages import examples
from unlearn_sweep.engine.answers import read_answers
from unlearn_sweep.engine.store.snapshot import read_snapshot
from unlearn_sweep.plugins import plugin_file, use
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.commands.answers import label_named, marked
from unlearn_sweep.sweeps.report.answer_sheet import answer_sheet

runner = CliRunner()
ROWS = len([row for split in benchmark().evaluation.values() for row in split])


def test_all_answers_as_json(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    done = runner.invoke(
        app, ["answers", str(folder), "0", "--attack", "relearn-forget", "--split", "forget", "--json"]
    )
    assert done.exit_code == 0, done.output
    lines = json.loads(done.stdout)
    assert {line["model"] for line in lines} == {"original", "gold", "trial 0"}
    assert {(line["split"], line["attack"]) for line in lines} == {("forget", "relearn-forget")}
    mine = [line for line in lines if line["trial"] == 0]
    assert {(line["strength"], line["answer"] == "nothing") for line in mine} == {(5.0, True), (20.0, False)}


def test_the_text_has_one_line_for_each_model_and_strength(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    done = runner.invoke(app, ["answers", str(folder), "1", "--rows", "1"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line[2:].split("  ")[0] for line in lines[1:-1]] == [
        "reference",
        "original",
        "original under relearn-forget 5 steps",
        "original under relearn-forget 20 steps",
        "gold",
        "gold under relearn-forget 5 steps",
        "gold under relearn-forget 20 steps",
        "trial 1",
        "trial 1 under relearn-forget 5 steps",
        "trial 1 under relearn-forget 20 steps",
    ]
    assert lines[-1].startswith(f"1 of {ROWS} questions")


def test_a_search_keeps_all_answers_to_what_it_finds(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    row = benchmark().evaluation["forget"][0]
    done = runner.invoke(app, ["answers", str(folder), "--search", row.question.upper(), "--json"])
    lines = json.loads(done.stdout)
    assert {line["question"] for line in lines} == {row.question}
    assert {line["model"] for line in lines} == {"original", "gold", "trial 0", "trial 1"}


def test_an_attack_may_be_named_without_what_its_label_adds(tmp_path: Path) -> None:
    """Oracle: the label in full. Two labels of one attack are not guessed between."""
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    whole, short = (
        runner.invoke(app, ["answers", str(folder), "0", "--attack", name, "--json"]).stdout
        for name in ("relearn-forget", "relearn")
    )
    assert short == whole
    assert json.loads(short)
    labels = ["quantize-4bit", "quantize-8bit", "chain-quantize-4bit-relearn"]
    assert [label_named(name, labels) for name in ("quantize", "chain", "prefill")] == [
        "quantize",
        labels[2],
        "prefill",
    ]


def test_mistakes_end_with_status_2_and_what_there_is(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    for arguments, said in (
        ([str(tmp_path)], "is no sweep"),
        ([str(folder), "9"], "no record of trial 9; trials with one: 0, 1"),
        ([str(folder), "--attack", "relern"], "no answers of attack 'relern'; there are answers of relearn-forget"),
        ([str(folder), "--split", "x"], "no answers of split 'x'; there are answers of forget, retain"),
    ):
        done = runner.invoke(app, ["answers", *arguments])
        assert (done.exit_code, said in done.output) == (2, True), done.output


def test_words_of_the_reference_are_bold() -> None:
    text = marked("The answer is mount BELMAR, surely.", "Mount Belmar")
    assert [text.plain[span.start : span.end] for span in text.spans if span.style == "bold"] == ["mount", "BELMAR,"]


def test_the_sheet_has_a_column_for_each_model_and_attack(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo")
    answers = read_answers(read_snapshot(folder), [0])
    sheet = answer_sheet(answers)
    assert [(state.model, state.trial, state.attack, state.strength) for state in sheet.states] == [
        ("original", None, "", None),
        ("original", None, "relearn-forget", 20.0),
        ("gold", None, "", None),
        ("gold", None, "relearn-forget", 20.0),
        ("trial 0", 0, "", None),
        ("trial 0", 0, "relearn-forget", 20.0),
    ]
    assert sheet.asked == ROWS
    for row in sheet.rows:
        right = f"It is {row.reference}."
        assert row.answers == [right, right, "nothing", "nothing", "nothing", right]
    assert len(answer_sheet(answers, chars=600).rows) < len(sheet.rows)


def test_a_folder_that_names_a_plugin_runs_no_code_of_it(tmp_path: Path) -> None:
    """A sweep's folder may be a stranger's. Its plugin is run where the command names the file, and only there."""
    folder, ran = write_answered_sweep(tmp_path / "runs" / "demo"), tmp_path / "ran"
    plugin = folder / "mine.py"
    plugin.write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n{examples('extend.md')['my_benchmark.py']}")
    lock = yaml.safe_load((folder / "spec.lock.yaml").read_text())
    lock["job"] |= {"plugins": [asdict(plugin_file(plugin))], "benchmark": {"name": "sums", "params": {}}}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    for command in (["answers"], ["report"], ["report", "--json"], ["status"]):
        done = runner.invoke(app, [command[0], str(folder), *command[1:]])
        assert done.exit_code == 0, done.output
        assert not ran.exists()
        assert command != ["answers"] or "sums is a plugin's; give its file with --plugin" in done.stderr
    done = runner.invoke(app, ["answers", str(folder), "--plugin", str(plugin)])
    use(())
    assert ran.exists()
    assert "the benchmark's content or code changed after" in done.stderr


def test_a_thought_stands_before_the_answer_behind_it(tmp_path: Path) -> None:
    folder = write_answered_sweep(tmp_path / "runs" / "demo", thought="<think>\nThe keeper.\n</think>\n\n")
    printed = runner.invoke(app, ["answers", str(folder), "0", "--rows", "1"]).output.splitlines()
    labels = [line.split("  ")[1] for line in printed if line.startswith("  ")]
    assert labels[labels.index("original, thought") + 1] == "original"
    assert any(line.endswith("<think> The keeper. </think>") for line in printed)
    plain = runner.invoke(app, ["answers", str(write_answered_sweep(tmp_path / "others" / "demo")), "0"]).output
    assert "thought" not in plain
