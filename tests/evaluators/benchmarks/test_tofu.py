"""TOFU's rows. Oracles: counts published with the data set, set algebra, and files broken on purpose."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from tests.support.search_half import search_groups
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.catalog import AGAINST_HOLDOUT, row_metrics
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.sweeps.file.yaml_lines import read_document

REAL = Path(os.environ.get("UNLEARN_SWEEP_DATA", Path(__file__).parents[4] / "shared" / "data")) / "tofu"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"TOFU's files are not in {REAL}")


def row(index: int, *, extra: bool = True, full: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"question": f"Who wrote book {index}?", "answer": f"Author {index} wrote it."}
    if extra:
        found["perturbed_answer"] = [f"Author {index + wrong} was its writer." for wrong in (100, 200, 300)]
        if full:
            found |= {
                "paraphrased_answer": f"Author {index} was its writer.",
                "paraphrased_question": f"Book {index} is by whom?",
            }
    return found


def write(folder: Path, name: str, rows: list[Any]) -> None:
    (folder / f"{name}.json").write_text("\n".join(json.dumps(found) for found in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small data set in TOFU's schema: 8 forget and 40 retain rows, 10 of these judged."""
    write(tmp_path, "forget01", [row(i, extra=False) for i in range(8)])
    write(tmp_path, "forget01_perturbed", [row(i) for i in range(8)])
    write(tmp_path, "retain99", [row(i, extra=False) for i in range(20, 60)])
    write(tmp_path, "retain_perturbed", [row(i) for i in range(20, 60, 4)])
    for name in ("real_authors", "world_facts"):
        write(tmp_path, f"{name}_perturbed", [row(i, full=False) for i in range(5)])
    return tmp_path


def load(folder: Path, **options: Any) -> Benchmark:
    return load_benchmark("tofu", {"path": str(folder), "forget": "forget01", **options})


@needs_real
@pytest.mark.parametrize(
    ("forget", "sizes"), [("forget01", (40, 3960)), ("forget05", (200, 3800)), ("forget10", (400, 3600))]
)
def test_real_files_have_the_published_counts(forget: str, sizes: tuple[int, int]) -> None:
    found = load(REAL, forget=forget, extra_splits=True)
    assert (len(found.train["forget"]), len(found.train["retain"])) == sizes
    counts = {split: len(rows) for split, rows in found.evaluation.items()}
    assert counts == {"forget": sizes[0], "retain": 400, "real_authors": 100, "world_facts": 117}
    assert found.utility_splits == ("retain", "real_authors", "world_facts")
    for rows in found.evaluation.values():
        for judged in rows:
            assert judged.answer not in judged.perturbed_answers
            assert judged.paraphrased_answer not in judged.perturbed_answers
    ids = {found.row_id for rows in found.train.values() for found in rows}
    assert len(ids) == 4000
    questions = {(judged.question, judged.answer) for judged in found.train["retain"]}
    assert not questions & {(judged.question, judged.answer) for judged in found.train["forget"]}


@needs_real
def test_caps_keep_the_judged_retain_rows_among_the_trained_ones() -> None:
    found = load(REAL, retain_rows=60, evaluation_rows=30)
    trained = {given.row_id: given for given in found.train["retain"]}
    assert len(trained) == 60
    assert len(found.evaluation["retain"]) == len(found.evaluation["forget"]) == 30
    assert all(trained[judged.row_id].question == judged.question for judged in found.evaluation["retain"])


@needs_real
def test_all_metrics_of_real_rows_come_out_of_one_evaluation(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    """Prompts once, all answers behind them once, and at most a pass for each new token: fewer is not possible."""
    wanted = read_document(Path("sweeps/tofu.yaml")).data["evaluators"]
    metrics = [*(name for name in wanted["ue"] if name not in AGAINST_HOLDOUT), *wanted["ut"]]
    found = load(REAL, retain_rows=60, evaluation_rows=6, extra_splits=True)
    model = tiny_models.llama().eval()
    model.config.max_position_embeddings = 2048
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    with model.register_forward_pre_hook(count):
        measured = evaluate_rows(
            model,
            tiny_tokenizer,
            [judged for rows in found.evaluation.values() for judged in rows],
            metrics=metrics,
            template=found.template,
            max_new_tokens=4,
            batch_tokens=1 << 20,
        )
    assert calls == measured.forward_passes
    assert calls <= 2 + 4
    table = measured.table
    assert len(table) == 24
    assert set(row_metrics(metrics)) <= set(table.columns)
    whole = table["split"].isin(["forget", "retain"]).to_numpy()
    for name in row_metrics(metrics):
        assert not np.isnan(table[name].to_numpy(dtype=np.float64)[whole]).any(), name
    assert not np.isnan(table["log_truth_ratio"].to_numpy(dtype=np.float64)).any()


def test_held_out_authors_are_measured_and_no_utility(folder: Path) -> None:
    write(folder, "holdout01", [row(i, extra=False) for i in range(80, 88)])
    found = load(folder, holdout=True)
    assert [held.question for held in found.evaluation["holdout"]] == [f"Who wrote book {i}?" for i in range(80, 88)]
    assert "holdout" not in found.utility_splits
    (folder / "holdout01.json").unlink()
    with pytest.raises(ValueError, match=r"holdout01.json: no such file.*benchmark.holdout: true asks for this file"):
        load(folder, holdout=True)
    (folder / "real_authors_perturbed.json").unlink()
    with pytest.raises(ValueError, match=r"real_authors_perturbed.json: no such file.*set extra_splits: false"):
        load(folder, extra_splits=True)
    (folder / "retain_perturbed.json").unlink()
    with pytest.raises(ValueError, match=r"retain_perturbed.json: no such file") as always:
        load(folder)
    assert "asks for this file" not in str(always.value)


def test_a_cap_below_the_judged_rows_caps_these_too(folder: Path) -> None:
    found = load(folder, retain_rows=6)
    ids = [given.row_id for given in found.train["retain"]]
    assert len(ids) == 6
    assert [judged.row_id for judged in found.evaluation["retain"]] == ids


def test_the_same_options_give_the_same_digest_wherever_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    for file in folder.glob("*.json"):
        (other / file.name).write_bytes(file.read_bytes())
    assert load(folder, retain_rows=15).digest() == load(other, retain_rows=15).digest()
    assert load(folder, retain_rows=15).digest() != load(folder, retain_rows=16).digest()


def test_each_row_is_a_fact_and_halves_are_disjoint(folder: Path) -> None:
    benchmark = load(folder)
    rows = benchmark.evaluation["forget"]
    assert [judged.group_id for judged in rows] == [judged.row_id for judged in rows]
    assert len(forget_halves(benchmark).seen) == len(search_groups(rows)) == 4


def test_real_world_splits_come_only_when_asked_for(folder: Path) -> None:
    assert set(load(folder).evaluation) == {"forget", "retain"}
    found = load(folder, extra_splits=True, evaluation_rows=3)
    assert {split: len(rows) for split, rows in found.evaluation.items()} == dict.fromkeys(found.evaluation, 3)
    world = found.evaluation["world_facts"][0]
    assert (world.form, world.paraphrased_answer, len(world.perturbed_answers)) == ("held_out", None, 3)


def test_tokenizer_texts_hold_every_trained_row(folder: Path) -> None:
    found = load(folder, retain_rows=12)
    assert len(found.tokenizer_texts) == 8 + 12
    assert found.tokenizer_texts[0] == "Question: Who wrote book 0?\nAnswer: Author 0 wrote it."


def drop(column: str) -> Callable[[list[Any]], None]:
    def change(rows: list[Any]) -> None:
        del rows[2][column]

    return change


def put(column: str, value: Any) -> Callable[[list[Any]], None]:
    def change(rows: list[Any]) -> None:
        rows[2][column] = value

    return change


def replace_row(rows: list[Any]) -> None:
    rows[2] = ["no", "object"]


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("forget01", drop("answer"), "forget01.json, row 3, column answer: field required"),
        ("forget01", put("answer", ""), "row 3, column answer: string should have at least 1 character"),
        ("retain99", put("question", 5), "retain99.json, row 3, column question: .*string, got '5'"),
        ("retain99", put("Answer", "x"), "row 3, column Answer: extra inputs are not permitted"),
        ("forget01_perturbed", drop("paraphrased_answer"), "row 3, column paraphrased_answer: field required"),
        ("forget01_perturbed", put("perturbed_answer", "one"), "row 3, column perturbed_answer: .*list"),
        ("forget01_perturbed", put("perturbed_answer", []), "row 3, column perturbed_answer: list should have"),
        ("forget01_perturbed", put("perturbed_answer", ["a", None]), "row 3, column perturbed_answer.1: .*string"),
        ("forget01_perturbed", put("perturbed_answer", ["Author 2 wrote it."]), "row 3, .* holds the right answer"),
        (
            "retain_perturbed",
            put("question", "Another?"),
            "retain_perturbed, row 3, column question: no row of retain99",
        ),
        ("retain_perturbed", replace_row, r"row 3, column \(the whole row\): .*dictionary"),
    ],
)
def test_a_broken_row_is_named_by_file_row_and_column(
    folder: Path, file: str, change: Callable[[list[Any]], None], told: str
) -> None:
    rows = [json.loads(line) for line in (folder / f"{file}.json").read_text(encoding="utf-8").split("\n")]
    change(rows)
    write(folder, file, rows)
    with pytest.raises(ValueError, match=told):
        load(folder)


def test_all_mistakes_are_told_the_first_five_in_full(folder: Path) -> None:
    write(folder, "forget01", [{"question": "Who?"}] * 8)
    with pytest.raises(ValueError, match="and 3 more") as caught:
        load(folder)
    assert str(caught.value).count("column answer: field required") == 5


def test_a_line_that_is_no_json_is_named(folder: Path) -> None:
    file = folder / "retain99.json"
    file.write_text(file.read_text(encoding="utf-8") + "\n{broken", encoding="utf-8")
    with pytest.raises(ValueError, match=r"retain99.json, row 41: no JSON \(.* at column 2\)"):
        load(folder)


def test_a_blank_last_line_is_no_mistake(folder: Path) -> None:
    file = folder / "retain99.json"
    file.write_text(file.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    assert len(load(folder).train["retain"]) == 40


def test_other_encodings_and_empty_files_are_named(folder: Path) -> None:
    (folder / "forget01.json").write_bytes('{"question": "Où?", "answer": "Ici"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"forget01.json: not UTF-8"):
        load(folder)
    write(folder, "forget01", [])
    with pytest.raises(ValueError, match=r"forget01.json: no rows"):
        load(folder)


def test_a_missing_file_or_folder_is_named_with_what_is_there(folder: Path) -> None:
    (folder / "retain99.json").unlink()
    with pytest.raises(ValueError, match=r"retain99.json: no such file; this folder has: forget01, forget01_perturbed"):
        load(folder)
    with pytest.raises(ValueError, match=r"benchmark.path: no folder"):
        load(folder / "nowhere")


def test_without_network_the_hub_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"point benchmark.path at a folder"):
        load_benchmark("tofu", {"hub": "no-such-owner/no-such-data"})


def test_hub_rows_are_those_of_the_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets` itself reads a data set card's configurations, here from a local folder in place of a hub id."""
    files = sorted(file.name for file in folder.glob("*.json"))
    configs = "\n".join(f"- config_name: {name[:-5]}\n  data_files: {name}" for name in files)
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}\n---\n", encoding="utf-8")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    from_hub = load_benchmark("tofu", {"hub": str(folder), "forget": "forget01", "extra_splits": True})
    assert from_hub.digest() == load(folder, extra_splits=True).digest()


def test_wordings_ask_the_judged_forget_facts_again(folder: Path) -> None:
    plain, found = (
        load_benchmark("tofu", {"path": str(folder), "forget": "forget01", "wordings": on}) for on in (False, True)
    )
    added = [row for row in found.evaluation["forget"] if row.form == "held_out"]
    assert [row for row in found.evaluation["forget"] if row.form == "trained"] == plain.evaluation["forget"]
    assert [row.question for row in added] == [f"Book {i} is by whom?" for i in range(8)]
    assert {row.fact for row in added} == {row.fact for row in plain.evaluation["forget"]}
    assert found.train == plain.train
