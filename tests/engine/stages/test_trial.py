"""One trial in this process, over real store, losses, metrics and attacks. Oracles: the event log and the records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_authors import PREFILL, QUANTIZE, Ready, make_ready, tiny_job
from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.search_space import CHECKPOINT
from unlearn_sweep.engine.stages import training_requests
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.scoring import Scorer
from unlearn_sweep.engine.stages.trial import BETWEEN_STAGES, BROKEN_MODEL, run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.draws import unpack
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.objectives.robustness import robustness
from unlearn_sweep.evaluators.objectives.utility import utility_retention

PARAMS = {
    "learning_rate": 1e-3, "epochs": 2, "beta": 0.5, "reduction": "sequence_sum", "forget_weight": 1.0,
    "retain_weight": 1.0, "retain": "nll",
}  # fmt: skip


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return make_ready(tiny_job(tmp_path_factory.mktemp("storage"), "one", [PREFILL, QUANTIZE]))


def _task(number: int, **changes: object) -> TrialTask:
    return TrialTask(**{"number": number, "key": f"k{number}", "method": "npo", "params": PARAMS, "seed": 3, **changes})


def _stage_events(job: SweepJob, number: int, event: str) -> list[str | None]:
    return [
        found.stage
        for found in EventLog(job.directory / "events.jsonl").read()
        if (found.trial, found.event) == (number, event)
    ]


def test_a_trial_runs_its_stages_in_order_and_a_second_one_reuses_them(ready: Ready) -> None:
    job, prepared, executor = ready
    first = run_trial(_task(0), job, prepared, executor)
    assert first.state == "complete", first.reason
    assert _stage_events(job, 0, "stage_finished") == ["unlearn", "evaluate", "attack:prefill", "attack:quantize"]
    (measured,) = [
        found.data["forward_passes"]
        for found in EventLog(job.directory / "events.jsonl").read()
        if (found.trial, found.event, found.stage) == (0, "stage_finished", "evaluate")
    ]
    stage = StageStore(job.storage).stage_folder(first.stage_keys["evaluate"]) / "stage.json"
    assert measured == json.loads(stage.read_text())["data"]["forward_passes"] >= 1
    again = run_trial(_task(1), job, prepared, executor)
    assert _stage_events(job, 1, "stage_finished") == []
    assert again.reused_stages == ["unlearn", "evaluate", "attack:prefill", "attack:quantize"]
    assert (again.ue, again.ut, again.rob) == (first.ue, first.ut, first.rob)
    assert all(0 <= value <= 1 for value in (first.ue, first.ut, first.rob) if value is not None)
    assert [point.strength for point in first.attacks[1].curve] == [8, 4]


def test_equal_settings_of_the_training_are_one_training(ready: Ready) -> None:
    """A trial that draws the sweep's own batch size trains nothing; another size is another training."""
    job, prepared, executor = ready
    run_trial(_task(0), job, prepared, executor)
    size = job.training.global_batch_size
    same = run_trial(_task(60, params=PARAMS | {"training.global_batch_size": size}), job, prepared, executor)
    assert (same.state, _stage_events(job, 60, "stage_finished")) == ("complete", [])
    assert same.params["training.global_batch_size"] == size
    other = run_trial(_task(61, params=PARAMS | {"training.global_batch_size": size // 2}), job, prepared, executor)
    assert "unlearn" in _stage_events(job, 61, "stage_finished")
    assert other.training is not None
    assert other.training.global_batch_rows == size // 2


def _trained(job: SweepJob, number: int) -> int:
    return _stage_events(job, number, "stage_finished").count("unlearn")


def test_the_shares_of_a_training_are_trials_of_one_training(ready: Ready) -> None:
    """The end first, then the middle: one training, two models, each measured and attacked."""
    job, prepared, executor = ready
    job = job.model_copy(update={"training": job.training.model_copy(update={"checkpoints": (0.5, 1.0)})})
    params = PARAMS | {"beta": 0.25}
    end = run_trial(_task(70, params=params | {CHECKPOINT: 1.0}), job, prepared, executor)
    middle = run_trial(_task(71, params=params | {CHECKPOINT: 0.5}), job, prepared, executor)
    assert (_trained(job, 70), _trained(job, 71)) == (1, 0)
    assert (end.state, middle.state) == ("complete", "complete")
    assert end.training is not None
    assert middle.training is not None
    assert middle.training.steps * 2 == end.training.steps == middle.training.planned_steps
    assert {end.stage_keys[name] == middle.stage_keys[name] for name in ("unlearn", "evaluate")} == {False}
    assert middle.stage_keys["unlearn"] == Path(middle.model_path or "").name
    assert (end.ue, end.ut) != (middle.ue, middle.ut)
    plain = run_trial(_task(72, params=params), ready[0], prepared, executor)
    assert _trained(job, 72) == 0  # the end is the weights of a sweep without shares
    assert plain.stage_keys["unlearn"] == end.stage_keys["unlearn"]
    store = StageStore(job.storage)
    assert not list((store.root / "partial").glob("*")) or not any((store.root / "partial").iterdir())


def test_the_middle_first_runs_the_training_to_its_end(ready: Ready) -> None:
    """Whoever comes first trains for all; once weights have gone, a share is trained up to there, to the same bits."""
    job, prepared, executor = ready
    job = job.model_copy(update={"training": job.training.model_copy(update={"checkpoints": (0.5, 1.0)})})
    params = PARAMS | {"beta": 0.125}
    middle = run_trial(_task(73, params=params | {CHECKPOINT: 0.5}), job, prepared, executor)
    end = run_trial(_task(74, params=params | {CHECKPOINT: 1.0}), job, prepared, executor)
    assert (_trained(job, 73), _trained(job, 74)) == (1, 0)
    assert "unlearn" not in middle.reused_stages
    assert end.training is not None
    assert end.training.steps == end.training.planned_steps
    store, key = StageStore(job.storage), middle.stage_keys["unlearn"]
    before = (store.model_folder(key) / "model.safetensors").read_bytes()
    store.evict_model(key)
    again = run_trial(_task(75, params=params | {CHECKPOINT: 0.5}, weights_only=True), job, prepared, executor)
    assert again.training is not None
    assert (_trained(job, 75), again.training.steps) == (1, middle.training.steps if middle.training else None)
    assert (store.model_folder(key) / "model.safetensors").read_bytes() == before


def test_rob_is_the_least_over_families(ready: Ready) -> None:
    record = run_trial(_task(2), *ready)
    assert record.rob == pytest.approx(min(score.value for score in record.attacks if score.value is not None))


def test_the_record_holds_all_that_the_objectives_say(ready: Ready) -> None:
    """Oracle: `evaluators.objectives` called by hand on the stages' tables; equal as whole models, nothing left out."""
    job, prepared, executor = ready
    record = run_trial(_task(2), job, prepared, executor)
    store = StageStore(job.storage)
    scorer = Scorer(job, prepared, store)
    rows, tables = store.rows(record.stage_keys["evaluate"]), scorer.controls
    for half, found in (("search", record.ut_detail), ("report", record.report_ut_detail)):
        expected = utility_retention(rows, tables.original, job.ut_metrics, groups=tables.halves[half])
        assert found == (expected if half == "search" else expected.model_copy(update={"parts": ()}))
        assert found is not None
        assert found.rows > 0
    families = {attack.label: attack.family for attack in job.attacks}
    assert record.rob_detail == robustness({score.attack: score.value for score in record.attacks}, families)
    assert record.rob_detail is not None
    assert record.rob_detail.families
    assert all(score.standard_error is not None for score in record.attacks if score.value is not None)
    assert TrialRecord.model_validate_json(record.model_dump_json()) == record


def test_the_draws_of_a_record_have_its_standard_errors(ready: Ready) -> None:
    """Oracle: the standard errors beside the values; a draw is rounded to 1 of 65534 steps."""
    record = run_trial(_task(2), *ready)
    errors: dict[str, float | None] = {}
    for name in ("ue", "ut", "report_ue", "report_ut"):
        detail = getattr(record, f"{name}_detail")
        errors[name] = detail.standard_error
    for attack in record.attacks:
        errors[f"attack:{attack.attack}"] = attack.standard_error
        errors[f"report_attack:{attack.attack}"] = attack.report_standard_error
    known = {name: error for name, error in errors.items() if error is not None}
    assert set(record.draws) == set(known)
    assert len(known) >= 4
    for name, error in known.items():
        assert np.nanstd(unpack(record.draws[name]), ddof=1) == pytest.approx(error, abs=1e-4)


def test_a_beaten_trial_skips_its_attacks_and_says_so(ready: Ready) -> None:
    """The rival is at (1, 1, 1): no attack can put this trial on the front, so none is run and Rob stays its bound."""
    record = run_trial(_task(3, seed=4, rivals=[(1.0, 1.0, 1.0)]), *ready)
    assert record.rob_is_bound
    assert record.rob == 1.0
    assert [score.skipped for score in record.attacks] == [True, True]
    assert _stage_events(ready[0], 3, "stage_started") == ["unlearn", "evaluate"]
    assert _stage_events(ready[0], 3, "attack_skipped") == ["attack:prefill", "attack:quantize"]


def test_an_equal_rival_prunes_nothing(ready: Ready) -> None:
    """A rival that is better nowhere does not beat: two equal trials are both on the front."""
    same = run_trial(_task(4), *ready)
    assert same.ue is not None
    assert same.ut is not None
    record = run_trial(_task(5, rivals=[(same.ue, same.ut, 1.0)]), *ready)
    assert not record.attacks[0].skipped


def test_a_failed_stage_is_a_record_with_stage_and_reason(ready: Ready) -> None:
    job, prepared, executor = ready
    broken = job.model_copy(
        update={"attacks": [AttackSettings(label="p", name="prefill", family="prompt", params={"tokens": [99]})]}
    )
    lost = prepared.model_copy(update={"attacks": {"p": prepared.attacks["prefill"]}})
    record = run_trial(_task(6), broken, lost, executor)
    assert record.state == "failed"
    assert record.failed_stage == "attack:p"
    assert record.reason
    assert record.ue is not None  # what was measured before stays


def test_what_fails_between_stages_is_a_record_too(ready: Ready) -> None:
    """A table of the controls is gone: no stage is at fault, and another process would not find it either."""
    job, prepared, executor = ready
    lost = prepared.model_copy(update={"evaluations": {**prepared.evaluations, "gold": "gone"}})
    record = run_trial(_task(12), job, lost, executor)
    assert (record.state, record.failed_stage) == ("failed", BETWEEN_STAGES)
    assert (record.reason or "").startswith("FileNotFoundError: ")


def test_a_model_that_diverges_is_collapsed_not_failed(ready: Ready) -> None:
    record = run_trial(_task(7, params=PARAMS | {"learning_rate": 1e4}), *ready)
    assert record.state == "collapsed"
    assert record.reason


def test_trials_share_the_teacher_they_learn_from(ready: Ready) -> None:
    params = {"learning_rate": 1e-3, "epochs": 2, "reinforce_learning_rate": 1e-3, "reinforce_epochs": 1}
    first, second = (
        run_trial(_task(number, method="whp", params=params | {"strength": strength}), *ready)
        for number, strength in ((8, 1.0), (9, 2.0))
    )
    assert (first.state, second.state) == ("complete", "complete"), (first.reason, second.reason)
    assert _stage_events(ready[0], 8, "stage_finished")[:2] == ["reinforce", "unlearn"]
    assert second.reused_stages == ["reinforce"]
    usual = training_requests.teacher_params("whp", {"learning_rate": 1e-3, "epochs": 2})
    assert usual == {"learning_rate": 3e-6, "epochs": 3}  # the card's, where a trial says nothing
    other = run_trial(_task(10, method="whp", params=params | {"reinforce_epochs": 2}), *ready)
    assert other.reused_stages == []


def test_a_teacher_that_diverges_is_a_failed_stage(ready: Ready) -> None:
    params = {"learning_rate": 1e-3, "epochs": 2, "reinforce_learning_rate": 1e5, "reinforce_epochs": 20}
    record = run_trial(_task(11, method="whp", params=params), *ready)
    assert (record.state, record.failed_stage) == ("failed", "reinforce")
    assert "the teacher's training stopped early" in (record.reason or "")


def test_the_name_of_a_broken_model_is_the_evaluators_own() -> None:
    from unlearn_sweep.evaluators.likelihood import NonFiniteLogits

    assert NonFiniteLogits.__name__ == BROKEN_MODEL


def test_attempts_are_counted_over_process_deaths(tmp_path: Path) -> None:
    from unlearn_sweep.engine.stages.trial_task import count_attempt

    assert [count_attempt(tmp_path / "attempts" / "3") for _ in range(3)] == [1, 2, 3]


def test_weights_that_are_gone_are_made_again_only_for_a_stage_that_is_missing(ready: Ready) -> None:
    job, prepared, executor = ready
    store = StageStore(job.storage)
    first = run_trial(_task(20, seed=11), job, prepared, executor)
    assert store.evict_model(first.stage_keys["unlearn"]) > 0
    again = run_trial(_task(21, seed=11), job, prepared, executor)
    assert _stage_events(job, 21, "stage_started") == []
    assert again.reused_stages == ["unlearn", "evaluate", "attack:prefill", "attack:quantize"]
    assert (again.state, again.ue, again.ut, again.rob) == (first.state, first.ue, first.ut, first.rob)
    assert again.training == first.training
    shutil.rmtree(store.stage_folder(first.stage_keys["attack:quantize"]))
    third = run_trial(_task(22, seed=11), job, prepared, executor)
    assert _stage_events(job, 22, "stage_started") == ["unlearn", "attack:quantize"]
    assert third.reused_stages == ["evaluate", "attack:prefill"]
    assert third.rob == first.rob


def test_weights_alone_are_made_again_without_measuring(ready: Ready) -> None:
    job, prepared, executor = ready
    store = StageStore(job.storage)
    first = run_trial(_task(23, seed=11), job, prepared, executor)
    store.evict_model(first.stage_keys["unlearn"])
    record = run_trial(_task(23, seed=11, weights_only=True), job, prepared, executor)
    assert (record.state, store.has_weights(first.stage_keys["unlearn"])) == ("complete", True)
    assert _stage_events(job, 23, "stage_started")[-1] == "unlearn"
    assert record.ue is None


def test_an_original_whose_weights_are_gone_is_trained_for_a_training_and_not_for_the_controls(ready: Ready) -> None:
    job, prepared, executor = ready
    store, events = StageStore(job.storage), EventLog(job.directory / "events.jsonl")
    for which in ("original", "gold"):
        assert store.evict_model(prepared.ids[which]) > 0
    before = len(events.read())
    again = Preparation(job, StageRunner(store, events), [executor], in_turn=True).run()
    assert again == prepared
    assert "stage_started" not in {event.event for event in events.read()[before:]}
    record = run_trial(_task(24, seed=12), job, prepared, executor)
    assert record.state == "complete", record.reason
    assert _stage_events(job, 24, "stage_started")[:2] == ["prepare:original", "unlearn"]
    assert not store.has_weights(prepared.ids["gold"])
    shutil.rmtree(store.stage_folder(prepared.attacks["prefill"]["gold"]))
    before = len(events.read())
    Preparation(job, StageRunner(store, events), [executor], in_turn=True).run()
    began = [event.stage for event in events.read()[before:] if event.event == "stage_started"]
    assert began == ["prepare:gold", "attack:prefill"]
