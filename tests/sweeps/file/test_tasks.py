"""Tasks of lm-evaluation-harness in a sweep file. Oracle: the harness's definitions, and the file's own lines."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra lm-eval)")

from tests.sweeps.sweep_text import TWO_CPUS, sweep_text
from unlearn_sweep.evaluators.tasks.settings import AskedTask
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec
from unlearn_sweep.sweeps.plan.plan import make_plan
from unlearn_sweep.sweeps.resolve import resolve


def tasks_of(folder: Path, evaluators: str) -> list[AskedTask]:
    spec = parse_spec(sweep_text(evaluators=f"evaluators: {{{evaluators}}}"), folder=folder, machine=TWO_CPUS)
    return resolve(spec).tasks


def refused(folder: Path, evaluators: str) -> str:
    with pytest.raises(SpecError) as found:
        tasks_of(folder, evaluators)
    return found.value.text()


def test_tasks_stand_in_the_job_as_they_are_asked(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    tasks = tasks_of(tmp_path, "lm_eval: {mmlu: null, gsm8k: {num_fewshot: 0, limit: 5, data: rows.jsonl}}")
    mmlu, gsm8k = tasks
    assert (mmlu.name, mmlu.metric, mmlu.limit, mmlu.pinned) == ("mmlu", "acc,none", None, False)
    assert (gsm8k.metric, gsm8k.num_fewshot, gsm8k.limit) == ("exact_match,strict-match", 0, 5)
    assert (gsm8k.data, gsm8k.pinned) == (str(tmp_path / "rows.jsonl"), True)


@pytest.mark.parametrize(("ut", "expected"), [("", None), ("ut: [rouge], ", ["rouge", "lm_eval"])])
def test_tasks_are_part_of_ut_without_being_named_there(tmp_path: Path, ut: str, expected: list[str] | None) -> None:
    text = sweep_text(evaluators=f"evaluators: {{{ut}lm_eval: {{mathqa: {{limit: 2}}}}}}")
    found = resolve(parse_spec(text, folder=tmp_path, machine=TWO_CPUS)).ut_metrics
    assert found[-1] == "lm_eval"
    assert expected is None or found == expected


@pytest.mark.parametrize(
    ("evaluators", "said"),
    [
        ("lm_eval: {gsm9k: null}", ("evaluators.lm_eval.gsm9k: unknown task", "nearest: gsm8k")),
        ("lm_eval: {gsm8k: {limit: 0}}", ("evaluators.lm_eval.gsm8k.limit",)),
        ("lm_eval: {gsm8k: {limits: 2}}", ("evaluators.lm_eval.gsm8k.limits: unknown key", "nearest: limit")),
        ("lm_eval: {gsm8k: {metric: acc}}", ("evaluators.lm_eval.gsm8k.metric", "exact_match,flexible-extract")),
        ("lm_eval: {ifeval: {metric: inst_level_loose_acc}}", ("no mean over rows", "prompt_level_loose_acc,none")),
        ("lm_eval: {truthfulqa_mc1: {num_fewshot: 1}}", ("evaluators.lm_eval.truthfulqa_mc1.num_fewshot",)),
        ("lm_eval: {gsm8k: {data: rows.jsonl}}", ("evaluators.lm_eval.gsm8k.data",)),
        ("lm_eval_folder: nowhere, lm_eval: {gsm8k: null}", ("evaluators.lm_eval_folder",)),
        ("lm_eval: {}", ("evaluators.lm_eval", "at least one")),
        ("ut: [lm_eval]", ("evaluators.ut", "names none")),
    ],
)
def test_a_mistake_is_reported_at_its_place(tmp_path: Path, evaluators: str, said: tuple[str, ...]) -> None:
    text = refused(tmp_path, evaluators)
    assert all(part in text for part in said), text


def test_the_plan_says_how_tasks_are_asked_and_whose_rows_may_change(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    given = "lm_eval: {mathqa: {limit: 7}, gsm8k: {num_fewshot: 0, data: rows.jsonl}}"
    spec = parse_spec(sweep_text(evaluators=f"evaluators: {{{given}}}"), folder=tmp_path, machine=TWO_CPUS)
    notes = " ".join(make_plan(spec).notes)
    assert "mathqa (0 examples, first 7 rows, acc,none)" in notes
    assert "gsm8k (0 examples, all rows, exact_match,strict-match)" in notes
    assert "rows of mathqa come from the hub at no fixed revision (unpinned)" in notes


def test_groups_of_ut_are_in_the_job_and_change_its_identity(tmp_path: Path) -> None:
    text = "lm_eval: {mmlu: null}"
    groups = f"ut_groups: {{choices: ['task:mmlu'], own: [retain]}}, {text}"
    plain, grouped = (
        resolve(parse_spec(sweep_text(evaluators=f"evaluators: {{{given}}}"), folder=tmp_path, machine=TWO_CPUS))
        for given in (text, groups)
    )
    assert grouped.ut_groups == {"choices": ["task:mmlu"], "own": ["retain"]}
    assert grouped.digest() != plain.digest()


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ("{a: ['task:gsm9k']}", "no task that evaluators.lm_eval asks"),
        ("{a: []}", "empty"),
        ("{a: [retain], b: [retain]}", "named twice, also in group a"),
        ("{}", "evaluators.ut_groups"),
    ],
)
def test_a_group_of_ut_that_cannot_be_is_refused(tmp_path: Path, groups: str, words: str) -> None:
    assert words in refused(tmp_path, f"ut_groups: {groups}, lm_eval: {{mmlu: null}}")


def test_a_group_of_a_split_that_nothing_judges_is_an_obstacle(tmp_path: Path) -> None:
    text = "evaluators: {ut_groups: {a: [elsewhere]}}"
    plan = make_plan(parse_spec(sweep_text(evaluators=text), folder=tmp_path, machine=TWO_CPUS))
    assert any("evaluators.ut_groups.a" in one and "not by elsewhere" in one for one in plan.obstacles)
