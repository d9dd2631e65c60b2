"""What a benchmark's rows lack for what a sweep asks of them. Oracle: rows written here without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.published_data import write_muse
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.plan.data_check import check_rows, describe
from unlearn_sweep.sweeps.resolve import resolve

SWEEP = """
name: own
benchmark: {{name: custom, forget_path: {folder}/forget.jsonl, retain_path: {folder}/retain.jsonl}}
gold: {{floor: chance}}
methods: {{{method}: {{learning_rate: 1e-3}}}}
evaluators: {{ue: [{ue}], ut: [{ut}]}}
attacks: [{attack}]
"""


def write(folder: Path, *, texts: bool = False) -> None:
    for name, first in (("forget", 0), ("retain", 10)):
        rows = [
            {"text": f"The pier {i} was built in salt."} if texts else {"question": f"Who {i}?", "answer": f"He {i}"}
            for i in range(first, first + 6)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def mistakes(
    folder: Path, *, ue: str = "rouge", ut: str = "rouge", method: str = "simnpo", attack: str = "relearn"
) -> str:
    spec = parse_spec(SWEEP.format(folder=folder, ue=ue, ut=ut, method=method, attack=attack), folder=folder)
    try:
        check_rows(spec, resolve(spec))
    except SpecError as error:
        return error.text()
    return ""


def test_rows_that_have_all_are_described(tmp_path: Path) -> None:
    write(tmp_path)
    spec = parse_spec(
        SWEEP.format(folder=tmp_path, ue="rouge", ut="rouge", method="simnpo", attack="relearn"), folder=tmp_path
    )
    job = resolve(spec)
    found = check_rows(spec, job)
    parts = describe(spec, job, found).split("; ")
    assert parts[:3] == ["checked", "to train on 6 forget, 6 retain", "to judge by 6 forget, 6 retain"]
    assert parts[3].startswith("few rows: the forget side is judged by 6 facts, about 3 in each half")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"ue": "truth_ratio"}, "ue metric truth_ratio needs rows with a perturbed_answer, and custom has none"),
        ({"ut": "paraphrase_probability"}, "ut metric paraphrase_probability needs rows with a paraphrased_answer"),
        ({"ue": "choice_accuracy"}, "ue metric choice_accuracy is for rows of kind choice, and custom has question"),
        ({"ue": "verbmem"}, "ue metric verbmem is for rows of kind continuation, and custom has question"),
        (
            {"ue": "mia_min_k_auc"},
            "ue metric mia_min_k_auc needs rows that no model was trained on (split holdout); custom has none: "
            "give benchmark.holdout_path, a file of such rows, or leave the metric out",
        ),
        ({"ue": "forget_quality"}, "forget_quality has no chance value: it needs a gold model"),
        ({"ue": "mia_loss"}, "mia_loss has no chance value: it needs a gold model, but gold is floor: chance"),
        ({"method": "altpo"}, "method altpo needs alternate answers, and the forget rows of custom have none"),
    ],
)
def test_what_the_rows_lack_is_told_at_planning_time(tmp_path: Path, asked: dict[str, str], told: str) -> None:
    write(tmp_path)
    assert told in mistakes(tmp_path, **asked)


def test_all_of_it_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    assert mistakes(tmp_path, ue="truth_ratio, choice_accuracy", ut="model_utility").count("benchmark: u") == 3


def test_demonstrations_need_questions(tmp_path: Path) -> None:
    write(tmp_path, texts=True)
    assert "few_shot shows questions with answers, and view forget of custom has none" in mistakes(
        tmp_path, attack="few_shot"
    )
    write(tmp_path)
    assert mistakes(tmp_path, attack="few_shot: {shots: [1]}") == ""


def test_a_judge_that_is_not_there_is_told_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNLEARN_SWEEP_JUDGE_URL", raising=False)
    write(tmp_path)
    with pytest.raises(SpecError) as caught:
        mistakes(tmp_path, ue="rouge, judge_worst")
    assert "evaluators.ue[1]: a judge is asked for: set UNLEARN_SWEEP_JUDGE_URL" in caught.value.text()


def test_a_local_copy_of_a_published_benchmark_is_checked_too(tmp_path: Path) -> None:
    write_muse(tmp_path)
    (tmp_path / "verbmem/forget.jsonl").write_text('{"prompt": "The pier", "gtt": "was built"}')
    text = SWEEP.format(folder=tmp_path, ue="verbmem", ut="knowmem", method="simnpo", attack="relearn").splitlines()
    text[2] = f"benchmark: {{name: muse, corpus: news, path: {tmp_path}}}"
    spec = parse_spec("\n".join(text), folder=tmp_path)
    with pytest.raises(SpecError) as caught:
        check_rows(spec, resolve(spec))
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("benchmark.path", 3)
    assert "verbmem/forget.jsonl, row 1, column gt: field required; the row has 'gtt': is that it?" in problem.message
