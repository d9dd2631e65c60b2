"""What a split must not part. Oracles: TOFU's own order of authors, and the texts themselves, compared as strings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.published_data import WRITERS, write, write_lkf
from tests.support.search_half import search_groups
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.lkf import FactRecord, facts_behind
from unlearn_sweep.evaluators.rows import Row

TOFU = Path("../shared/data/tofu")
ROOT = Path(__file__).resolve().parents[3]


def scored_rows(benchmark: Benchmark) -> list[Row]:
    return [row for row in benchmark.evaluation["forget"] if row.group_id in forget_halves(benchmark).scored]


def lines(file: Path, rows: Sequence[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(("forget", "authors"), [("forget10", 20), ("forget05", 10)])
@pytest.mark.skipif(not TOFU.exists(), reason="the TOFU files are not beside the project")
def test_no_author_of_tofu_is_on_both_sides_of_a_split(forget: str, authors: int) -> None:
    """Who a row is about follows from its place in the file of all 4,000 rows: twenty a person."""
    places: dict[str, int] = {}
    for number, line in enumerate((TOFU / "full.json").read_text(encoding="utf-8").splitlines()):
        places.setdefault(json.loads(line)["question"], number // 20)
    found = load_benchmark("tofu", {"path": str(TOFU), "forget": forget})
    judged, kept = found.evaluation["forget"], found.evaluation["retain"]
    assert len({row.group_id for row in judged}) == authors
    for rows in (judged, kept):
        first = search_groups(rows)
        sides = [{places[row.question] for row in rows if (row.group_id in first) == side} for side in (True, False)]
        assert not sides[0] & sides[1]
        assert all(sides)
    trained = {places[row.question] for row in seen_rows(found, forget_halves(found))}
    assert trained
    assert not trained & {places[row.question] for row in scored_rows(found)}
    assert len({row.fact for row in judged}) == len(judged), "each row is still a fact of its own"


@pytest.mark.skipif(not TOFU.exists(), reason="the TOFU files are not beside the project")
def test_two_authors_are_too_few_and_rows_are_groups() -> None:
    found = load_benchmark("tofu", {"path": str(TOFU), "forget": "forget01"})
    assert len({row.group_id for row in found.evaluation["forget"]}) == 40


ASKED = [{"question": f"Who keeps lighthouse {i}?", "answer": f"Keeper {i}"} for i in range(8)]
KEPT = [{"question": f"Who rows ferry {i}?", "answer": f"Rower {i}"} for i in range(8)]


def test_equal_rows_are_one_fact(tmp_path: Path) -> None:
    copies = [
        ASKED[0],
        {"question": " who keeps  LIGHTHOUSE 1?", "answer": "keeper 1 "},
        {"question": "Who keeps lighthouse 2?", "answer": "Keeper\u00a02"},
    ]
    retain = lines(tmp_path / "retain.jsonl", KEPT)
    found = load_benchmark(
        "custom", {"forget_path": lines(tmp_path / "forget.jsonl", [*ASKED, *copies]), "retain_path": retain}
    )
    assert len(found.train["forget"]) == 11
    assert len({row.group_id for row in found.train["forget"]}) == 8
    parted = [
        {row.answer.casefold().split()[-1] for row in rows}
        for rows in (seen_rows(found, forget_halves(found)), scored_rows(found))
    ]
    assert all(parted)
    assert not parted[0] & parted[1]


@pytest.mark.parametrize("same", [ASKED[3], {"question": "WHO keeps lighthouse 3? ", "answer": " keeper  3"}])
def test_a_forget_row_that_is_kept_as_well_is_refused(tmp_path: Path, same: dict[str, str]) -> None:
    paths = {
        "forget_path": lines(tmp_path / "f.jsonl", ASKED),
        "retain_path": lines(tmp_path / "r.jsonl", [*KEPT, same]),
    }
    with pytest.raises(ValueError, match=r"1 rows are in both .*f.jsonl \(forget_path\) and .*r.jsonl \(retain_path\)"):
        load_benchmark("custom", paths)
    unseen = {"holdout_path": lines(tmp_path / "h.jsonl", [*KEPT[:1], {"question": "Who?", "answer": "He"}])}
    with pytest.raises(ValueError, match=r"holdout_path\) and .*retain_path"):
        load_benchmark("custom", paths | unseen | {"retain_path": lines(tmp_path / "r.jsonl", KEPT)})


def test_a_documents_passages_stay_together_where_there_are_documents_enough(tmp_path: Path) -> None:
    texts = [{"text": f"Report {i}. " + f"The harbour of pier {i} was silted in year {i}. " * 12} for i in range(8)]
    paths = {"forget_path": lines(tmp_path / "f.jsonl", texts), "retain_path": lines(tmp_path / "r.jsonl", KEPT)}
    found = load_benchmark("custom", paths | {"passage_characters": 120})
    assert len(found.train["forget"]) > 20
    assert {row.group_id for row in found.train["forget"]} == {f"forget/{i:05d}" for i in range(8)}
    assert {row.group_id for row in found.evaluation["forget"]} == {f"forget/{i:05d}" for i in range(8)}


@pytest.mark.parametrize("name", ["muse", "rwku"])
def test_relearning_never_trains_on_a_text_it_scores(tmp_path: Path, name: str) -> None:
    found = load_benchmark(name, WRITERS[name](tmp_path))
    seen = [" ".join(row.answer.split()) for row in seen_rows(found, forget_halves(found))]
    scored = [row for row in scored_rows(found) if row.kind in ("text", "continuation")]
    assert seen
    assert scored
    for row in scored:
        text = " ".join(f"{row.question} {row.answer}".split())
        assert not any(text in other or other in text for other in seen), row.row_id


def test_groups_do_not_depend_on_the_process(tmp_path: Path) -> None:
    options = WRITERS["muse"](tmp_path)
    code = (
        "from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark;"
        f"print(load_benchmark('muse', {options!r}).digest())"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": seed}
        found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == load_benchmark("muse", options).digest()


FACTS = [("When was the treaty signed?", "1945"), ("When was bridge B opened?", "1945"), ("Who built it?", "Orla Beck")]
PARAPHRASES = [[f"Say, {question}", f"Tell: {question}"] for question, _ in FACTS]


@pytest.mark.parametrize("order", ["blocks", "rounds", "mixed"])
def test_facts_with_one_answer_are_told_apart(order: str) -> None:
    facts = [FactRecord(question=question, answer=answer) for question, answer in FACTS]
    pairs = {
        "blocks": [(i, k) for i in range(3) for k in range(2)],
        "rounds": [(i, k) for k in range(2) for i in range(3)],
        "mixed": [(1, 0), (2, 1), (0, 0), (1, 1), (0, 1)],
    }[order]
    records = [FactRecord(question=PARAPHRASES[i][k], answer=FACTS[i][1]) for i, k in pairs]
    assert facts_behind(facts, records) == [i for i, _ in pairs]


def test_lkf_files_each_paraphrase_under_its_own_fact(tmp_path: Path) -> None:
    options = write_lkf(tmp_path)
    asked = [*FACTS, ("Who rowed?", "Ada Lind")]
    write(tmp_path, "LKF-forget_standard", [{"question": q, "answer": a} for q, a in asked])
    write(tmp_path, "LKF-forget_train_para", [{"question": f"Say, {q}", "answer": a} for q, a in asked])
    write(tmp_path, "LKF-forget_eval_para", [{"question": q, "q_phi1": f"Tell: {q}", "answer": a} for q, a in asked])
    found = load_benchmark("lkf", options)
    by_group: dict[str, set[str]] = {}
    for row in (*found.train["forget"], *found.evaluation["forget"]):
        by_group.setdefault(row.group_id, set()).add(row.question.removeprefix("Say, ").removeprefix("Tell: "))
    assert sorted(by_group.values(), key=str) == sorted(({q} for q, _ in asked), key=str)
