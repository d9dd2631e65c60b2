"""Settings that a user enqueues while a sweep runs. Oracles: what was enqueued, hand-counted trials, a whole grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unlearn_sweep.engine.search_settings import Configuration, SearchPlan
from unlearn_sweep.engine.search_space import Choice, Fixed, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker
from unlearn_sweep.engine.study.enqueued import (
    UnusableSettingError,
    enqueue,
    misfit,
    read_setting,
    setting_text,
    waiting_files,
    waiting_texts,
)

SPACES = [
    MethodSpace(method="npo", params={"beta": LogUniform(low=0.05, high=1.0), "retain": Choice(values=("nll", "kl"))}),
    MethodSpace(
        method="graddiff", params={"weight": Uniform(low=1.0, high=2.0), "forget_weight": Fixed(value=1.0)}
    ),
]  # fmt: skip
WISH = Configuration(method="npo", params={"beta": 0.123})


def _broker(folder: Path, known: list[TrialRecord] | None = None, **changes: Any) -> StudyBroker:
    plan = SearchPlan(**({"sampler": "tpe", "allocation": "equal", "trials": 6, "seed": 7} | changes))
    return StudyBroker(folder / "study.journal", SPACES, plan, identity={"x": "1"}, known=known or [])


def _record(proposal: Proposal) -> TrialRecord:
    return TrialRecord(
        number=proposal.number, key=proposal.key, method=proposal.method, params=proposal.params, seed=proposal.seed,
        state="complete", ue=0.5, ut=0.5, rob=0.5, started=0.0, finished=1.0,
    )  # fmt: skip


def _asked(broker: StudyBroker) -> list[Proposal]:
    asked = []
    while (proposal := broker.ask()) is not None:
        asked.append(proposal)
        broker.settle(_record(proposal))
    return asked


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "qmc", "gp"])
def test_it_is_the_next_trial_and_one_of_the_sweeps(tmp_path: Path, sampler: str) -> None:
    broker = _broker(tmp_path, sampler=sampler)
    first = broker.ask()
    assert first is not None
    assert broker.enqueue(WISH, "one")
    rest = _asked(broker)
    assert (rest[0].number, rest[0].method, rest[0].params["beta"]) == (1, "npo", 0.123)
    assert rest[0].params["retain"] in ("nll", "kl")
    asked = [first, *rest]
    assert [proposal.number for proposal in asked][:2] == [0, 1]
    assert sorted(proposal.method for proposal in asked) == ["graddiff"] * 3 + ["npo"] * 3


def test_a_name_is_taken_once_also_after_a_kill(tmp_path: Path) -> None:
    broker = _broker(tmp_path)
    assert broker.enqueue(WISH, "one")
    assert broker.enqueue(WISH, "one")
    killed = _broker(tmp_path)  # before anything was asked
    assert killed.enqueue(WISH, "one")
    proposal = killed.ask()
    assert proposal is not None
    assert proposal.params["beta"] == 0.123
    again = _broker(tmp_path)  # before it was settled
    assert again.enqueue(WISH, "one")
    assert again.ask() == proposal
    later = again.ask()
    assert later is not None
    assert later.params.get("beta") != 0.123


def test_the_files_first_settings_come_first_and_a_full_sweep_takes_none(tmp_path: Path) -> None:
    broker = _broker(tmp_path, first=[Configuration(method="graddiff", params={"weight": 2.0})], trials=2)
    assert not broker.enqueue(WISH, "one")
    first = broker.ask()
    assert first is not None
    assert first.params["weight"] == 2.0
    assert broker.enqueue(WISH, "one")
    assert not broker.enqueue(WISH, "two")  # one trial is left, and it is taken
    second = broker.ask()
    assert second is not None
    assert second.params["beta"] == 0.123
    assert broker.ask() is None


def test_a_grid_loses_no_point(tmp_path: Path) -> None:
    spaces = [MethodSpace(method="npo", params={"beta": LogUniform(low=0.1, high=1.0)})]
    plan = SearchPlan(sampler="grid", grid_points=3, trials=4, seed=7)
    broker = StudyBroker(tmp_path / "study.journal", spaces, plan, identity={"x": "1"})
    first = broker.ask()
    assert broker.enqueue(WISH, "one")
    asked = [first, *_asked(broker)]
    found = sorted(float(proposal.params["beta"]) for proposal in asked if proposal is not None)
    assert found == pytest.approx([0.1, 0.123, 10**-0.5, 1.0])


def test_files_are_in_the_order_of_writing_and_read_back(tmp_path: Path) -> None:
    other = Configuration(method="graddiff", params={})
    paths = [enqueue(tmp_path, WISH), enqueue(tmp_path, other)]
    assert waiting_files(tmp_path) == paths
    assert [read_setting(path, SPACES).setting for path in paths] == [WISH, other]
    assert waiting_texts(tmp_path) == ["npo beta=0.123", "graddiff"] == [setting_text(WISH), setting_text(other)]
    assert waiting_files(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"method": "npoo", "params": {}}', "'npoo' is not a method"),
        ('{"method": "npo", "params": {"betta": 0.1}}', "'betta' is not a parameter"),
        ('{"method": "npo", "params": {"beta": 2.0}}', "beta = 2.0 is outside"),
        ('{"method": "graddiff", "params": {"forget_weight": 2.0}}', "outside"),
        ("{", "not a setting"),
    ],
)
def test_what_is_no_setting_of_the_sweep_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UnusableSettingError, match=words):
        read_setting(tmp_path / "x.json", SPACES)
    assert misfit(WISH, SPACES) is None
