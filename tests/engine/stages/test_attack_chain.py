"""A chain's attacks as stages of the real store: each is run once, whoever asks, and a kill costs one of them.

Oracles: the event log for what was run, and the chain run in one go, with no store, for what comes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.stages.attack_chain import AttackedModel, forget_links, hold_links, links, run_attack
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.measuring_requests import attack_request
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import AttackOutcome, AttackState
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.evaluators.attacks.catalog import validate
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

BENCHMARK = {"authors": 6, "forget_authors": 3, "facts_per_author": 3, "trained_forms": 2, "evaluated_forms": 1}
CONFIG = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
QUANTIZE = {"quantize": {"bits": 4}}
RELEARN = {"relearn": {"steps": [1, 2], "learning_rate": 1e-3}}
PRUNE = {"prune": {"forget_percent": [2.0], "utility_percent": 5.0, "samples": 4}}
PREFILL = {"prefill": {"tokens": 1}}
WEIGHTS = {"abliterate": {"where": "weights"}}


class Counting(InProcessExecutor):
    """The executor in this process, which notes every attack it runs and can be killed before one of them."""

    def __init__(self, *, killed_at: str | None = None) -> None:
        super().__init__()
        self.ran: list[str] = []
        self.killed_at = killed_at

    def attack(self, request: AttackRequest) -> AttackOutcome:
        if request.attack == self.killed_at:
            raise KeyboardInterrupt
        self.ran.append(f"{request.attack}{'' if request.measured else ' (link)'}")
        return super().attack(request)


def settings(*attacks: dict[str, Any] | Sequence[dict[str, Any]]) -> list[AttackSettings]:
    """Attacks of a sweep as planning leaves them: complete parameters, a label each. A list is a chain."""
    found = []
    for position, attack in enumerate(attacks):
        if isinstance(attack, dict):
            name, params = next(iter(attack.items()))
            params = _complete(name, params)
        else:
            steps = [{link: _complete(link, values) for link, values in step.items()} for step in attack]
            name, params = "chain", {"steps": steps}
        found.append(AttackSettings(label=f"{position}-{name}", name=name, family="chain", params=params))
    return found


def _complete(name: str, params: Any) -> dict[str, Any]:
    return validate(name, params).model_dump(mode="json", exclude_unset=name == "prefill")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the built-in benchmark: what an attack computes does not depend on its knowledge."""
    return untrained(tmp_path_factory.mktemp("model"))


def untrained(folder: Path) -> Path:
    torch.set_num_threads(1)
    create_start_model(load_benchmark("authors", BENCHMARK), TrainRecipe(config=CONFIG, seed=1), folder)
    return folder


class Place:
    """A storage with one sweep of these attacks on one model."""

    def __init__(self, storage: Path, model: Path, attacks: list[AttackSettings]) -> None:
        self.job = SweepJob(
            name="chains",
            seed=5,
            storage=storage,
            directory=storage / "chains",
            benchmark=BenchmarkSettings(name="authors", params=BENCHMARK),
            original=ModelSource(path=str(model)),
            gold=ModelSource(path=str(model)),
            spaces=[],
            training=TrainingSettings(),
            ue_metrics=["probability"],
            ut_metrics=["probability"],
            attacks=attacks,
            search=SearchSettings(trials=1),
        )
        self.store = StageStore(storage)
        self.victim = AttackedModel(model="m", path=str(model), original="m", original_path=str(model), data="d")
        self.runner = StageRunner(self.store, EventLog(self.job.directory / "events.jsonl"))

    def run(self, position: int, executor: InProcessExecutor) -> pd.DataFrame:
        result = run_attack(self.job, self.job.attacks[position], self.victim, self.runner, executor)
        return self.store.rows(result.key)

    def run_all(self, executor: InProcessExecutor) -> list[pd.DataFrame]:
        return [self.run(position, executor) for position in range(len(self.job.attacks))]

    def in_one_go(self, position: int, folder: Path) -> tuple[pd.DataFrame, list[AttackState]]:
        """Oracle: the whole chain in memory, without links."""
        asked = attack_request(self.job, self.job.attacks[position], self.victim.path, self.victim.path, folder)
        answer = InProcessExecutor().attack(asked)
        return pd.read_parquet(asked.rows_path), answer.points


CHAINS = [
    [QUANTIZE, RELEARN],
    [RELEARN, QUANTIZE],
    [PRUNE, QUANTIZE, RELEARN],
    [QUANTIZE, PREFILL],
    [WEIGHTS, RELEARN, PREFILL],
    [QUANTIZE, {"abliterate": {}}, RELEARN],
    [PREFILL, QUANTIZE],
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(next(iter(step)) for step in chain))
def test_a_chain_over_stages_measures_what_it_measures_in_one_go(
    chain: list[dict[str, Any]], tmp_path: Path, model: Path
) -> None:
    place = Place(tmp_path, model, settings(chain))
    rows = place.run(0, Counting())
    expected, points = place.in_one_go(0, tmp_path)
    pd.testing.assert_frame_equal(rows, expected)
    result = run_attack(place.job, place.job.attacks[0], place.victim, place.runner, Counting())
    assert result.outcome(AttackOutcome).points == points


def test_a_common_beginning_is_run_once_and_an_attack_by_itself_leaves_its_link(tmp_path: Path, model: Path) -> None:
    place = Place(
        tmp_path, model, settings(QUANTIZE, [QUANTIZE, RELEARN], [QUANTIZE, PRUNE, PREFILL], [QUANTIZE, PRUNE, RELEARN])
    )
    executor = Counting()
    place.run_all(executor)
    assert executor.ran == ["quantize", "chain", "prune (link)", "chain", "chain"]
    again = Counting()
    place.run_all(again)
    assert again.ran == []


def test_without_the_attack_by_itself_the_first_chain_makes_the_link(tmp_path: Path, model: Path) -> None:
    place = Place(tmp_path, model, settings([QUANTIZE, RELEARN], [QUANTIZE, PRUNE]))
    executor = Counting()
    place.run_all(executor)
    assert executor.ran == ["quantize (link)", "chain", "chain"]
    events = [event for event in EventLog(place.job.directory / "events.jsonl").read()]
    finished = Counter(event.stage for event in events if event.event == "stage_finished")
    assert finished == {"link:quantize": 1, "attack:0-chain": 1, "attack:1-chain": 1}
    assert [event.stage for event in events if event.event == "stage_reused"] == ["link:quantize"]


def test_other_parameters_are_another_link(tmp_path: Path, model: Path) -> None:
    place = Place(tmp_path, model, settings(QUANTIZE, [{"quantize": {"bits": 3}}, RELEARN]))
    executor = Counting()
    place.run_all(executor)
    assert executor.ran == ["quantize", "quantize (link)", "chain"]


@pytest.mark.parametrize(("killed_at", "left"), [("prune", ["prune (link)", "chain"]), ("chain", ["chain"])])
def test_a_kill_repeats_no_finished_attack(killed_at: str, left: list[str], tmp_path: Path, model: Path) -> None:
    place = Place(tmp_path, model, settings([QUANTIZE, PRUNE, RELEARN]))
    with pytest.raises(KeyboardInterrupt):
        place.run(0, Counting(killed_at=killed_at))
    after = Counting()
    rows = place.run(0, after)
    assert after.ran == left
    pd.testing.assert_frame_equal(rows, place.in_one_go(0, tmp_path)[0])


def test_links_can_go_when_all_attacks_are_done_and_nothing_is_run_again(tmp_path: Path, model: Path) -> None:
    place = Place(tmp_path, model, settings([QUANTIZE, PRUNE, RELEARN]))
    place.run(0, Counting())
    folders = [
        place.store.model_folder(link.request.key) for link in links(place.job, place.job.attacks[0], place.victim)
    ]
    assert [folder.is_dir() for folder in folders] == [True, True]
    forget_links(place.job, place.victim, place.store, "original")
    assert not any(folder.exists() for folder in folders)
    executor = Counting()
    place.run(0, executor)
    assert executor.ran == []


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_sweeps_at_one_model_the_last_removes_the_links(tmp_path: Path, model: Path, first: int) -> None:
    """As when two sweeps over one storage attack the same original at the same time."""
    chains = settings([QUANTIZE, RELEARN])
    sweeps = [Place(tmp_path, model, chains), Place(tmp_path, model, chains)]
    sweeps[1].job = sweeps[1].job.model_copy(update={"directory": tmp_path / "other"})
    for sweep in sweeps:
        hold_links(sweep.job, sweep.victim, sweep.store, "original")
    sweeps[0].run(0, Counting())
    folder = sweeps[0].store.model_folder(links(sweeps[0].job, chains[0], sweeps[0].victim)[0].request.key)
    for sweep, left in ((sweeps[first], True), (sweeps[1 - first], False)):
        assert folder.is_dir()
        forget_links(sweep.job, sweep.victim, sweep.store, "original")
        assert folder.is_dir() is left
    assert [path.name for folder in tmp_path.glob("*/in_use") for path in folder.iterdir()] == []


def test_an_attack_that_leaves_a_link_keeps_all_of_its_answer(tmp_path: Path, model: Path) -> None:
    asked = Place(tmp_path / "a", model, settings(QUANTIZE, [QUANTIZE, RELEARN]))
    plain = Place(tmp_path / "b", model, settings(QUANTIZE))
    answers = [
        run_attack(place.job, place.job.attacks[0], place.victim, place.runner, Counting()).data
        for place in (asked, plain)
    ]
    assert set(answers[0]) == set(answers[1]) >= {"points", "judging", "peak_memory"}


def test_attacks_that_leave_no_ordinary_model_are_no_links(tmp_path: Path, model: Path) -> None:
    """Prompts, hooks and soft tokens cannot be kept as a model folder; only what stands before them can."""
    chains = settings([PREFILL, QUANTIZE], [QUANTIZE, {"abliterate": {}}, PRUNE, RELEARN], [QUANTIZE, PRUNE])
    place = Place(tmp_path, model, chains)
    found = [[link.attack.name for link in links(place.job, chain, place.victim)] for chain in chains]
    assert found == [[], ["quantize"], ["quantize"]]
