"""A trial whose training is stopped, over real store, training and attacks. Oracles: store, log and record."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_authors import QUANTIZE, Ready, make_ready, tiny_job
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.stopping.records import EndedTrial, Probing, StopFacts
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.stages import StageStore

PARAMS = {
    "learning_rate": 1e-3, "epochs": 2, "beta": 0.5, "reduction": "sequence_sum", "forget_weight": 1.0,
    "retain_weight": 1.0, "retain": "nll",
}  # fmt: skip
BEATEN = EndedTrial(rungs=((0.0, 1.0),) * 2, end=(0.0, 0.4, 0.0))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return make_ready(tiny_job(tmp_path_factory.mktemp("storage"), "stopped", [QUANTIZE]))


def probing(*, front: float = 0.99, **changes: Any) -> Probing:
    """Every training stops at its first rung, unless the front lies low."""
    facts = StopFacts(sure=0.95, learn_from=2, ended=(BEATEN,) * 2, front=((front, front, front),), attacked=True)
    return Probing(**{"rungs": (0.25, 0.5), "rows": 6, "facts": facts, **changes})


def task(number: int, beta: float, **changes: object) -> TrialTask:
    fields = {"number": number, "key": f"k{number}", "method": "npo", "params": PARAMS | {"beta": beta}, "seed": 3}
    return TrialTask(**{**fields, "probing": probing(), **changes})  # pyright: ignore[reportArgumentType]


def events(ready: Ready, number: int) -> list[tuple[str, str | None]]:
    found = EventLog(ready[0].directory / "events.jsonl").read()
    return [(event.event, event.stage) for event in found if event.trial == number and event.stage is not None]


def run(ready: Ready, given: TrialTask) -> TrialRecord:
    return run_trial(given, *ready)


def remains(storage: Path, key: str) -> list[Path]:
    return [path for path in (storage / "store").rglob(f"*{key}*") if path.parent.name != "locks"]


def test_a_stopped_trial_has_a_state_of_its_own_and_no_stage(ready: Ready) -> None:
    record = run(ready, task(0, 0.11))
    assert (record.state, record.ue, record.ut, record.rob, record.attacks) == ("stopped", None, None, None, [])
    assert record.stopping is not None
    assert (record.stopping.share, record.stopping.ran_anyway) == (0.25, False)
    assert "stopped after 25% of its steps" in (record.reason or "")
    assert record.training is not None
    assert record.training.steps < record.training.planned_steps
    assert [probe.share for probe in record.training.probes] == [0.0, 0.25]
    assert events(ready, 0) == [("stage_started", "unlearn"), ("stage_stopped", "unlearn")]
    assert remains(ready[0].storage, record.stage_keys["unlearn"]) == []
    assert record.stage_seconds["unlearn"] > 0
    assert TrialRecord.model_validate_json(record.sealed().model_dump_json()).is_intact()


def test_nothing_of_a_stopped_training_serves_a_later_trial(ready: Ready) -> None:
    """The same setting without a rule: it is trained, to its end."""
    run(ready, task(1, 0.12))
    whole = run(ready, task(2, 0.12, probing=None))
    assert (whole.state, whole.stopping) == ("complete", None)
    assert ("stage_finished", "unlearn") in events(ready, 2)
    assert whole.training is not None
    assert whole.training.steps == whole.training.planned_steps
    assert whole.training.probes == []


def test_one_that_would_stop_and_runs_on_says_where(ready: Ready) -> None:
    record = run(ready, task(3, 0.13, probing=probing(finish_anyway=True)))
    assert record.state == "complete", record.reason
    assert record.stopping is not None
    assert (record.stopping.share, record.stopping.ran_anyway) == (0.25, True)
    assert record.training is not None
    assert [probe.share for probe in record.training.probes] == [0.0, 0.25, 0.5]


def test_one_that_is_not_beaten_says_nothing(ready: Ready) -> None:
    for number, anyway in ((4, True), (5, False)):
        record = run(ready, task(number, 0.14, probing=probing(front=0.0, finish_anyway=anyway)))
        assert (record.state, record.stopping) == ("complete", None), record.reason


def test_a_finished_training_is_not_stopped_when_its_weights_are_wanted_again(ready: Ready) -> None:
    """Its weights were evicted and its evaluation is gone: it is trained to its end, whatever the front is now."""
    first = run(ready, task(6, 0.15, probing=probing(front=0.0)))
    store = StageStore(ready[0].storage)
    store.evict_model(first.stage_keys["unlearn"])
    shutil.rmtree(store.stage_folder(first.stage_keys["evaluate"]))
    again = run(ready, task(7, 0.15))
    assert (again.state, again.stopping) == ("complete", None), again.reason
    assert ("stage_finished", "unlearn") in events(ready, 7)
    assert (again.ue, again.ut) == (first.ue, first.ut)


def test_probes_of_another_sweep_do_not_judge(ready: Ready) -> None:
    """The stored training was probed at other rungs."""
    run(ready, task(8, 0.16, probing=probing(front=0.0)))
    record = run(ready, task(9, 0.16, probing=probing(finish_anyway=True, rungs=(0.3, 0.5))))
    assert (record.state, record.stopping) == ("complete", None)
    assert ("stage_reused", "unlearn") in events(ready, 9)
