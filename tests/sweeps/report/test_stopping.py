"""What stopping saved and cost, in every view. Oracle: numbers by hand from four trials."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.support.outcomes import trained
from tests.support.sweep_folder import relearn, trial, write_sweep
from unlearn_sweep.engine.stopping.settings import StopTrainings
from unlearn_sweep.engine.store.outcomes import ProbePoint
from unlearn_sweep.engine.store.records import StopDecision, TrialRecord
from unlearn_sweep.engine.study.stopping import ended_trials, stopping_cost
from unlearn_sweep.engine.tracking.fields import trial_fields
from unlearn_sweep.sweeps.report.build import load_report
from unlearn_sweep.sweeps.report.page import render_page
from unlearn_sweep.sweeps.report.status import render, status
from unlearn_sweep.sweeps.report.stopping import stopping_text
from unlearn_sweep.sweeps.report.summary import final_table
from unlearn_sweep.sweeps.report.table import trials_csv

STOP = StopTrainings(rungs=(0.25, 0.5), rows=4)


def probes(*forget: float) -> list[dict[str, Any]]:
    shares = (0.0, 0.25, 0.5)[: len(forget)]
    return [
        {"share": share, "step": int(8 * share), "forget": value, "retain": 0.5, "seconds": 0.25, "rows": 4}
        for share, value in zip(shares, forget, strict=True)
    ]


def whole(number: int, point: tuple[float, float, float], **changes: Any) -> TrialRecord:
    """A trial that was probed and ran to its end."""
    ue, ut, rob = point
    training = trained(steps=8, planned_steps=8, seconds=4.0, probes=probes(0.8, 0.6, 0.4))
    return trial(number, **{"ue": ue, "ut": ut, "rob": rob, "attacks": [relearn(rob)], "training": training, **changes})


def stopped(number: int) -> TrialRecord:
    """Two of eight steps, in three seconds: six more would have taken nine."""
    training = trained(
        steps=2, planned_steps=8, seconds=3.0, probes=probes(0.8, 0.6), stopped_early="beaten", stop_reason="beaten"
    )
    return trial(
        number, state="stopped", reason="stopped after 25% of its steps: by the test", training=training, ue=None,
        ut=None, rob=None, report_ue=None, report_ut=None, report_rob=None, ue_detail=None, ut_detail=None, attacks=[],
        stopping=StopDecision(share=0.25, ran_anyway=False), stage_keys={"unlearn": f"aa{number:014x}"},
        stage_seconds={"unlearn": 3.5},
    )  # fmt: skip


ANYWAY = StopDecision(share=0.5, ran_anyway=True)


def records() -> list[TrialRecord]:
    """The front is a cube of .5; one trial that ran anyway adds .5 * .5 * .1, another broke; two were stopped."""
    return [
        whole(0, (0.5, 0.5, 0.5)),
        whole(1, (0.5, 0.5, 0.6), stopping=ANYWAY),
        whole(2, (0.9, 0.0, 0.0), state="collapsed", ut=None, rob=None, attacks=[], stopping=ANYWAY),
        stopped(3),
        stopped(4),
    ]


def test_the_cost_by_hand() -> None:
    cost = stopping_cost(records(), attacked=True)
    assert (cost.stopped, cost.ran_anyway, cost.probed) == ((3, 4), (1, 2), 5)
    assert cost.mean_added == pytest.approx(0.0125)
    assert cost.regret == pytest.approx(0.025)
    assert (cost.at_most, cost.reason) == (False, None)
    assert cost.seconds_saved == pytest.approx(18.0)
    assert cost.probe_seconds == pytest.approx(3 * 0.75 + 2 * 0.5)


@pytest.mark.parametrize(
    ("changes", "added", "at_most"),
    [
        ({}, 0.025, False),
        ({"rob_is_bound": True}, 0.025, True),  # the bound may be more than its Rob
        ({"rob_is_bound": True, "rob": 0.4}, 0.0, False),  # not even the bound adds anything
        ({"infeasible": "UT 0.5 is below 0.9"}, 0.0, False),
    ],
    ids=["whole", "bound", "beaten bound", "infeasible"],
)
def test_what_one_that_ran_anyway_adds(changes: dict[str, Any], added: float, at_most: bool) -> None:
    given = [whole(0, (0.5, 0.5, 0.5)), whole(1, (0.5, 0.5, 0.6), stopping=ANYWAY, **changes), stopped(2)]
    cost = stopping_cost(given, attacked=True)
    assert cost.mean_added == pytest.approx(added)
    assert cost.at_most is at_most


def test_ones_that_ran_anyway_are_no_rivals_of_each_other() -> None:
    """They would all have been stopped. Oracle: each beside the front without them."""
    given = [
        whole(0, (0.5, 0.5, 0.5)),
        *(whole(number, (0.5, 0.5, 0.6), stopping=ANYWAY) for number in (1, 2)),
        stopped(3),
    ]
    assert stopping_cost(given, attacked=True).mean_added == pytest.approx(0.025)


def test_a_failed_one_says_nothing() -> None:
    given = [whole(0, (0.5, 0.5, 0.5)), whole(1, (0, 0, 0), state="failed", stopping=ANYWAY), stopped(2)]
    cost = stopping_cost(given, attacked=True)
    assert (cost.ran_anyway, cost.regret) == ((), None)
    assert cost.reason == "no trial that would have been stopped ran to its end"
    assert stopping_cost(given[:1], attacked=True).reason == "no training was stopped"


def test_without_attacks_rob_is_one() -> None:
    plain = {"attacks": [], "rob": None}
    given = [whole(0, (0.5, 0.5, 0), **plain), whole(1, (0.6, 0.5, 0), **plain, stopping=ANYWAY), stopped(2)]
    assert stopping_cost(given, attacked=False).mean_added == pytest.approx(0.05)


def test_who_teaches() -> None:
    """Whole trials and broken models; not a stopped, a failed or an unprobed trial, nor one probed elsewhere."""
    other = trained(probes=[ProbePoint.model_validate(probe | {"rows": 5}) for probe in probes(0.8, 0.6, 0.4)])
    given = [
        *records(),
        trial(5),
        whole(6, (0.1, 0.2, 0.3), state="failed"),
        whole(7, (0.1, 0.2, 0.3), training=other),
        whole(8, (0.1, 0.2, 0.3), rob=None),
    ]
    ended = ended_trials(given, STOP, attacked=True)
    assert [one.end for one in ended] == [(0.5, 0.5, 0.5), (0.5, 0.5, 0.6), None]
    assert [list(one.rungs) for one in ended] == [[(pytest.approx(0.25), 1.0), (pytest.approx(0.5), 1.0)]] * 3
    assert ended_trials(given, StopTrainings(rungs=(0.25,), rows=4), attacked=True) == []
    assert [one.end for one in ended_trials([given[8]], STOP, attacked=False)] == [(0.1, 0.2, 1.0)]


def written(folder: Path, given: list[TrialRecord], option: object) -> Path:
    sweep = write_sweep(folder, given)
    lock = yaml.safe_load((sweep / "spec.lock.yaml").read_text())
    lock["job"]["search"] = {"stop_trainings": option}
    (sweep / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    return sweep


def printed(sweep: Path) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    final_table(sweep, console)
    console.print(render(status(sweep)))
    return console.export_text()


def test_every_view_says_it(tmp_path: Path) -> None:
    sweep = written(tmp_path / "s", records(), STOP.model_dump(mode="json"))
    report = load_report(sweep)
    assert report.stopping is not None
    assert report.model_dump(mode="json")["stopping"] == {
        "probed": 5, "stopped": [3, 4], "ran_anyway": [1, 2], "mean_added": pytest.approx(0.0125),
        "regret": pytest.approx(0.025), "at_most": False, "reason": None, "seconds_saved": pytest.approx(18.0),
        "probe_seconds": pytest.approx(3.25),
    }  # fmt: skip
    assert report.counts["stopped"] == 2
    line = (
        "2 of 5 trainings stopped, about 18 s saved; probes took 3.2 s; it cost about 0.0250 of hypervolume, by 2 that "
        "would have stopped and ran on"
    )
    assert stopping_text(report.stopping) == line
    shown = printed(sweep)
    assert f"Stopping  {line}" in shown
    assert f"stopping: {line}" in shown
    page = render_page(report)
    assert line in page
    assert "Stopped: trials 3 and 4." in page
    assert "Their trainings were stopped" in page
    lines = list(csv.DictReader(io.StringIO(trials_csv(report))))
    assert [(one["state"], one["stops_at"], one["ran_anyway"]) for one in lines] == [
        ("complete", "", ""), ("complete", "0.5", "True"), ("collapsed", "0.5", "True"),
        ("stopped", "0.25", "False"), ("stopped", "0.25", "False"),
    ]  # fmt: skip


def test_a_sweep_that_stopped_none_says_so_and_one_without_the_option_nothing(tmp_path: Path) -> None:
    none = written(tmp_path / "none", records()[:1], STOP.model_dump(mode="json"))
    assert "no training was stopped (1 were probed" in printed(none)
    found = load_report(none).stopping
    assert found is not None
    assert (found.regret, found.reason) == (None, "no training was stopped")
    off = written(tmp_path / "off", records()[:1], None)
    assert load_report(off).stopping is None
    assert "topping" not in printed(off)


def test_mlflow_has_the_probes_as_a_curve_and_the_decision(tmp_path: Path) -> None:
    from unlearn_sweep.engine.tracking.fields import Fields, add_training

    record = stopped(3)
    fields = Fields()
    assert record.training is not None
    add_training(fields, record.training)
    curve = [(point.step, point.value) for point in fields.points if point.name == "train/probe_forget"]
    assert curve == [(0, 0.8), (2, 0.6)]
    assert fields.tags["train.stopped_early"] == "beaten"
    tags = trial_fields(record, sweep="s", sweep_id="i", benchmark="b").tags
    assert (tags["state"], tags["stops_at"], tags["ran_anyway"]) == ("stopped", "0.25", "no")
