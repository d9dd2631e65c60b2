"""A sweep that cannot measure what it looks for, and a trial that did not move the model. On real tiny models.

Oracles: gold put in the original's place, and a learning rate that changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_authors import PREFILL, QUANTIZE, Ready, make_ready, tiny_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.measurable import UnmeasurableError, check_measurable, unmeasurable
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.stages.unmoved import unmoved_reason
from unlearn_sweep.engine.store.records import Normalised, Objective
from unlearn_sweep.engine.store.stages import StageStore

PARAMS = {
    "learning_rate": 1e-3, "epochs": 2, "beta": 0.5, "reduction": "sequence_sum", "forget_weight": 1.0,
    "retain_weight": 1.0, "retain": "nll",
}  # fmt: skip


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return make_ready(tiny_job(tmp_path_factory.mktemp("storage"), "one", [PREFILL, QUANTIZE]))


def gold_is_original(prepared: Prepared, *labels: str) -> Prepared:
    """Gold's measurements replaced by the original's: everywhere, or under the named attacks alone."""
    both = {label: {"original": keys["original"], "gold": keys["original"]} for label, keys in prepared.attacks.items()}
    attacks = prepared.attacks | {label: both[label] for label in labels or both}
    original = prepared.evaluations["original"]
    evaluations = prepared.evaluations if labels else {"original": original, "gold": original}
    return prepared.model_copy(update={"evaluations": evaluations, "attacks": attacks})


def lost(job: SweepJob, prepared: Prepared) -> dict[str, str]:
    store = StageStore(job.storage)
    return unmeasurable(job, prepared, write_controls(job, prepared, store), store)


def test_a_sound_sweep_is_measurable(ready: Ready) -> None:
    job, prepared, _ = ready
    assert lost(job, prepared) == {}
    assert check_measurable(job, {}) is None


def test_equal_controls_leave_nothing_to_measure_forgetting_by(ready: Ready) -> None:
    job, prepared, _ = ready
    job = job.model_copy(update={"search": job.search.model_copy(update={"trials": 2})})
    found = lost(job, gold_is_original(prepared))
    assert set(found) == {"ue", "rob"}
    assert "apart, which is within 2 x" in found["ue"]
    assert "prefill" in found["rob"]
    with pytest.raises(UnmeasurableError, match=r"no trial of this sweep can have UE and Rob.*No trial was started"):
        check_measurable(job, found)
    on = job.model_copy(update={"search": job.search.model_copy(update={"unmeasured": "go_on"})})
    assert "can have UE and Rob" in str(check_measurable(on, found))


def test_one_trial_alone_runs_for_the_objectives_it_has(ready: Ready) -> None:
    job, prepared, _ = ready
    alone = job.model_copy(update={"search": job.search.model_copy(update={"trials": 1})})
    assert "can have UE and Rob" in str(check_measurable(alone, lost(job, gold_is_original(prepared))))


def test_one_attack_without_a_span_does_not_stop_a_sweep(ready: Ready) -> None:
    job, prepared, _ = ready
    assert lost(job, gold_is_original(prepared, "quantize")) == {}


def test_nothing_left_stops_whatever_the_file_says(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, "none", [], unmeasured="go_on")
    with pytest.raises(UnmeasurableError, match="UE and UT"):
        check_measurable(job, {"ue": "equal", "ut": "at chance"})


def test_a_trial_without_rob_says_why(ready: Ready) -> None:
    job, prepared, executor = ready
    record = run_trial(task(0), job, gold_is_original(prepared, "prefill", "quantize"), executor)
    assert record.rob is None
    assert "within 2 x" in (record.rob_reason or "")
    assert record.unmoved is None


def task(number: int, **params: float) -> TrialTask:
    return TrialTask(number=number, key=f"k{number}", method="npo", params=PARAMS | params, seed=3)


def test_a_trial_that_changes_nothing_is_said_to(ready: Ready) -> None:
    weak = run_trial(task(1, learning_rate=1e-12), *ready)
    strong = run_trial(task(2), *ready)
    assert (weak.state, strong.state) == ("complete", "complete")
    assert weak.unmoved is not None
    assert "its weights changed by" in weak.unmoved
    changes = [record.training.relative_change for record in (weak, strong) if record.training is not None]
    small, large = (change for change in changes if change is not None)
    assert small < 1e-7 < 1e-4 < large
    assert strong.unmoved is None


def part(value: float, original: float = 0.9, gold: float = 0.1) -> Normalised:
    return Normalised(
        metric="probability", split="forget", group="memorisation", value=value, original=original, gold=gold, score=0.0
    )


@pytest.mark.parametrize(
    ("values", "change", "said"),
    [
        ((0.9, 0.89), 1e-3, "probability 0.900 to 0.900"),
        ((0.9, 0.88), 1e-3, None),  # 2.5% of the way
        ((0.92,), 1e-3, None),  # it remembers more: moved, the wrong way
        ((0.5,), 0.0, "weights changed by 0 of"),
        ((0.9,), None, "weights changed by unknown of"),
        ((), 1e-3, None),
    ],
)
def test_what_counts_as_moved(values: tuple[float, ...], change: float | None, said: str | None) -> None:
    found = unmoved_reason(Objective(value=None, parts=tuple(part(value) for value in values)), change)
    assert (found is None) if said is None else (said in (found or ""))
