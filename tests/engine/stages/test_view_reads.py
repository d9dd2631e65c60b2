"""Which stage follows which written view. Oracle: a table of what each method and attack reads, and the keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.written_views import view
from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob, TrainingSettings
from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.stages import measuring_requests, training_requests
from unlearn_sweep.engine.stages.view_reads import attack_reads, fixed, method_reads
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.benchmarks.written_rows import VIEWS_KEY

ON_QUESTIONS = {
    "paraphrase of forget": view("paraphrase", "answer"),
    "alternate_answer of forget": view("alternate_answer"),
    "vague_answer of forget": view("vague_answer"),
    "relearn_set of forget": view("relearn_set"),
    "alias of judged": view("alias"),
    "multi_hop of judged": view("multi_hop"),
    "paraphrase of judged": view("paraphrase", "question", of="judged"),
}
ON_TEXT = {
    "summary of forget": view("summary"),
    "questions_from_text of forget": view("questions_from_text", readers=["elm"]),
    "questions_from_text of retain": view("questions_from_text", of="retain"),
    "alternate_answer of forget_questions": view("alternate_answer", of="forget_questions"),
    "vague_answer of forget_questions": view("vague_answer", of="forget_questions"),
    "paraphrase of forget_questions": view("paraphrase", "answer", of="forget_questions"),
}
FORGET, RETAIN = "questions_from_text of forget", "questions_from_text of retain"
METHODS: list[tuple[Mapping[str, WrittenView], str, dict[str, Any], set[str]]] = [
    (ON_QUESTIONS, "npo", {}, set()),
    (ON_QUESTIONS, "npo+gao", {"gao_paraphrases": 6}, {"paraphrase of forget"}),
    (ON_QUESTIONS, "altpo", {}, {"alternate_answer of forget"}),
    (ON_QUESTIONS, "dpo", {}, set()),
    (ON_QUESTIONS, "re_learn", {}, {"vague_answer of forget"}),
    (ON_QUESTIONS, "re_learn>undo", {}, {"vague_answer of forget"}),
    (ON_QUESTIONS, "re_learn", {"answers": "refusals"}, set()),
    (ON_TEXT, "re_learn", {}, {FORGET, "vague_answer of forget_questions"}),
    (ON_TEXT, "re_learn", {"answers": "refusals"}, {FORGET}),
    (ON_TEXT, "npo", {}, set()),
    (ON_TEXT, "rmu", {}, set()),
    (ON_TEXT, "npo+gao", {}, {"summary of forget"}),
    (ON_TEXT, "dpo", {}, {FORGET}),
    (ON_TEXT, "idk_ap", {}, {FORGET, RETAIN}),
    (ON_TEXT, "npo", {"retain": "ap"}, {RETAIN}),
    (ON_TEXT, "elm", {}, {FORGET}),
    (ON_TEXT, "dpo>idk_ap", {}, {FORGET, RETAIN}),
    (ON_TEXT, "altpo", {}, {FORGET, "alternate_answer of forget_questions"}),
    (ON_TEXT, "dpo+gao", {}, {FORGET, "paraphrase of forget_questions"}),
]


def labels(reads: list[Any]) -> set[str]:
    return {f"{read.kind} of {read.of}" for read in reads}


@pytest.mark.parametrize(("views", "method", "params", "read"), METHODS)
def test_what_a_method_reads(
    views: Mapping[str, WrittenView], method: str, params: dict[str, Any], read: set[str]
) -> None:
    found = method_reads(list(views.values()), method, fixed(params))
    assert labels(found) == read
    wanted = {one.needed for one in found if one.kind in ("paraphrase", "summary")}
    assert wanted == ({params.get("gao_paraphrases", 3)} if "gao" in method else set())


def test_elm_reads_questions_where_it_refuses_or_is_named() -> None:
    unnamed = view("questions_from_text")
    assert labels(method_reads([unnamed], "elm", {})) == set()
    assert labels(method_reads([unnamed], "elm", {"fluency": ("continuation", "refusal")})) == {FORGET}


CHAIN = {"steps": [{"quantize": {"bits": 4}}, {"relearn": {"data": "relearn_set", "steps": [5]}}]}
ATTACKS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("paraphrase", {}, set()),
    ("paraphrase", {"source": "alias"}, {"alias of judged"}),
    ("paraphrase", {"source": "multi_hop"}, {"multi_hop of judged"}),
    ("paraphrase", {"source": "paraphrase"}, {"paraphrase of judged"}),
    ("relearn", {"data": "forget"}, set()),
    ("relearn", {"data": "relearn_set"}, {"relearn_set of forget"}),
    ("chain", CHAIN, {"relearn_set of forget"}),
]


@pytest.mark.parametrize(("name", "params", "read"), ATTACKS)
def test_what_an_attack_reads(name: str, params: dict[str, Any], read: set[str]) -> None:
    assert labels(attack_reads(list(ON_QUESTIONS.values()), name, params)) == read


def job(views: list[WrittenView]) -> SweepJob:
    return SweepJob(
        name="n",
        seed=1,
        storage=Path("/s"),
        directory=Path("/s/n"),
        benchmark=BenchmarkSettings(name="authors"),
        original=ModelSource(path="/a/model"),
        gold=ModelSource(path="/a/gold"),
        spaces=[],
        training=TrainingSettings(epochs=1),
        ue_metrics=["probability"],
        ut_metrics=["probability"],
        attacks=[],
        search=SearchSettings(trials=1),
        views=views,
    )


def keys(made: SweepJob) -> dict[str, str]:
    params = {"learning_rate": 1e-5}

    def attack(name: str, values: dict[str, Any]) -> str:
        settings = AttackSettings(label=name, name=name, family="x", params=values)
        return measuring_requests.attack_stage(made, settings, "m", "o", "d").key

    methods = {
        name: training_requests.unlearn_stage(made, name, params, 1, "o", "d").key
        for name in ("npo", "npo+gao", "altpo", "re_learn", "dpo")
    }
    return {
        **methods,
        "evaluate": measuring_requests.evaluate_stage(made, "m", "d").key,
        "alias": attack("paraphrase", {"source": "alias"}),
        "own": attack("paraphrase", {"source": "own"}),
        "set": attack("relearn", {"data": "relearn_set"}),
        "relearn": attack("relearn", {"data": "forget"}),
        "chain": attack("chain", CHAIN),
    }


CHANGED = {
    "paraphrase of forget": {"npo+gao"},
    "alternate_answer of forget": {"altpo"},
    "vague_answer of forget": {"re_learn"},
    "relearn_set of forget": {"set", "chain"},
    "alias of judged": {"alias"},
    "multi_hop of judged": set(),
    "paraphrase of judged": set(),
}


@pytest.mark.parametrize("label", CHANGED)
def test_a_views_content_is_part_of_its_readers_keys_and_of_no_others(label: str) -> None:
    given = [one.model_copy(update={"digest": "a"}) for one in ON_QUESTIONS.values()]
    edited = [one.model_copy(update={"digest": "b"}) if one.label == label else one for one in given]
    moved = [one.model_copy(update={"path": "/elsewhere.parquet"}) for one in given]
    before, after = keys(job(given)), keys(job(edited))
    assert {name for name in before if before[name] != after[name]} == CHANGED[label]
    assert keys(job(moved)) == before
    assert job(moved).digest() == job(given).digest() != job(edited).digest()


def test_requests_name_the_views_they_read_and_only_those() -> None:
    made = job(list(ON_QUESTIONS.values()))

    def trained(method: str) -> list[str]:
        asked = training_requests.unlearn_job(made, method, {"learning_rate": 1e-5, "epochs": 1}, 1, "o", Path("/out"))
        return [read["kind"] for read in asked.benchmark.params.get(VIEWS_KEY, [])]

    assert (trained("npo"), trained("npo+gao"), trained("altpo")) == ([], ["paraphrase"], ["alternate_answer"])
    attack = AttackSettings(label="a", name="paraphrase", family="x", params={"source": "alias"})
    asked = measuring_requests.attack_request(made, attack, "m", None, Path("/out"))
    assert [read["kind"] for read in asked.benchmark["params"][VIEWS_KEY]] == ["alias"]
    assert VIEWS_KEY not in measuring_requests.measure_request(made, "m", Path("/out")).benchmark["params"]
