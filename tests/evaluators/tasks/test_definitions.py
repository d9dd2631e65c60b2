"""What a sweep may ask of a task, before anything is loaded. Oracle: the harness's own definitions, read by eye."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra lm-eval)")

from unlearn_sweep.evaluators.tasks import definitions
from unlearn_sweep.evaluators.tasks.definitions import TaskError, asked_task, known_files, task_identity
from unlearn_sweep.evaluators.tasks.settings import TaskSettings


@pytest.mark.parametrize(
    ("name", "metric", "shots"),
    [
        ("mmlu", "acc,none", None),
        ("wmdp_bio", "acc,none", 0),
        ("truthfulqa_mc1", "acc,none", 0),
        ("truthfulqa_mc2", "acc,none", 0),
        ("mathqa", "acc,none", 0),
        ("gsm8k", "exact_match,strict-match", 5),
        ("ifeval", "prompt_level_strict_acc,none", 0),
    ],
)
def test_what_is_left_out_is_as_the_task_says(name: str, metric: str, shots: int | None) -> None:
    asked = asked_task(name, TaskSettings(), None)
    assert (asked.metric, asked.num_fewshot, asked.split) == (metric, shots, f"task:{name}")
    assert not asked.pinned


def test_a_metric_may_be_named_without_its_filter() -> None:
    assert asked_task("mathqa", TaskSettings(metric="acc_norm"), None).metric == "acc_norm,none"
    flexible = asked_task("gsm8k", TaskSettings(metric="exact_match,flexible-extract", num_fewshot=2), None)
    assert (flexible.metric, flexible.num_fewshot) == ("exact_match,flexible-extract", 2)


@pytest.mark.parametrize(
    ("name", "settings", "field", "message"),
    [
        ("gsm9k", TaskSettings(), "", "unknown task"),
        ("gsm8k", TaskSettings(metric="acc"), "metric", "no such metric"),
        ("gsm8k", TaskSettings(metric="exact_match,strict"), "metric", "no such metric"),
        ("ifeval", TaskSettings(metric="inst_level_strict_acc"), "metric", "no mean over rows"),
        ("wikitext", TaskSettings(), "metric", "no metric with a value for each row"),
        ("truthfulqa_mc1", TaskSettings(num_fewshot=3), "num_fewshot", "its own examples"),
        ("mmlu", TaskSettings(metric="acc_norm"), "metric", "no such metric"),
    ],
)
def test_what_cannot_be_asked_is_refused(name: str, settings: TaskSettings, field: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as found:
        asked_task(name, settings, None)
    assert found.value.field == field


def test_an_unknown_name_comes_with_the_known_ones() -> None:
    with pytest.raises(TaskError) as found:
        asked_task("gsm9k", TaskSettings(), None)
    assert {"gsm8k", "mmlu", "ifeval"} <= set(found.value.allowed)


def test_ones_own_definitions_go_first_and_may_include_others(tmp_path: Path) -> None:
    (tmp_path / "base").write_text("metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n")
    (tmp_path / "mine.yaml").write_text(
        "include: base\ntask: gsm8k\nnum_fewshot: 1\nprocess_results: !function no.such\n"
    )
    assert known_files(str(tmp_path))["gsm8k"] == tmp_path / "mine.yaml"
    asked = asked_task("gsm8k", TaskSettings(), str(tmp_path))
    assert (asked.metric, asked.num_fewshot) == ("exact_match,none", 1)
    assert "mmlu" in known_files(str(tmp_path))


def test_lower_is_better_serves_no_utility(tmp_path: Path) -> None:
    text = "task: mine\nmetric_list: [{metric: wrong, aggregation: mean, higher_is_better: false}]\n"
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(TaskError, match="lower is better"):
        asked_task("mine", TaskSettings(metric="wrong"), str(tmp_path))


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("include: two.yaml\ntask: one\n")
    (tmp_path / "two.yaml").write_text("include: one.yaml\ntask: two\n")
    with pytest.raises(TaskError, match="includes itself"):
        asked_task("one", TaskSettings(), str(tmp_path))


def test_a_group_that_weighs_its_tasks_alike_is_refused(tmp_path: Path) -> None:
    text = "group: pair\ntask: [gsm8k, mathqa]\naggregate_metric_list: [{metric: acc, weight_by_size: false}]\n"
    (tmp_path / "pair.yaml").write_text(text)
    with pytest.raises(TaskError, match="whatever their size"):
        asked_task("pair", TaskSettings(), str(tmp_path))


def test_without_the_harness_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match=r"unlearn-sweep\[lm-eval\]"):
        asked_task("gsm8k", TaskSettings(), None)


def test_the_identity_holds_what_decides_the_rows_and_no_path(tmp_path: Path) -> None:
    data = tmp_path / "test.jsonl"
    data.write_text('{"question": "a", "answer": "b"}\n')

    def identity(**changes: object) -> dict[str, object]:
        settings = TaskSettings.model_validate({"data": str(data), "num_fewshot": 0, **changes})
        return task_identity([asked_task("gsm8k", settings, None)])

    before = identity()
    assert identity() == before
    assert identity(counts=False) == before, "what counts is decided when a model is scored"
    assert identity(limit=3) != before
    assert str(tmp_path) not in str(before)
    data.write_text('{"question": "a", "answer": "c"}\n')
    assert identity() != before, "other rows are another measurement"
    assert task_identity([]) == {}


def test_checking_a_task_loads_neither_torch_nor_the_harness() -> None:
    code = (
        "import sys; from unlearn_sweep.evaluators.tasks.definitions import asked_task;"
        "from unlearn_sweep.evaluators.tasks.settings import "
        "TaskSettings; asked_task('mmlu', TaskSettings(), None); print({'torch', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
