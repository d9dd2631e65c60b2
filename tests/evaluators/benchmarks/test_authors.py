"""The built-in benchmark. Oracles: set algebra over its own rows, counting, and a second Python process."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.search_half import search_groups
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.benchmarks.authors import AuthorsParams, Form, deal, draw_facts, load
from unlearn_sweep.evaluators.benchmarks.authors_parts import ATTRIBUTES, FIRST_NAMES, OPENINGS, SURNAMES
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.rows import Row

ROOT = Path(__file__).parents[3]
SMALL = AuthorsParams(authors=12, forget_authors=4, facts_per_author=3, trained_forms=3, evaluated_forms=2)


@pytest.fixture(scope="module")
def benchmark_() -> Benchmark:
    return load(AuthorsParams())


def every_row(benchmark: Benchmark) -> list[Row]:
    views = [*benchmark.train.values(), *benchmark.evaluation.values()]
    return [row for rows in views for row in rows]


def test_two_processes_with_other_hash_seeds_give_the_same_digest() -> None:
    code = (
        "from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark;"
        "print(load_benchmark('authors', {}).digest())"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert digests == [load_benchmark("authors", {}).digest()] * 2


def test_every_option_changes_the_digest() -> None:
    changed = [
        SMALL.model_copy(update=update)
        for update in ({"authors": 13}, {"forget_authors": 5}, {"facts_per_author": 2}, {"trained_forms": 4})
    ]
    changed += [SMALL.model_copy(update={"evaluated_forms": 1}), SMALL.model_copy(update={"seed": 1})]
    assert len({load(params).digest() for params in (SMALL, *changed)}) == 1 + len(changed)


def test_no_held_out_question_is_ever_trained(benchmark_: Benchmark) -> None:
    trained = {row.question for rows in benchmark_.train.values() for row in rows}
    judged = [row for rows in benchmark_.evaluation.values() for row in rows]
    held_out = [row for row in judged if row.form == "held_out"]
    assert held_out
    assert not {row.question for row in held_out} & trained
    assert {row.question for row in judged if row.form == "trained"} <= trained
    assert not {row.paraphrased_question for row in judged} & trained


def test_a_wording_is_held_out_for_every_fact_or_for_none(benchmark_: Benchmark) -> None:
    def wordings(rows: list[Row]) -> set[tuple[str, str]]:
        return {(row.group_id.partition("/")[2], row.row_id.rpartition("/")[2].partition("-")[0]) for row in rows}

    trained = wordings([row for rows in benchmark_.train.values() for row in rows])
    held_out = wordings([row for row in every_row(benchmark_) if row.form == "held_out"])
    assert held_out
    assert not trained & held_out


def test_every_part_of_a_held_out_form_occurs_in_trained_forms() -> None:
    forms = [Form(o, c, e) for o in range(len(OPENINGS)) for c in range(4) for e in range(4)]
    trained = [form for form in forms if not form.held_out]
    assert len(trained) == 72
    for part in ("opening", "core", "ending"):
        assert {getattr(form, part) for form in trained} == {getattr(form, part) for form in forms}


def test_retain_training_names_no_forget_author_and_holds_no_forget_fact(benchmark_: Benchmark) -> None:
    forget_facts = draw_facts(
        sorted({row.group_id.partition("/")[0] for row in benchmark_.train["forget"]}), AuthorsParams()
    )
    names = {fact.name for fact in forget_facts}
    assert len(names) == 12
    retain = benchmark_.train["retain"]
    assert not [row for row in retain for name in names if name in row.question or name in row.answer]
    assert not {row.group_id for row in retain} & {row.group_id for row in benchmark_.train["forget"]}


def test_judged_facts_are_trained_facts_of_the_same_side(benchmark_: Benchmark) -> None:
    for side in ("forget", "retain"):
        trained = {row.group_id: row.answer for row in benchmark_.train[side] if not row.row_id.endswith("-phrase")}
        judged = benchmark_.evaluation[side]
        assert {row.group_id for row in judged} <= set(trained)
        assert all(trained[row.group_id] == row.answer for row in judged)
        assert {row.split for row in judged} == {side}
    assert len(benchmark_.evaluation["retain"]) == len(benchmark_.evaluation["forget"])


def test_row_ids_are_unique_in_each_view(benchmark_: Benchmark) -> None:
    for rows in [*benchmark_.train.values(), *benchmark_.evaluation.values()]:
        assert max(Counter(row.row_id for row in rows).values()) == 1


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), authors=st.integers(4, len(SURNAMES)))
def test_perturbed_answers_are_wrong_different_and_worded_as_the_paraphrase(seed: int, authors: int) -> None:
    params = AuthorsParams(seed=seed, authors=authors, forget_authors=2)
    for row in load(params).evaluation["forget"]:
        assert row.paraphrased_answer is not None
        assert len(set(row.perturbed_answers)) == 5
        assert not {row.answer, row.paraphrased_answer} & set(row.perturbed_answers)
        frame = row.paraphrased_answer.removesuffix(row.answer)
        assert all(answer.startswith(frame) and row.answer not in answer for answer in row.perturbed_answers)


@settings(max_examples=25, deadline=None)
@given(authors=st.integers(1, 70), salt=st.text(max_size=5))
def test_values_are_dealt_evenly(authors: int, salt: str) -> None:
    values = ATTRIBUTES[0].values
    counts = Counter(deal(values, [f"author-{i}" for i in range(authors)], salt))
    assert set(counts) <= set(values)
    assert max(counts.values()) - min(counts.get(value, 0) for value in values) <= 1


def test_relearned_and_other_facts_are_disjoint_and_share_authors(benchmark_: Benchmark) -> None:
    rows = benchmark_.evaluation["forget"]
    again, search = forget_halves(benchmark_).seen, search_groups(rows)
    other = {row.group_id for row in rows} - again
    assert not again & other
    assert len(again) == len(other) == 36
    assert {group.partition("/")[0] for group in again} & {group.partition("/")[0] for group in other}
    quarters = [again & search, again - search, other & search, other - search]
    assert min(map(len, quarters)) >= 9


def test_parts_have_no_repeats() -> None:
    assert len(set(FIRST_NAMES)) == len(FIRST_NAMES)
    assert len(set(SURNAMES)) == len(SURNAMES)
    for attribute in ATTRIBUTES:
        assert len(set(attribute.values)) == 20
        assert len(set(attribute.cores)) == len(attribute.cores) == 4
        assert all("{name}" in core for core in attribute.cores)
        assert attribute.phrase.endswith("{value}")


def test_whole_authors_are_forgotten(benchmark_: Benchmark) -> None:
    facts = Counter(row.group_id.partition("/")[0] for row in benchmark_.evaluation["forget"])
    assert set(facts.values()) == {len(ATTRIBUTES) * 2}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"forget_authors": 30}, "forget_authors must be at most half of authors"),
        ({"evaluated_forms": 5}, "evaluated_forms must not exceed trained_forms"),
        ({"authors": 1000}, "less than or equal to"),
        ({"author": 5}, "author"),
        ({"seed": "7"}, "valid integer"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        AuthorsParams.model_validate(options)
