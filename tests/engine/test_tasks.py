"""Tasks of lm-evaluation-harness in a trial: measured with the rest of utility, and again after an attack on weights.

Oracles: the rows in the stages, and UT's own formula over them.
"""

from __future__ import annotations

import json

import pytest

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra lm-eval)")

from tests.support.tiny_authors import PREFILL, QUANTIZE, Ready, make_ready, tiny_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.measuring_requests import evaluate_stage
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.records import Normalised
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.tasks.definitions import asked_task
from unlearn_sweep.evaluators.tasks.settings import TaskSettings

PARAMS = {
    "learning_rate": 1e-3, "epochs": 2, "beta": 0.5, "reduction": "sequence_sum", "forget_weight": 1.0,
    "retain_weight": 1.0, "retain": "nll",
}  # fmt: skip
ROWS = 12


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Questions the model was trained on, asked by choice: its own answer or one that is none."""
    storage = tmp_path_factory.mktemp("storage")
    job = tiny_job(storage, "tasks", [PREFILL, QUANTIZE])
    from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

    known = load_benchmark("authors", job.benchmark.params).train["retain"][:ROWS]
    folder = tmp_path_factory.mktemp("tasks")
    lines = [{"question": row.question, "choices": ["xxxx xxxx", row.answer], "answer": 1} for row in known]
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "recall.yaml").write_text(
        "task: recall\ntest_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: "Question: {{question}}\\nAnswer:"\n'
        "doc_to_choice: '{{choices}}'\ndoc_to_target: answer\nmetric_list: [{metric: acc, aggregation: mean}]\n"
    )
    counted = TaskSettings(data=str(folder / "test.jsonl"))
    beside = TaskSettings(data=str(folder / "test.jsonl"), limit=3, counts=False)
    (folder / "again.yaml").write_text((folder / "recall.yaml").read_text().replace("task: recall", "task: again"))
    tasks = [asked_task("recall", counted, str(folder)), asked_task("again", beside, str(folder))]
    changes = {"tasks": tasks, "ut_metrics": ["probability", "lm_eval"]}
    return make_ready(SweepJob.model_validate(job.model_copy(update=changes).model_dump()))


def _task() -> TrialTask:
    return TrialTask(number=0, key="k0", method="npo", params=PARAMS, seed=3)


def test_a_task_is_one_part_of_ut(ready: Ready) -> None:
    job, prepared, executor = ready
    record = run_trial(_task(), job, prepared, executor)
    assert record.state == "complete", record.reason
    assert record.ut_detail is not None
    parts: dict[tuple[str, str], Normalised] = {(part.metric, part.split): part for part in record.ut_detail.parts}
    counted, beside = parts["lm_eval", "task:recall"], parts["lm_eval", "task:again"]
    assert counted.original is not None
    assert counted.value is not None
    assert counted.original > 0.8, "the original was trained on these questions"
    assert counted.score == pytest.approx(min(1.0, max(0.0, (counted.value - 0.5) / (counted.original - 0.5))))
    assert beside.value is not None
    assert beside.score is None
    assert "counts: false" in str(beside.reason)
    scores = [part.score for part in parts.values() if part.score is not None]
    assert record.ut == pytest.approx(sum(scores) / len(scores))
    assert all((metric == "lm_eval") == split.startswith("task:") for metric, split in parts)


def test_after_an_attack_on_weights_tasks_are_asked_again(ready: Ready) -> None:
    job, prepared, executor = ready
    run_trial(_task(), job, prepared, executor)
    store = StageStore(job.storage)
    quantized = store.rows(prepared.attacks["quantize"]["original"])
    prefilled = store.rows(prepared.attacks["prefill"]["original"])
    assert quantized.groupby("strength")["lm_eval"].count().tolist() == [ROWS + 3] * 2
    assert "task" not in set(prefilled["kind"]), "a changed prompt leaves utility as it was"


def test_how_a_task_is_asked_names_the_stage(ready: Ready) -> None:
    job = ready[0]
    other = [task.model_copy(update={"limit": 2}) for task in job.tasks]
    uncounted = [task.model_copy(update={"counts": False}) for task in job.tasks]

    def key(tasks: list[object]) -> object:
        return evaluate_stage(job.model_copy(update={"tasks": tasks}), "model", "data").inputs

    assert key(list(other)) != key(list(job.tasks))
    assert key(list(uncounted)) == key(list(job.tasks))
    assert "tasks" not in evaluate_stage(job.model_copy(update={"tasks": []}), "model", "data").inputs
