"""Oracles: hand-counted allocations, brute-force grids, and two brokers that must agree."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker

SPACES = [
    MethodSpace(method="npo", params={"beta": LogUniform(low=0.05, high=1.0), "retain": Choice(values=("nll", "kl"))}),
    MethodSpace(
        method="graddiff", params={"retain_weight": Uniform(low=0.5, high=2.0), "forget_weight": Fixed(value=1.0)}
    ),
    MethodSpace(method="simnpo", params={"beta": LogUniform(low=1.0, high=10.0)}),
]


def _plan(**changes: Any) -> SearchPlan:
    values: dict[str, Any] = {"sampler": "tpe", "allocation": "equal", "trials": 12, "seed": 7}
    return SearchPlan(**(values | changes))


def _broker(
    folder: Path, known: list[TrialRecord] | None = None, spaces: list[MethodSpace] | None = None, **changes: Any
) -> StudyBroker:
    return StudyBroker(
        folder / "study.journal", spaces or SPACES, _plan(**changes), identity={"x": "1"}, known=known or []
    )


def _record(proposal: Proposal, **changes: Any) -> TrialRecord:
    """A settled trial whose objectives are a plain function of its parameters."""
    beta = float(proposal.params.get("beta", proposal.params.get("retain_weight", 1.0)))
    values: dict[str, Any] = {"ue": beta / (1 + beta), "ut": 1 / (1 + beta), "rob": 0.5, "state": "complete"}
    return TrialRecord(
        number=proposal.number, key=proposal.key, method=proposal.method, params=proposal.params, seed=proposal.seed,
        started=0.0, finished=1.0, **(values | changes),
    )  # fmt: skip


def _drain(broker: StudyBroker, *, at_once: int, rng: random.Random) -> list[Proposal]:
    """Run to the end with `at_once` trials open, finishing in random order."""
    asked: list[Proposal] = []
    running: list[Proposal] = []
    while True:
        while len(running) < at_once and (proposal := broker.ask()) is not None:
            asked.append(proposal)
            running.append(proposal)
        if not running:
            return asked
        broker.settle(_record(running.pop(rng.randrange(len(running)))))


def test_equal_allocation_gives_every_method_the_same_number(tmp_path: Path) -> None:
    asked = _drain(_broker(tmp_path), at_once=2, rng=random.Random(0))
    assert sorted(proposal.method for proposal in asked) == ["graddiff"] * 4 + ["npo"] * 4 + ["simnpo"] * 4


def test_only_the_methods_own_parameters_are_proposed(tmp_path: Path) -> None:
    for proposal in _drain(_broker(tmp_path, sampler="random"), at_once=1, rng=random.Random(0)):
        space = next(space for space in SPACES if space.method == proposal.method)
        assert set(proposal.params) == set(space.params)
        assert proposal.params.get("forget_weight", 1.0) == 1.0


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_reproducible_search_does_not_depend_on_the_order_of_finishing(tmp_path: Path, sampler: str) -> None:
    runs = []
    for order in range(3):
        folder = tmp_path / f"{sampler}{order}"
        folder.mkdir()
        asked = _drain(
            _broker(folder, sampler=sampler, window=4, trials=20, startup_trials=5), at_once=2, rng=random.Random(order)
        )
        runs.append([(proposal.number, proposal.method, proposal.params) for proposal in asked])
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 20


@settings(max_examples=8, deadline=None)
@given(stop_after=st.integers(min_value=0, max_value=11), torn=st.booleans())
def test_a_kill_anywhere_gives_the_same_trials(
    tmp_path_factory: pytest.TempPathFactory, stop_after: int, torn: bool
) -> None:
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    expected = _drain(_broker(whole, window=4), at_once=2, rng=random.Random(0))
    records: list[TrialRecord] = []
    broker = _broker(killed, window=4)
    running: list[Proposal] = []
    while len(records) < stop_after:
        while len(running) < 2 and (proposal := broker.ask()) is not None:
            running.append(proposal)
        records.append(_record(running.pop(0)))
        broker.settle(records[-1])
    if torn and (killed / "study.journal").exists():
        with (killed / "study.journal").open("a") as journal:
            journal.write('{"op_code": 4, "worker_id"')
    resumed = _broker(killed, known=records, window=4)
    assert {proposal.number for proposal in resumed.resumable} == {proposal.number for proposal in running}
    rest = _drain(resumed, at_once=2, rng=random.Random(1))
    seen = {record.number: record.params for record in records} | {
        proposal.number: proposal.params for proposal in rest
    }
    assert seen == {proposal.number: proposal.params for proposal in expected}


@pytest.mark.parametrize(("sampler", "allocation"), [("tpe", "equal"), ("random", "free")])
def test_a_kill_within_an_ask_gives_the_same_trials(tmp_path: Path, sampler: str, allocation: str) -> None:
    """Oracle: the study undisturbed. The journal is cut off behind every entry that an ask writes."""
    choices = {"sampler": sampler, "allocation": allocation, "trials": 8, "startup_trials": 3, "window": 1}
    (tmp_path / "whole").mkdir()
    broker, journal = _broker(tmp_path / "whole", **choices), tmp_path / "whole" / "study.journal"
    asked: list[Proposal] = []
    records: list[TrialRecord] = []
    cuts: list[tuple[bytes, list[TrialRecord]]] = []
    while True:
        before = journal.read_bytes().count(b"\n")
        proposal = broker.ask()
        if proposal is None:
            break
        lines = journal.read_bytes().splitlines(keepends=True)
        cuts += [(b"".join(lines[:end]), list(records)) for end in range(before + 1, len(lines))]
        asked.append(proposal)
        records.append(_record(proposal))
        broker.settle(records[-1])
    for number, (lines_left, known) in enumerate(cuts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "study.journal").write_bytes(lines_left)
        resumed = _broker(folder, known=known, **choices)
        assert resumed.resumable == []
        assert resumed.ask() == asked[len(known)]
    assert len(cuts) > 8


def test_a_known_configuration_is_settled_and_asked_again(tmp_path: Path) -> None:
    spaces = [MethodSpace(method="npo", params={"retain": Choice(values=("nll", "kl", "jsd"))})]
    twins: list[tuple[int, int]] = []
    broker = StudyBroker(
        tmp_path / "j",
        spaces,
        _plan(trials=10, sampler="random"),
        identity={},
        on_duplicate=lambda *pair: twins.append(pair),
    )
    asked = _drain(broker, at_once=1, rng=random.Random(0))
    assert sorted(proposal.params["retain"] for proposal in asked) == ["jsd", "kl", "nll"]
    assert broker.finished_asking
    assert twins


def test_grid_is_every_point_once(tmp_path: Path) -> None:
    asked = _drain(_broker(tmp_path, sampler="grid", grid_points=3, trials=100), at_once=2, rng=random.Random(0))
    assert len(asked) == 3 * 2 + 3 + 3
    npo = {(proposal.params["beta"], proposal.params["retain"]) for proposal in asked if proposal.method == "npo"}
    assert npo == {(beta, retain) for beta in (0.05, 0.223607, 1.0) for retain in ("nll", "kl")}


def test_more_trials_extend_a_finished_study(tmp_path: Path) -> None:
    first = _broker(tmp_path, trials=6)
    asked = _drain(first, at_once=1, rng=random.Random(0))
    more = _broker(tmp_path, known=list(first.settled.values()), trials=9)
    assert not more.resumable
    extra = _drain(more, at_once=1, rng=random.Random(0))
    assert [proposal.number for proposal in extra] == [6, 7, 8]
    assert not {proposal.key for proposal in extra} & {proposal.key for proposal in asked}


def test_states_told_to_optuna(tmp_path: Path) -> None:
    broker = _broker(tmp_path, minimum={"ut": 0.9})
    proposals = [broker.ask() for _ in range(4)]
    assert all(proposals)
    for proposal, changes in zip(
        proposals, ({}, {"state": "collapsed"}, {"state": "failed", "reason": "x"}, {"rob": None}), strict=True
    ):
        assert proposal is not None
        broker.settle(_record(proposal, **changes))
    trials = broker.study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    constraints = {key: value for key, value in trials[0].system_attrs.items() if "ut" in key}
    assert any(value > 0 for value in constraints.values())  # ut = 1/(1+beta) < 0.9 for every beta here
    assert json.loads(json.dumps(trials[0].user_attrs))["proposal"]["method"] == proposals[0].method  # type: ignore[union-attr]


def _settled(folder: Path) -> dict[int, TrialRecord]:
    """A finished study of six trials; the records by number."""
    broker = _broker(folder, trials=6)
    _drain(broker, at_once=1, rng=random.Random(0))
    broker.flush()
    return dict(broker.settled)


def test_a_trial_whose_record_is_gone_runs_again_under_its_own_number(tmp_path: Path) -> None:
    """Oracle: the trial as it was asked before. The journal had its result."""
    records = _settled(tmp_path)
    lost = records.pop(3)
    broker = _broker(tmp_path, list(records.values()), trials=6)
    again = broker.ask()
    assert again is not None
    assert (again.number, again.key, again.params) == (3, lost.key, lost.params)
    assert broker.ask() is None
    broker.settle(_record(again, ue=0.125))
    broker.flush()
    values = [trial.values for trial in _broker(tmp_path, list(broker.settled.values()), trials=6).study.trials]
    assert values[3] == [0.125, lost.ut, lost.rob]  # the result that counts is the new one
    assert len(values) == 6


def _journal_damages(journal: Path) -> dict[str, bytes]:
    data = journal.read_bytes()
    lines = data.splitlines(keepends=True)
    return {
        "gone": b"",
        "zeroed": bytes(len(data)),
        "noise": data[:200] + b"\xff\xfe\x00" + data[203:],
        "a line cut": b"".join([*lines[:5], lines[5][:20] + b"\n", *lines[6:]]),
        "half": data[: len(data) // 2],
        "a digit": data.replace(b'"params":{"beta":0.', b'"params":{"beta":9.', 1),
    }


@pytest.mark.parametrize("how", ["gone", "zeroed", "noise", "a line cut", "half", "a digit"])
def test_a_damaged_journal_is_written_again_from_the_records(tmp_path: Path, how: str) -> None:
    """Oracle: the study before the damage. One trial was asked and has no record: it goes on under its number."""
    records = _settled(tmp_path)
    asked = {number: Configuration(method=record.method, params=record.params) for number, record in records.items()}
    running = records.pop(5)
    journal = tmp_path / "study.journal"
    damaged = _journal_damages(journal)[how]
    assert damaged != journal.read_bytes()
    journal.write_bytes(damaged)
    notices: list[str] = []
    broker = StudyBroker(
        journal,
        SPACES,
        _plan(trials=6),
        identity={"x": "1"},
        known=records.values(),
        asked=asked,
        notice=notices.append,
    )
    again = broker.ask()
    assert again is not None
    assert (again.number, again.key) == (5, running.key)
    assert broker.ask() is None
    broker.settle(_record(again))
    broker.flush()
    assert {number: proposal.key for number, proposal in broker.proposals.items()} == {
        number: record.key for number, record in {**records, 5: running}.items()
    }
    told = {trial.number: trial.values for trial in broker.study.trials}
    assert told == {number: [one.ue, one.ut, one.rob] for number, one in {**records, 5: running}.items()}
    assert any("study.journal is damaged" in notice for notice in notices)
    assert (tmp_path / "study.journal.damaged").exists()


def test_a_duplicate_is_told_as_its_twin_so_that_gp_goes_on(tmp_path: Path) -> None:
    """Optuna's GP refuses a study in which only some trials have constraints."""
    spaces = [MethodSpace(method="npo", params={"retain": Choice(values=tuple("abcdefgh"))})]
    broker = _broker(tmp_path, spaces=spaces, sampler="gp", startup_trials=5, trials=8)
    asked = _drain(broker, at_once=1, rng=random.Random(0))
    assert "duplicate_of" in {name for trial in broker.study.get_trials() for name in trial.user_attrs}
    assert sorted(str(proposal.params["retain"]) for proposal in asked) == list("abcdefgh")


def test_a_stopped_trial_is_a_point_to_keep_away_from(tmp_path: Path) -> None:
    """Oracle: a collapsed trial, whose end is known to be bad. Neither has objectives."""
    told = []
    for state in ("collapsed", "stopped"):
        broker = _broker(tmp_path / state, trials=4)
        proposal = broker.ask()
        assert proposal is not None
        broker.settle(_record(proposal, state=state, ue=None, ut=None, rob=None))
        trial = broker.study.get_trials()[0]
        told.append((trial.state.name, trial.values, trial.system_attrs))
    assert told[0] == told[1]
    assert told[0][0] == "PRUNED"
