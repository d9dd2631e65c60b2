"""Errors that a sampler is given. Oracles: arithmetic by hand, and what the sampler of a real broker sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from unlearn_sweep.engine.samplers import noisy
from unlearn_sweep.engine.samplers.interface import Ask
from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import MethodSpace, Scalar, Uniform
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord
from unlearn_sweep.engine.study.broker import StudyBroker
from unlearn_sweep.engine.study.measured_errors import measured_errors
from unlearn_sweep.evaluators.objectives.robustness import robustness
from unlearn_sweep.evaluators.scores import Objective


def _score(attack: str, family: str, value: float | None, error: float | None, **more: Any) -> AttackScore:
    return AttackScore(attack=attack, family=family, value=value, standard_error=error, **more)


def _record(*attacks: AttackScore, number: int = 0, method: str = "npo", params: dict[str, Scalar] | None = None):
    done = {attack.attack: attack.value for attack in attacks if not attack.skipped}
    searched = {attack.attack: attack.searched for attack in attacks if attack.searched is not None}
    rob = robustness(done, {attack.attack: attack.family for attack in attacks}, searched)
    return TrialRecord(
        number=number, key=str(number), method=method, params=params or {}, seed=1, state="complete", started=0.0,
        finished=1.0, ue=0.5, ut=0.9, ue_detail=Objective(value=0.5, standard_error=0.02),
        ut_detail=Objective(value=0.9, standard_error=0.01), rob=rob.value, rob_detail=rob, attacks=list(attacks),
    )  # fmt: skip


def test_rob_has_the_mean_error_of_its_lowest_family() -> None:
    record = _record(
        _score("one", "weights", 0.3, 0.02), _score("two", "weights", 0.4, 0.04), _score("three", "prompt", 0.6, 0.2)
    )
    assert measured_errors(record) == pytest.approx({"ue": 0.02, "ut": 0.01, "rob": 0.03})


def test_a_searched_attacker_has_the_error_of_its_worst_setting() -> None:
    settings = [("relearn", 0.4, 0.01), ("relearn#2", 0.2, 0.05), ("relearn#3", 0.3, 0.09)]
    for first, expected in ((0.4, 0.05), (0.1, 0.01)):  # the worst is the second, then the first
        own = [(name, first if name == "relearn" else value, error) for name, value, error in settings]
        record = _record(*(_score(name, "weights", value, error, searched="relearn") for name, value, error in own))
        assert measured_errors(record)["rob"] == pytest.approx(expected)


def test_an_unknown_error_is_left_out_and_a_skipped_attack_has_none() -> None:
    assert "rob" not in measured_errors(_record(_score("one", "weights", 0.3, None)))
    assert "rob" not in measured_errors(_record())
    bound = _record(_score("one", "weights", 0.3, 0.02), _score("two", "weights", None, None, skipped=True))
    assert measured_errors(bound)["rob"] == pytest.approx(0.01)


@pytest.mark.parametrize("allocation", ["equal", "free"])
def test_the_sampler_sees_the_errors_of_settled_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allocation: str
) -> None:
    """Two methods, one of them always running; what arrives is compared with the records that were settled."""
    seen: list[tuple[Ask, int]] = []

    def spy(ask: Ask, objectives: object, rivals: Any) -> dict[str, Scalar]:
        seen.append((ask, len(rivals)))
        return {"rate": 0.001 * len(seen)}

    monkeypatch.setattr(noisy, "noisy_point", spy)
    spaces = [MethodSpace(method=name, params={"rate": Uniform(0.0, 1.0)}) for name in ("npo", "rmu")]
    plan = SearchPlan(sampler="noisy", allocation=allocation, trials=10, startup_trials=4, seed=5)  # pyright: ignore[reportArgumentType]
    broker = StudyBroker(tmp_path / "study.journal", spaces, plan, identity={})
    while (asked := broker.ask()) is not None:
        error = 0.001 * (asked.number + 1)
        record = _record(
            _score("one", "weights", 0.3, error), number=asked.number, method=asked.method, params=asked.params
        )
        broker.settle(record.model_copy(update={"key": asked.key, "seed": asked.seed}))
    assert len(seen) >= 5
    for ask, rivals in seen:
        assert {trial.outcome for trial in ask.trials} == {"complete"}
        assert [trial.errors["rob"] for trial in ask.trials] == [0.001 * (trial.number + 1) for trial in ask.trials]
        assert len(ask.trials) + rivals == ask.number if allocation == "free" else rivals == 0
