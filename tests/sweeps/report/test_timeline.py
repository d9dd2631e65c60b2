"""Oracle: logs short enough to be folded by hand."""

from __future__ import annotations

from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.timeline import Timeline


def _log(*lines: tuple[float, str, dict]) -> list[Event]:
    return [Event(time=time, event=event, **fields) for time, event, fields in lines]


def test_a_trial_is_open_from_asking_to_settling_and_its_stage_is_known() -> None:
    log = _log(
        (0.0, "sweep_started", {}),
        (1.0, "trial_asked", {"trial": 0, "data": {"method": "npo", "params": {"beta": 0.1}}}),
        (2.0, "trial_started", {"trial": 0, "data": {"method": "npo"}}),
        (2.5, "stage_started", {"trial": 0, "stage": "unlearn", "stage_key": "u"}),
    )
    timeline = Timeline.of(log)
    trial = timeline.open_trials[0]
    assert (trial.method, trial.data["params"], trial.started) == ("npo", {"beta": 0.1}, 2.0)
    assert trial.stages["unlearn"].started == 2.5
    end = {"trial": 0, "stage": "unlearn", "stage_key": "u", "seconds": 4.0}
    for event in _log((6.5, "stage_finished", end), (7.0, "trial_settled", {"trial": 0, "seconds": 5.0})):
        timeline.apply(event)
    assert timeline.open_trials == {}
    assert timeline.settled[0].seconds == 5.0
    assert timeline.compute_seconds() == 4.0


def test_what_was_open_when_a_driver_died_is_lost_until_it_starts_again() -> None:
    log = _log(
        (0.0, "sweep_started", {}),
        (1.0, "trial_asked", {"trial": 3, "data": {"method": "npo", "key": "k3"}}),
        (1.0, "trial_started", {"trial": 3}),
        (2.0, "stage_started", {"trial": 3, "stage": "unlearn"}),
        (2.0, "stage_started", {"stage": "prepare:gold", "stage_key": "g"}),
        (100.0, "sweep_resumed", {}),
    )
    timeline = Timeline.of(log)
    assert timeline.open_trials == {}
    assert timeline.lost_trials == {3}
    assert timeline.preparation["prepare:gold", "g"].state == "stopped"
    timeline.apply(Event(time=101.0, event="trial_started", trial=3, attempt=2))
    assert timeline.lost_trials == set()
    assert timeline.open_trials[3].data["key"] == "k3"  # told when it was first asked for, and only then


def test_wall_time_leaves_out_the_pause_between_two_drivers() -> None:
    log = _log(
        (0.0, "sweep_started", {}),
        (10.0, "note", {}),
        (1000.0, "sweep_resumed", {}),
        (1030.0, "sweep_finished", {}),
    )
    assert Timeline.of(log).elapsed_seconds(now=5000.0, alive=False) == 10.0 + 30.0
    assert Timeline.of(log[:3]).elapsed_seconds(now=1005.0, alive=True) == 10.0 + 5.0
    assert Timeline.of(log[:3]).elapsed_seconds(now=1005.0, alive=False) == 10.0


def test_costs_tell_finished_reused_and_failed_runs_of_a_stage_apart() -> None:
    log = _log(
        (0.0, "sweep_started", {}),
        (1.0, "stage_finished", {"stage": "evaluate", "stage_key": "o", "seconds": 3.0}),
        (2.0, "stage_finished", {"stage": "evaluate", "trial": 0, "seconds": 1.0}),
        (3.0, "stage_reused", {"stage": "evaluate", "trial": 1, "seconds": 0.0}),
        (4.0, "stage_failed", {"stage": "evaluate", "trial": 2, "seconds": 0.5, "reason": "boom"}),
    )
    timeline = Timeline.of(log)
    own, prepared = timeline.costs["evaluate", True], timeline.costs["evaluate", False]
    assert (own.runs, own.seconds, own.reused, own.failed, own.failed_seconds) == (1, 1.0, 1, 1, 0.5)
    assert (prepared.runs, prepared.seconds) == (1, 3.0)
    assert timeline.compute_seconds() == 4.5


def test_the_same_preparation_stage_of_two_models_is_kept_apart_by_its_key() -> None:
    log = _log(
        (0.0, "sweep_started", {}),
        (1.0, "stage_started", {"stage": "evaluate", "stage_key": "original"}),
        (1.0, "stage_started", {"stage": "evaluate", "stage_key": "gold"}),
        (3.0, "stage_finished", {"stage": "evaluate", "stage_key": "gold", "seconds": 2.0}),
    )
    timeline = Timeline.of(log)
    states = {key: part.state for (_, key), part in timeline.preparation.items()}
    assert states == {"original": "running", "gold": "finished"}
    assert timeline.peak_stages == 2


def test_unknown_events_and_a_lost_first_line_do_no_harm() -> None:
    timeline = Timeline.of(_log((5.0, "something_new", {"trial": 9}), (6.0, "trial_started", {"trial": 1})))
    assert timeline.counts["something_new"] == 1
    assert list(timeline.open_trials) == [1]
    assert timeline.elapsed_seconds(now=9.0, alive=True) == 4.0


def test_a_finalist_is_open_beside_its_settled_trial() -> None:
    """Its stages cost time like any; the trial itself stays settled."""
    log = [
        Event(time=0.0, event="sweep_started"),
        Event(time=1.0, event="trial_started", trial=3),
        Event(time=2.0, event="trial_settled", trial=3, seconds=1.0),
        Event(time=3.0, event="finalist_started", trial=3, data={"seed": 8, "method": "npo"}),
        Event(time=3.0, event="finalist_started", trial=3, data={"seed": 9, "method": "npo"}),
        Event(time=4.0, event="stage_started", trial=3, stage="unlearn", data={"seed": 9}),
    ]
    timeline = Timeline.of(log)
    assert timeline.open_trials == {}
    assert [list(timeline.open_finalists[3, seed].stages) for seed in (8, 9)] == [[], ["unlearn"]]
    timeline.apply(Event(time=6.0, event="stage_finished", trial=3, stage="unlearn", seconds=2.0, data={"seed": 9}))
    timeline.apply(Event(time=7.0, event="finalist_settled", trial=3, data={"seed": 9}))
    assert set(timeline.open_finalists) == {(3, 8)}
    assert timeline.costs["unlearn", True].seconds == 2.0
    timeline.apply(Event(time=8.0, event="sweep_resumed"))
    assert timeline.open_finalists == {}
