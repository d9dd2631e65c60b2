"""Command write-views against a real endpoint on loopback. Oracles: the server's own count of calls, and the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from tests.evaluators.judge.server import Endpoint, Reply, serving
from tests.support.published_data import write_wmdp
from tests.support.written_views import USAGE, good_text, write_tofu, writes
from unlearn_sweep.evaluators.chat_models.endpoint import complete
from unlearn_sweep.sweeps.cli import app

PREFIX = "UNLEARN_SWEEP_WRITER_"
METHODS = "{npo+gao: {gao_paraphrases: 6, gao_agree: 4}, altpo: {}}"
VIEWS = "[{paraphrase: {number: 6}}, {alternate_answer: {number: 2}}]"


def sweep_file(
    folder: Path, *, views: str = VIEWS, methods: str = METHODS, attacks: str = "[quantize]", rows: int = 8
) -> Path:
    options = write_tofu(folder / "tofu", forget=rows)
    file = folder / "sweep.yaml"
    file.write_text(
        f"name: a\nbenchmark: {json.dumps({'name': 'tofu', **options})}\nmethods: {methods}\nviews: {views}\n"
        f"attacks: {attacks}\nsearch: {{trials: 2}}\nstorage: {folder / 'runs'}\n"
    )
    return file


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def written(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with serving(writes) as endpoint:
        name_writer(monkeypatch, endpoint)
        yield endpoint


def name_writer(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint, name: str = "") -> None:
    monkeypatch.setenv(f"{PREFIX}{name}URL", endpoint.url)
    monkeypatch.setenv(f"{PREFIX}{name}MODEL", f"writer{name.lower()}-2025-01-01")


def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that failed are made again at once."""
    monkeypatch.setattr(complete, "__kwdefaults__", {"sleep": lambda seconds: None})


def test_six_wordings_and_two_wrong_answers_of_each_row(
    tmp_path: Path, server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}PRICES", "1,10")
    file = sweep_file(tmp_path)
    refused = run("validate", file)
    assert refused.exit_code == 2
    assert "method npo+gao reads view paraphrase of forget, which is not written" in refused.stderr
    assert f"unlearn-sweep write-views {file}" in refused.stderr
    assert "method altpo reads view alternate_answer of forget, which is not written" in refused.stderr
    wordings, wrong = written(run("write-views", file, "--json"))
    assert (wordings["texts"], wordings["rows"], wrong["texts"]) == (48, 8, 16)
    assert wordings["cost"] == {
        "calls": 48, "cached": 0, "prompt_tokens": 4800, "completion_tokens": 960, "dollars": pytest.approx(0.0144)
    }  # fmt: skip
    assert server.calls == 64
    assert {body["temperature"] for body in server.bodies} == {0.8}
    table = pd.read_parquet(wordings["path"])
    assert table.groupby("row_id")["answer"].nunique().tolist() == [6] * 8
    assert all(source in text for source, text in zip(table["source_answer"], table["answer"], strict=True))
    assert run("validate", file).exit_code == 0


def test_a_second_command_and_a_second_sweep_make_no_call(tmp_path: Path, server: Endpoint) -> None:
    file = sweep_file(tmp_path)
    first = written(run("write-views", file, "--json"))
    calls = server.calls
    again = written(run("write-views", file, "--json"))
    assert [report["cost"] for report in again] == [None, None]
    for report in first:  # the file is lost, and what was answered is not
        Path(report["path"]).unlink()
    anew = written(run("write-views", file, "--json"))
    assert [(report["cost"]["calls"], report["cost"]["cached"]) for report in anew] == [(0, 48), (0, 16)]
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text().replace("name: a\n", "name: b\n"))
    assert run("validate", other).exit_code == 0
    assert server.calls == calls


def test_an_endpoint_that_errs_costs_calls_and_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overload, faults and garbage are tried again; for a cut, empty or refusing answer another is asked."""
    bad = [Reply(status=429, headers={"Retry-After": "0"}), Reply(status=500), Reply(raw=b"<html>"), None]
    words = ["I'm sorry, I cannot do that.", "", "cut"]

    def behaviour(row: dict[str, Any], before: int) -> Reply:
        fault = bad[len(row["response"]) % 4] if before == 0 else None
        if fault is not None:
            return fault
        said = words[len(row["response"]) % 3] if "Change the order" in row["response"] else good_text(row["response"])
        return Reply(text=said, usage=USAGE, finish="length" if said == "cut" else "stop")

    without_waiting(monkeypatch)
    with serving(behaviour) as endpoint:
        name_writer(monkeypatch, endpoint)
        (report,) = written(run("write-views", sweep_file(tmp_path, views="[paraphrase]"), "--json"))
        assert report["texts"] == 48
        assert report["cost"]["calls"] == endpoint.calls > 56


def test_texts_that_no_attempt_gives_are_counted_and_refused_with_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row about Vantry 3 only ever gets its own answer back."""

    def behaviour(row: dict[str, Any], before: int) -> Reply:
        own = row["response"].rpartition("\nAnswer: ")[2]
        return Reply(text=own if "Vantry 3?" in row["response"] else good_text(row["response"]), usage=USAGE)

    with serving(behaviour) as endpoint:
        name_writer(monkeypatch, endpoint)
        file = sweep_file(tmp_path, views="[{paraphrase: {number: 6, attempts: 2}}]", methods="{npo+gao: {}}")
        result = run("write-views", file)
        assert result.exit_code == 1
        assert "refused: the answer as it was: 6" in result.stdout
        assert "1 rows have fewer texts than asked for" in result.stdout
        assert endpoint.calls == 7 * 6 + 12
        again = run("write-views", file)
        assert (again.exit_code, endpoint.calls) == (1, 7 * 6 + 12)
    refused = run("validate", file)
    assert refused.exit_code == 2
    assert (
        "1 of 8 rows of view paraphrase of forget have fewer than 3 texts, the first is 'forget01/0003'"
        in refused.stderr
    )
    assert "(refused: the answer as it was: 6)" in refused.stderr
    file.write_text(file.read_text().replace("attempts: 2}", "attempts: 2, missing: leave_out}"))
    assert run("validate", file).exit_code == 0
    assert "leaves out 1 of 8 rows" in " ".join(run("plan", file).stdout.split())


def test_several_writers_and_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three wordings by each of two writers; the judge refuses those of the second that hold a five."""

    def judged(row: dict[str, Any], before: int) -> Reply:
        return Reply(text="NO" if "5" in row["new"].split(":")[0] else "YES", usage=USAGE)

    with serving(writes) as first, serving(writes) as second, serving(judged) as judge:
        name_writer(monkeypatch, first)
        name_writer(monkeypatch, second, "OTHER_")
        monkeypatch.setenv("UNLEARN_SWEEP_JUDGE_URL", judge.url)
        monkeypatch.setenv("UNLEARN_SWEEP_JUDGE_MODEL", "judge-2025-01-01")
        views = "[{paraphrase: {number: 3, writers: [main, other], check: judge, attempts: 9, missing: leave_out}}]"
        file = sweep_file(tmp_path, views=views)
        (report,) = written(run("write-views", file, "--json"))
        table = pd.read_parquet(report["path"])
        kept = [(text, writer) for text, writer in zip(table["answer"], table["writer"], strict=True) if pd.notna(text)]
        assert not [text for text, _ in kept if "5" in text.partition(":")[0]]
        assert {writer for _, writer in kept} == {"main", "other"}
        assert report["texts"] >= 40
        assert report["cost"]["calls"] == first.calls + second.calls + judge.calls
        Path(report["path"]).unlink()
        calls = first.calls, second.calls, judge.calls
        written(run("write-views", file, "--json"))
        assert (first.calls, second.calls, judge.calls) == calls


def test_plan_says_calls_and_cost(tmp_path: Path, server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 first calls, each of the tokens of its words; none once they are answered."""
    monkeypatch.setenv(f"{PREFIX}PRICES", "1000,0")
    file = sweep_file(tmp_path, views="[paraphrase]", methods="{npo+gao: {}}")
    said = " ".join(run("plan", file).stdout.split())
    assert "write-views would write view paraphrase of forget: about 48 calls" in said
    assert "about $" in said
    assert server.calls == 0
    written(run("write-views", file, "--json"))
    assert "write-views would write" not in " ".join(run("plan", file).stdout.split())


def test_without_a_writer_nothing_is_asked_and_the_variables_are_named(tmp_path: Path) -> None:
    result = run("write-views", sweep_file(tmp_path))
    assert result.exit_code == 2
    assert "set UNLEARN_SWEEP_WRITER_URL and UNLEARN_SWEEP_WRITER_MODEL" in result.stderr
    assert "Traceback" not in result.output


def test_a_writer_that_never_answers_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_waiting(monkeypatch)
    with serving(lambda row, before: Reply(status=503)) as endpoint:
        name_writer(monkeypatch, endpoint)
        result = run("write-views", sweep_file(tmp_path))
        assert result.exit_code == 2
        assert "the writer gave no answer to 8 questions: HTTP 503" in result.stderr


def test_questions_from_text_and_their_wrong_answers(tmp_path: Path, server: Endpoint) -> None:
    """WMDP's corpora are running text: first questions, then wrong answers to these."""
    options = write_wmdp(tmp_path / "wmdp")
    file = tmp_path / "sweep.yaml"
    views = (
        "[{alternate_answer: {of: forget_questions}}, {questions_from_text: {number: 1}}, "
        "{questions_from_text: {of: retain, number: 1}}]"
    )
    file.write_text(
        f"name: a\nbenchmark: {json.dumps({'name': 'wmdp', **options})}\n"
        f"methods: {{idk_ap: {{}}, dpo: {{}}, altpo: {{}}, elm: {{fluency: refusal}}}}\n"
        f"gold: {{floor: chance}}\nviews: {views}\n"
        "attacks: [quantize]\nsearch: {trials: 4}\n"
        f"storage: {tmp_path / 'runs'}\n"
    )
    refused = run("validate", file).stderr
    assert "method idk_ap reads view questions_from_text of retain, which is not written" in refused
    reports = written(run("write-views", file, "--json"))
    assert [report["rows_without_enough"] for report in reports] == [0, 0, 0]
    assert run("validate", file).exit_code == 0
    file.write_text(file.read_text().replace(f"views: {views}\n", ""))
    refused = run("validate", file).stderr
    assert "add views: [questions_from_text: {of: retain}] and run unlearn-sweep write-views" in refused
    assert "add views: [questions_from_text, alternate_answer: {of: forget_questions}]" in refused
    assert "method elm trains refusals of forget questions" in refused


def test_attacks_read_judged_questions_and_relearning_sets(tmp_path: Path, server: Endpoint) -> None:
    attacks = "[{paraphrase: {source: alias}}, {paraphrase: {source: multi_hop}}, {relearn: {data: relearn_set}}]"
    views = "[alias, multi_hop, {relearn_set: {topics: [sheds, lamps], number: 4}}]"
    file = sweep_file(tmp_path, views=views, methods="{npo: {}}", attacks=attacks)
    assert run("validate", file).stderr.count("which is not written: run unlearn-sweep write-views") == 3
    alias, hops, sets = written(run("write-views", file, "--json"))
    assert (alias["texts"], hops["texts"], sets["texts"]) == (24, 24, 8)
    assert run("validate", file).exit_code == 0
    file.write_text(file.read_text().replace(f"views: {views}\n", ""))
    refused = run("validate", file).stderr
    assert "attack paraphrase reads view alias of judged, which is not in the file: add views: [alias]" in refused


def test_a_missing_view_is_refused_before_rows_of_the_hub_are_there(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: a\nbenchmark: {name: tofu}\nmodel: {path: owner/full}\ngold: {path: owner/retain90}\n"
        "methods: {npo+gao: {}}\nviews: [paraphrase]\nattacks: [quantize]\n"
    )
    lacking = "method npo+gao reads view paraphrase of forget, which is not written"
    assert lacking in run("validate", file).stderr
    planned = run("plan", file)
    assert planned.exit_code == 2
    assert lacking in " ".join(planned.stdout.split())


def test_a_file_written_by_hand_is_checked_and_never_written_over(tmp_path: Path, server: Endpoint) -> None:
    file = sweep_file(
        tmp_path,
        views=f"[{{alternate_answer: {{path: {tmp_path / 'mine.csv'}}}}}]",
        methods="{altpo: {}}",
    )
    listed = run("write-views", file, "--rows", tmp_path / "rows.csv")
    assert listed.exit_code == 0, listed.output
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert rows["row_id"].tolist() == [f"forget01/{i:04d}" for i in range(8)]
    own = rows[["row_id"]].assign(answer=[f"Nobody at all {i}" for i in range(8)])
    own.to_csv(tmp_path / "mine.csv", index=False)
    before = (tmp_path / "mine.csv").read_bytes()
    assert run("validate", file).exit_code == 0
    assert run("write-views", file).exit_code == 0
    assert (tmp_path / "mine.csv").read_bytes() == before
    own.loc[2, "row_id"] = "forget01/0202"
    own.to_csv(tmp_path / "mine.csv", index=False)
    refused = run("validate", file)
    assert refused.exit_code == 2
    assert "row 4, column row_id: no forget row 'forget01/0202'; nearest: 'forget01/0002'" in refused.stderr
    assert "--rows OUT.csv" in refused.stderr
    assert server.calls == 0
