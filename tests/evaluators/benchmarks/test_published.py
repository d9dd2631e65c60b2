"""MUSE, WMDP, LKF, RWKU, LUME over made rows in their schema.

Oracles: the rows written, set algebra, files broken here.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.published_data import PEOPLE, WRITERS, choice, fact, lettered, story, write, write_wmdp
from tests.support.search_half import search_groups
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS, load_benchmark
from unlearn_sweep.evaluators.benchmarks.lkf import LkfParams
from unlearn_sweep.evaluators.benchmarks.tables import read_table
from unlearn_sweep.evaluators.benchmarks.wmdp import ROBUST_PARTS, WmdpParams
from unlearn_sweep.evaluators.catalog import METRICS


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def options(name: str, tmp_path: Path) -> dict[str, Any]:
    return WRITERS[name](tmp_path)


def load(name: str, folder: Path, **changes: Any) -> Benchmark:
    return load_benchmark(name, WRITERS[name](folder) | changes)


def test_rows_are_whole_and_apart(name: str, options: dict[str, Any]) -> None:
    found = load_benchmark(name, options)
    everything = [row for rows in (*found.train.values(), *found.evaluation.values()) for row in rows]
    judged = [row for rows in found.evaluation.values() for row in rows]
    assert all(row.answer for row in everything if row.kind != "instruction")
    assert Counter(row.row_id for row in judged).most_common(1)[0][1] == 1
    for split in found.utility_splits:
        groups = {row.group_id for row in found.evaluation[split]}
        assert not groups & {row.group_id for row in found.evaluation["forget"]}
    texts = {view: {(row.question, row.answer) for row in rows} for view, rows in found.train.items()}
    assert not texts["forget"] & texts["retain"]
    forget = found.evaluation["forget"]
    assert 0 < len(search_groups(forget)) < len({row.group_id for row in forget})
    assert forget_halves(found).seen


def test_the_same_files_give_the_same_digest(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    again = WRITERS[name](tmp_path / "elsewhere")
    assert load_benchmark(name, options).digest() == load_benchmark(name, again).digest()


def test_default_metrics_have_rows_of_their_kind(name: str, options: dict[str, Any]) -> None:
    found, card = load_benchmark(name, options), BENCHMARKS[name]
    forget = {row.kind for row in found.evaluation["forget"]}
    utility = {row.kind for split in found.utility_splits for row in found.evaluation[split]}
    assert all(forget & set(METRICS[metric].kinds) for metric in card.metrics)
    assert all(utility & set(METRICS[metric].kinds) for metric in card.ut_metrics or card.metrics)


def refusal(name: str, options: dict[str, Any]) -> str | None:
    """What the benchmark says of its files; None where it takes them."""
    try:
        load_benchmark(name, options)
    except ValueError as error:
        return str(error)
    return None


def test_every_file_that_is_read_may_be_missing_and_is_named(name: str, options: dict[str, Any]) -> None:
    """Each file in turn is taken away; what is not needed is not missed."""
    needed = 0
    for file in sorted(Path(options["path"]).rglob("*.jsonl")):
        content = file.read_bytes()
        file.unlink()
        told = refusal(name, options)
        if told is not None:
            assert f"{file.with_suffix('')}.json: no such file; this folder has" in told
            needed += 1
        file.write_bytes(content)
    assert needed >= (2 if name == "lume" else 4), "blur's own files lie elsewhere"


def test_every_column_that_is_read_may_be_missing_and_is_named(name: str, options: dict[str, Any]) -> None:
    """Each column of each file in turn is renamed in row 2."""
    needed = 0
    for file in sorted(Path(options["path"]).rglob("*.jsonl")):
        content = file.read_text()
        rows = [row for _, row in read_table(file)]
        for column in rows[1]:
            changed = {(key.upper() if key == column else key): value for key, value in rows[1].items()}
            file.write_text("\n".join(json.dumps(row) for row in (rows[0], changed, *rows[2:])))
            told = refusal(name, options)
            if told is not None:
                assert f"{file}, row 2, column {column}: field required" in told
                assert f"the row has {column.upper()!r}: is that it?" in told
                needed += 1
        file.write_text(content)
    assert needed >= 6


def test_without_a_folder_rows_are_on_the_hub(name: str, options: dict[str, Any]) -> None:
    card = BENCHMARKS[name]
    assert not card.remote(options)
    assert card.remote({**options, "path": None})
    with pytest.raises(ValueError, match=r"benchmark\.path: no folder"):
        load_benchmark(name, {**options, "path": options["path"] + "-nowhere"})


# --- MUSE -------------------------------------------------------------------------------------------------------------


def test_muse_asks_passages_questions_and_texts(tmp_path: Path) -> None:
    found = load("muse", tmp_path)
    kinds = {split: Counter(row.kind for row in rows) for split, rows in found.evaluation.items()}
    assert kinds["forget"] == {"continuation": 8, "question": 6, "text": 8}
    assert kinds["retain"] == {"question": 6}
    assert kinds["holdout"] == {"text": 8}
    assert found.utility_splits == ("retain",)
    first = next(row for row in found.evaluation["forget"] if row.kind == "continuation")
    assert f"{first.question} {first.answer}".split() == story("lighthouse", 0).split()
    asked = next(row for row in found.evaluation["forget"] if row.kind == "question")
    assert asked.template is not None
    shown = "".join("Question: {}\nAnswer: {}\n\n".format(*fact("lighthouse", i)) for i in range(2))
    assert asked.template.prompt(asked.question) == f"{shown}Question: {fact('lighthouse', 2)[0]}\nAnswer:"
    assert asked.template.stops == ("\n\n", "\nQuestion", "Question:")


def test_muse_cuts_long_texts_without_losing_any(tmp_path: Path) -> None:
    WRITERS["muse"](tmp_path)
    book = " ".join(story("lighthouse", i % 8) for i in range(40))
    write(tmp_path, "raw/forget", [{"text": book}])
    found = load_benchmark("muse", {"corpus": "books", "path": str(tmp_path), "passage_characters": 300})
    parts = [row.answer for row in found.train["forget"]]
    assert len(parts) > 20
    assert max(map(len, parts)) <= 300
    assert " ".join(parts).split() == book.split()


def muse_requests(folder: Path) -> dict[str, Any]:
    """Four sets of two articles each: apart under sust, growing under scal."""
    options = WRITERS["muse"](folder)
    sets = [[{"text": story("lighthouse", 2 * number + i)} for i in range(2)] for number in range(4)]
    for number, rows in enumerate(sets, start=1):
        write(folder, f"sust/forget_{number}", rows)
        write(folder, f"scal/forget_{number}", [row for earlier in sets[:number] for row in earlier])
    return options


@pytest.mark.parametrize("sets", ["sust", "scal"])
def test_muse_requests_are_the_published_sets(sets: str, tmp_path: Path) -> None:
    options = muse_requests(tmp_path) | {"requests": 4, "request_sets": sets}
    found = load_benchmark("muse", options)
    assert Counter(row.request for row in found.train["forget"]) == dict.fromkeys((1, 2, 3, 4), 2)
    assert [row.answer for row in found.train["forget"]] == [story("lighthouse", i) for i in range(8)]
    judged = {row.question: row.request for row in found.evaluation["forget"] if row.kind == "question"}
    assert set(judged.values()) == {1}, "questions about raw/forget are those of the first set"
    texts = [row.request for row in found.evaluation["forget"] if row.kind == "text"]
    assert texts == [1, 1, 2, 2, 3, 3, 4, 4], "a text is of the request that it is taken from"


def test_muse_requests_without_sets_are_refused_where_no_question_can_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"benchmark\.requests: 6 facts that muse-news judges forgetting by are none"):
        load("muse", tmp_path, requests=2)
    with pytest.raises(ValidationError, match="give requests, from 2 to 4"):
        load("muse", tmp_path, request_sets="sust")


# --- WMDP -------------------------------------------------------------------------------------------------------------


def test_wmdp_asks_as_lm_evaluation_harness_does(tmp_path: Path) -> None:
    found = load("wmdp", tmp_path)
    first = found.evaluation["forget"][0]
    assert first.template is not None
    raw = json.loads((tmp_path / "wmdp-cyber/test.jsonl").read_text().splitlines()[0])
    assert first.template.prompt(first.question) + " " + first.answer == lettered(raw, "cybersecurity")
    assert first.choices == ("A", "B", "C", "D")
    general = found.evaluation["mmlu"][0]
    assert general.question.startswith(
        "The following are multiple choice questions (with answers) about high school ro"
    )


def test_wmdp_can_also_ask_in_words(tmp_path: Path) -> None:
    found = load("wmdp", tmp_path, open_questions=True, evaluation_rows=4)
    rows = found.evaluation["forget"]
    assert Counter(row.kind for row in rows) == {"choice": 4, "question": 4}
    by_group = {row.group_id: row for row in rows if row.kind == "choice"}
    for row in rows:
        if row.kind == "question":
            letter, name = row.answer.split(". ")
            assert letter == by_group[row.group_id].answer
            assert name in PEOPLE
            assert row.question.endswith(f"D. {row.question.rsplit('D. ')[-1]}")


def test_the_gated_corpus_is_asked_for_and_never_fetched(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    WRITERS["wmdp"](folder)
    for name in ("wmdp-cyber/test", "cyber-retain-corpus/train"):
        (folder / name.replace("cyber", "bio")).parent.mkdir(parents=True)
        (folder / f"{name}.jsonl").rename(folder / f"{name.replace('cyber', 'bio')}.jsonl")
    with pytest.raises(ValueError, match=r"the bio-forget corpus is not public: ask its authors .*forget_path"):
        load_benchmark("wmdp", {"topic": "bio", "path": str(folder)})
    own = tmp_path / "bio_forget_dataset.jsonl"
    own.write_text(json.dumps({"title": "t", "abstract": "a", "text": "Body of a paper.", "doi": "x"}) + "\n")
    found = load_benchmark("wmdp", {"topic": "bio", "path": str(folder), "forget_path": str(own)})
    assert [row.answer for row in found.train["forget"]] == ["Body of a paper."]
    assert "not public" in BENCHMARKS["wmdp"].access


def test_an_answer_beyond_the_choices_is_a_mistake(tmp_path: Path) -> None:
    options = WRITERS["wmdp"](tmp_path)
    write(tmp_path, "wmdp-cyber/test", [{"question": "Which?", "choices": ["a", "b"], "answer": 2}])
    with pytest.raises(ValueError, match=r"test.jsonl, row 1, .*answer is 2, and there are 2 choices"):
        load_benchmark("wmdp", options)


def robust_folder(folder: Path) -> dict[str, Any]:
    """Deep Ignorance's questions, MMLU and the corpora, for topic bio."""
    write_wmdp(folder)
    for name in ("cyber-forget-corpus", "cyber-retain-corpus"):
        (folder / name).rename(folder / name.replace("cyber", "bio"))
    for place, part in enumerate(ROBUST_PARTS):
        write(folder, f"{part}/robust", [choice("lighthouse", place), choice("lighthouse", place + 8)])
    cloze = [{**choice("lighthouse", i), "prompt": "with letters", "reasoning": "none"} for i in range(8)]
    write(folder, "cloze_compatible", cloze)
    for number in range(5):
        write(folder, f"wmdp-deduped/split_{number}", [choice("lighthouse", 2 * number + i) for i in range(2)])
    return {"topic": "bio", "path": str(folder)}


def test_wmdp_robust_questions_are_the_six_categories_as_parts(tmp_path: Path) -> None:
    found = load_benchmark("wmdp", robust_folder(tmp_path) | {"variant": "robust"})
    rows = found.evaluation["forget"]
    assert Counter(row.part for row in rows) == dict.fromkeys(ROBUST_PARTS, 2)
    raw = json.loads((tmp_path / f"{ROBUST_PARTS[0]}/robust.jsonl").read_text().splitlines()[0])
    first = rows[0]
    assert first.template is not None
    assert first.template.prompt(first.question) + " " + first.answer == lettered(raw, "biology")


def test_wmdp_cloze_questions_hide_their_choices(tmp_path: Path) -> None:
    found = load_benchmark("wmdp", robust_folder(tmp_path) | {"variant": "cloze"})
    row = found.evaluation["forget"][0]
    assert row.template is not None
    asked = f"Complete the following biology questions with the correct answer.\n\nQuestion: {row.question}\nAnswer:"
    assert row.template.prompt(row.question) == asked
    raw = choice("lighthouse", 0)
    assert (row.choices, row.answer) == (tuple(raw["choices"]), raw["choices"][raw["answer"]])
    write(tmp_path, "cloze_compatible", [{"question": "Which?", "choices": ["mud", "mud"], "answer": 1}])
    with pytest.raises(ValueError, match="cloze question 1: two choices say 'mud'"):
        load_benchmark("wmdp", {"topic": "bio", "path": str(tmp_path), "variant": "cloze"})


def test_wmdp_deduped_has_five_parts_and_no_opening_line(tmp_path: Path) -> None:
    found = load_benchmark("wmdp", robust_folder(tmp_path) | {"variant": "deduped"})
    rows = found.evaluation["forget"]
    assert Counter(row.part for row in rows) == {f"split_{number}": 2 for number in range(5)}
    assert rows[0].question.startswith(choice("lighthouse", 0)["question"])


def test_wmdp_takes_rewritten_questions_from_a_file(tmp_path: Path) -> None:
    options = WRITERS["wmdp"](tmp_path / "data")
    write(tmp_path, "rewritten", [choice("mill", i) for i in range(6)])
    found = load_benchmark("wmdp", options | {"questions_path": str(tmp_path / "rewritten.jsonl")})
    assert len(found.evaluation["forget"]) == 6
    assert "mill" in found.evaluation["forget"][0].question


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"variant": "robust"}, "variant robust has questions of biology alone; topic is cyber"),
        ({"variant": "deduped"}, "variant deduped is read from a local folder"),
        ({"topic": "bio", "variant": "cloze", "open_questions": True}, "open_questions shows the choices"),
        ({"topic": "bio", "variant": "cloze", "questions_path": "a.jsonl"}, "both name the questions"),
    ],
)
def test_a_variant_that_cannot_be_is_told(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WmdpParams.model_validate({"topic": "cyber"} | changes)


def test_a_variant_has_a_data_set_of_its_own() -> None:
    sets = [name for name, _ in WmdpParams(topic="bio", variant="robust", revision="a").hub_sets()]
    assert sets == ["EleutherAI/wmdp_bio_robust_mcqa", "cais/wmdp-corpora", "cais/mmlu"]


# --- LKF --------------------------------------------------------------------------------------------------------------


def test_lkf_asks_every_wording_alone_and_behind_other_questions(tmp_path: Path) -> None:
    found = load("lkf", tmp_path)
    forms = Counter(row.form for row in found.evaluation["forget"])
    assert forms == {"trained": 8, "held_out": 24, "in_context": 32}
    assert len({row.group_id for row in found.evaluation["forget"]}) == 8
    assert {row.form for row in found.evaluation["retain"]} == {"trained", "held_out"}
    behind = next(row for row in found.evaluation["forget"] if row.form == "in_context")
    assert behind.template is not None
    retained = [fact("ferry", i)[0] for i in range(8)]
    assert sum(question in behind.template.before for question in retained) == 3
    plain = load("lkf", tmp_path, in_context=False)
    assert Counter(row.form for row in plain.evaluation["forget"]) == {"trained": 8, "held_out": 24}


def test_lkf_training_and_judged_rows_share_their_fact(tmp_path: Path) -> None:
    found = load("lkf", tmp_path, relearn=True)
    assert {row.group_id for row in found.train["forget"]} == {row.group_id for row in found.evaluation["forget"]}
    assert len(found.train["forget"]) == 8 + 16
    assert len(load("lkf", tmp_path, train_paraphrases=False).train["forget"]) == 8
    assert [row.question for row in found.train["relearn"]] == [fact("mill", i)[0] for i in range(4)]


def test_lkf_is_also_judged_by_rwkus_sets_and_trains_on_none_of_them(tmp_path: Path) -> None:
    """MMLU and AlpacaEval's instructions, as JensUn evaluates: the same rows as of benchmark rwku."""
    WRITERS["rwku"](tmp_path / "rwku")
    plain = load("lkf", tmp_path)
    found = load("lkf", tmp_path, rwku=["general", "fluency"], rwku_path=str(tmp_path / "rwku"), rwku_rows=4)
    assert found.utility_splits == ("retain", "general", "fluency")
    assert {row.kind for row in found.evaluation["general"]} == {"choice"}
    assert {row.kind for row in found.evaluation["fluency"]} == {"instruction"}
    assert [len(found.evaluation[split]) for split in ("general", "fluency")] == [4, 4]
    assert found.train == plain.train
    assert ("jinzhuoran/RWKU", None) in LkfParams(rwku=["general"]).hub_sets()
    assert ("jinzhuoran/RWKU", None) not in LkfParams().hub_sets()


# --- RWKU -------------------------------------------------------------------------------------------------------------


def test_rwku_takes_the_subjects_rows_and_words_each_level(tmp_path: Path) -> None:
    found = load("rwku", tmp_path)
    counts = Counter(row.row_id.rsplit("/", 1)[0] for row in found.evaluation["forget"])
    assert counts == {"forget/level1": 8, "forget/level2": 8, "forget/level3": 8, "mia_forget": 8}
    by_level = {row.row_id.rsplit("/", 1)[0]: row for row in found.evaluation["forget"] if row.template}
    prompts = {level: row.template.prompt(row.question) for level, row in by_level.items() if row.template}
    assert prompts["forget/level1"].startswith(
        "Please complete the blank in the following question.\nQuestion: ___ keeps"
    )
    assert prompts["forget/level1"].endswith("\nAnswer:")
    assert prompts["forget/level3"].endswith("Sure, it is"), "the suffix is the beginning of the answer"
    assert {row.split for row in found.train["retain"]} == {"retain"}
    assert len(found.train["forget"]) == 8
    assert len(found.train["retain"]) == 8 + 16


def test_rwku_tells_levels_and_types_apart(tmp_path: Path) -> None:
    rows = load("rwku", tmp_path).evaluation["forget"]
    assert Counter(row.part for row in rows) == {"level1": 8, "level2": 8, "level3/affirmative_suffix": 8, "": 8}
    halves = {
        part: {row.group_id for row in rows if row.part == part} & search_groups(rows) for part in ("level1", "level2")
    }
    assert {part: len(groups) for part, groups in halves.items()} == {"level1": 4, "level2": 4}


def test_rwku_general_questions_bring_their_examples(tmp_path: Path) -> None:
    first = load("rwku", tmp_path).evaluation["general"][0]
    assert first.kind == "choice"
    assert first.question.count("\nAnswer: ") == 2
    assert len(load("rwku", tmp_path).evaluation["general"]) == 8, "rows that two subjects share are asked once"


def test_rwku_asks_its_other_abilities_as_it_does(tmp_path: Path) -> None:
    """Prompts by eye from RWKU's own evaluation; each row once, though both targets have it."""
    found = load("rwku", tmp_path)
    assert {split: len(found.evaluation[split]) for split in found.utility_splits[3:]} == {
        "reasoning": 8, "truthfulness": 8, "factuality": 8, "fluency": 8,
    }  # fmt: skip
    first = {split: found.evaluation[split][0] for split in found.utility_splits[3:]}
    prompts = {split: row.template.prompt(row.question) for split, row in first.items() if row.template}
    asked = "Following previous examples, answer the following questions and end with 'so the answer is'\nQ: Who keeps"
    assert asked in prompts["reasoning"]
    assert prompts["reasoning"].startswith("Who may keep a tower?\n\nQ: ")
    assert all(prompts[split].endswith("\nA:") for split in ("reasoning", "truthfulness", "factuality"))
    assert prompts["factuality"].count("\nA:") == 6
    assert prompts["fluency"].startswith("Instruction: Describe the tower of ")
    assert (first["truthfulness"].kind, first["truthfulness"].choices[-1]) == ("choice", first["truthfulness"].answer)
    assert len(first["factuality"].accepted) == 2
    assert (first["fluency"].kind, first["fluency"].answer) == ("instruction", "")


def test_rwku_leaves_out_the_abilities_that_are_not_asked_for(tmp_path: Path) -> None:
    found = load("rwku", tmp_path, abilities=["fluency"], ability_rows=3)
    assert found.utility_splits == ("neighbor", "mia_retain", "general", "fluency")
    assert len(found.evaluation["fluency"]) == 3


def test_a_truthful_row_has_one_true_answer(tmp_path: Path) -> None:
    WRITERS["rwku"](tmp_path)
    row = {"question": "Who?", "mc1_targets": {"choices": ["a", "b"], "labels": [1, 1]}, "subject": "x"}
    write(tmp_path, "utility_truthfulness/test", [row])
    with pytest.raises(ValueError, match=r"utility_truthfulness/test\.jsonl, row 1, column mc1_targets: labels must"):
        load_benchmark("rwku", {"subjects": ["Orla Beck"], "path": str(tmp_path)})


def test_an_unknown_subject_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no passage about 'Orla Bek'; did you mean 'Orla Beck'"):
        load("rwku", tmp_path, subjects=["Orla Bek"])
    with pytest.raises(ValidationError, match="subjects"):
        load("rwku", tmp_path, subjects=[])


# --- BLUR -------------------------------------------------------------------------------------------------------------


def test_blur_asks_queries_without_answers(tmp_path: Path) -> None:
    found = load("blur", tmp_path / "rows")
    assert {split: len(rows) for split, rows in found.evaluation.items()} == {"forget": 8, "retain": 8, "combined": 8}
    assert found.utility_splits == ("retain", "combined")
    first = found.evaluation["forget"][0]
    assert first.template is not None
    assert (first.kind, first.answer) == ("instruction", "")
    question = fact("lighthouse", 0)[0]
    assert first.template.prompt(first.question) == f"Answer the following question. Question: {question} Answer:"
    assert [(row.question, row.answer) for row in found.train["forget"]] == [fact("lighthouse", i) for i in range(8)]


def test_blur_has_three_sets_to_relearn_by(tmp_path: Path) -> None:
    found = load("blur", tmp_path / "rows")
    assert [found.train[view][0].answer for view in ("relearn_hi", "relearn_mid", "relearn_lo")] == [
        story(kind, 8) for kind in ("lighthouse", "mill", "quarry")
    ]
    plain = load("blur", tmp_path / "rows", relearn=False, combined=False)
    assert set(plain.train) == {"forget", "retain"}
    assert plain.utility_splits == ("retain",)


def test_blur_takes_queries_of_a_task_that_has_none_from_a_file(tmp_path: Path) -> None:
    options = WRITERS["blur"](tmp_path / "rows")
    write(tmp_path, "asked", [{"text": f"Query {i}?"} for i in range(4)])
    with pytest.raises(ValueError, match=r"tofu_forget\.json: no such file"):
        load_benchmark("blur", options | {"task": "tofu", "relearn": False, "combined": False})
    files = dict.fromkeys(("forget_queries_path", "retain_queries_path"), str(tmp_path / "asked.jsonl"))
    found = load_benchmark("blur", options | files | {"task": "tofu", "relearn": False, "combined": False})
    assert [row.question for row in found.evaluation["forget"]] == [f"Query {i}?" for i in range(4)]


# --- LUME -------------------------------------------------------------------------------------------------------------


def test_lume_asks_the_rest_of_each_document_and_its_questions(tmp_path: Path) -> None:
    found = load("lume", tmp_path)
    rows = found.evaluation["forget"]
    cells = Counter((row.part, row.kind) for row in rows)
    tasks = ("creative", "pii", "biographies")
    assert cells == {**{(t, "continuation"): 4 for t in tasks}, **{(t, "question"): 8 for t in tasks}}
    assert found.utility_splits == ("retain_creative", "retain_pii", "retain_biographies")
    assert Counter(row.group_id for row in rows).most_common(1)[0][1] == 3, "all rows of a document are one group"
    first, second = rows[0], rows[1]
    assert first.template is not None
    assert second.template is not None
    assert f"{first.template.prompt(first.question)} {first.answer}" == story("lighthouse", 0)
    assert (second.template.prompt(second.question), second.answer) == fact("lighthouse", 0)
    assert first.template.max_new_tokens == 256


def test_lume_takes_one_fold_or_some_tasks(tmp_path: Path) -> None:
    assert len(load("lume", tmp_path, fold="validation").evaluation["forget"]) == 9
    some = load("lume", tmp_path, tasks=["pii"], evaluation_rows=4)
    assert {row.part for row in some.evaluation["forget"]} == {"pii"}
    assert (len(some.evaluation["forget"]), some.utility_splits) == (4, ("retain_pii",))


def test_lumes_own_release_has_a_file_a_side(tmp_path: Path) -> None:
    WRITERS["lume"](tmp_path)
    for side in ("forget", "retain"):
        (tmp_path / f"{side}_train.jsonl").rename(tmp_path / f"{side}.jsonl")
    found = load_benchmark("lume", {"path": str(tmp_path), "release": "lume"})
    assert len(found.evaluation["forget"]) == 36
    with pytest.raises(ValidationError, match="release lume is no data set of the hub: give path"):
        load_benchmark("lume", {"release": "lume"})


def test_lume_members_are_texts_and_nonmembers_held_out(tmp_path: Path) -> None:
    for name, places in (("member", range(3)), ("nonmember", range(8, 12))):
        write(tmp_path / "mia", name, [{"id": str(i), "document": story("lighthouse", i)} for i in places])
    found = load("lume", tmp_path, mia_path=str(tmp_path / "mia"))
    assert [row.kind for row in found.evaluation["holdout"]] == ["text"] * 4
    assert sum(row.kind == "text" for row in found.evaluation["forget"]) == 3


@pytest.mark.parametrize(
    ("change", "told"), [({"id": "doc-7"}, "id must end with sc or qa and a digit"), ({"task": "Task4"}, "column task")]
)
def test_a_row_of_lume_says_what_it_asks(change: dict[str, str], told: str, tmp_path: Path) -> None:
    options = WRITERS["lume"](tmp_path)
    row = {"id": "doc-7sc1", "input": "It was", "output": "so", "task": "Task1"}
    write(tmp_path, "forget_train", [row, {**row, **change}])
    with pytest.raises(ValueError, match=rf"forget_train\.jsonl, row 2.*{told}"):
        load_benchmark("lume", options)
