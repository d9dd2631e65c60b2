"""Attacks whose training runs on the sweep's workers. Oracle: the same attacks in the measuring process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.engine.stages.test_attack_chain import (
    QUANTIZE,
    RELEARN,
    Counting,
    Place,
    settings,
    untrained,
)
from unlearn_sweep.engine.stages.attack_training import trained_on_workers
from unlearn_sweep.engine.stages.measuring_requests import attack_stage, link_stage
from unlearn_sweep.engine.store.outcomes import AttackOutcome, TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import TrainingSettings

LORA = {"relearn": {"steps": [2], "learning_rate": 1e-3, "lora_rank": 2}}
SOFT = {"soft_prompt": {"iterations": [0, 3], "soft_tokens": 3, "step_size": 1e-2}}
WORKERS = TrainingSettings(workers=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the built-in benchmark."""
    return untrained(tmp_path_factory.mktemp("model"))


class Training(Counting):
    """Notes trainings too, which stand for the workers' here."""

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        assert job.attack is not None
        self.ran.append(f"{job.attack.name} (workers)")
        return super().train(job, name=name)


def place(folder: Path, model: Path, attack: Any, **values: Any) -> Place:
    made = Place(folder, model, settings(attack))
    made.job = made.job.model_copy(update=values)
    return made


@pytest.mark.parametrize(
    ("attack", "ran"),
    [
        (RELEARN, ["relearn (workers)", "relearn"]),
        (LORA, ["relearn (workers)", "relearn"]),
        ([QUANTIZE, RELEARN], ["quantize (link)", "relearn (workers)", "chain"]),
        ([RELEARN, QUANTIZE], ["relearn (workers)", "relearn (link)", "chain"]),
        ([{"prefill": {"tokens": 1}}, RELEARN], ["chain"]),
        (SOFT, ["soft_prompt (workers)", "soft_prompt"]),
        ([QUANTIZE, SOFT], ["quantize (link)", "soft_prompt (workers)", "chain"]),
        ([SOFT, {"prefill": {"tokens": 1}}], ["chain"]),
    ],
    ids=[
        "relearn",
        "adapters",
        "last of a chain",
        "first of a chain",
        "behind prompts",
        "soft prompt",
        "soft prompt behind weights",
        "soft prompt before another",
    ],
)
def test_rows_are_those_of_one_process(tmp_path: Path, model: Path, attack: Any, ran: list[str]) -> None:
    alone, executor = place(tmp_path / "a", model, attack), Training()
    expected = alone.run(0, Counting())
    apart = place(tmp_path / "b", model, attack, training=WORKERS)
    rows = apart.run(0, executor)
    assert executor.ran == ran
    pd.testing.assert_frame_equal(rows, expected, rtol=1e-5, atol=1e-5)
    left = [path for path in (tmp_path / "b" / "store").rglob("states*")]
    assert left == []


@pytest.mark.parametrize("attack", [RELEARN, SOFT], ids=["relearn", "soft prompt"])
def test_notes_of_the_training_are_kept(tmp_path: Path, model: Path, attack: Any) -> None:
    from unlearn_sweep.engine.stages.attack_chain import run_attack

    points = []
    for number, training in enumerate((TrainingSettings(), WORKERS)):
        made = place(tmp_path / str(number), model, attack, training=training)
        result = run_attack(made.job, made.job.attacks[0], made.victim, made.runner, Training())
        points.append(result.outcome(AttackOutcome).points)
    for one, other in zip(*points, strict=True):
        assert (one.strength, one.unit) == (other.strength, other.unit)
        assert other.notes == pytest.approx(one.notes, rel=1e-5, abs=1e-7)
        assert one.notes


def test_where_an_attack_trains_is_part_of_its_key_and_of_no_others(tmp_path: Path, model: Path) -> None:
    keys: dict[str, set[str]] = {"relearn": set(), "quantize": set(), "link": set()}
    for values in ({}, {"training": WORKERS}, {"training": WORKERS, "attack_training": "measuring"}):
        made = place(tmp_path, model, RELEARN, **values)
        (relearn,), (quantize,) = settings(RELEARN), settings(QUANTIZE)
        keys["relearn"].add(attack_stage(made.job, relearn, "m", "o", "d").key)
        keys["link"].add(link_stage(made.job, relearn, "m", "o", "d").key)
        keys["quantize"].add(attack_stage(made.job, quantize, "m", "o", "d").key)
    assert {name: len(found) for name, found in keys.items()} == {"relearn": 2, "link": 2, "quantize": 1}


def test_without_workers_none_trains_there(tmp_path: Path, model: Path) -> None:
    made = place(tmp_path, model, RELEARN)
    assert trained_on_workers(made.job, made.job.attacks[0]) is None
