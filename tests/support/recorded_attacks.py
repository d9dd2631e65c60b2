"""Trials over recorded numbers: the engine's own stages, scoring and pruning, with tables in place of models.

What the executor leaves are per-row tables as an evaluation writes them; everything read from them is computed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tests.evaluators.tables import table
from tests.support.outcomes import OUTCOME, attacked, measured
from unlearn_sweep.engine.driver.sweep import make_task
from unlearn_sweep.engine.job import AttackerSearch, AttackSettings, BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.search_settings import ObjectiveName, SearchSettings
from unlearn_sweep.engine.stages import measuring_requests
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.prompt_probe import ProbeResult
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.workbench import StartRequest
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.store.records import Outcome, TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.study.broker import Proposal
from unlearn_sweep.engine.study.constraints import marked
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import TrainingSettings

ROWS = 8
WEIGHTS = "recorded.json"


@dataclass(frozen=True)
class Recorded:
    """What one model measures: UE, UT, and what is still forgotten under each attack; `kept` is UT after an attack."""

    ue: float
    ut: float
    attacks: Mapping[str, float]
    kept: Mapping[str, float] = field(default_factory=dict)


class RecordedExecutor:
    """Leaves tables from which scoring works out the recorded numbers. Trial n has learning rate (n + 1)/1000."""

    def __init__(self, trials: Sequence[Recorded]) -> None:
        self.trials = trials
        self.attacks_run: list[tuple[int, str]] = []

    def start_model(self, request: StartRequest) -> None:
        raise AssertionError("recorded models need no start model")

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        folder = Path(job.output_dir)
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_text(json.dumps(round(job.learning_rate * 1000) - 1))
        return OUTCOME

    def measure(self, request: MeasureRequest) -> MeasureOutcome:
        model = self._model(request.model_path)
        evaluation_rows(model).to_parquet(request.rows_path, index=False)
        return measured(2 * ROWS)

    def probe(self, request: MeasureRequest) -> ProbeResult:
        raise AssertionError("recorded sweeps do not probe the prompt format")

    def attack(self, request: AttackRequest) -> AttackOutcome:
        number = json.loads((Path(request.model_path) / WEIGHTS).read_text())
        recorded = self._model(request.model_path)
        rate = request.params.get("learning_rate")
        label = SETTINGS[rate] if rate in SETTINGS else label_of(request.attack, recorded.attacks)
        self.attacks_run.append((number, label))
        attack_rows(recorded.attacks[label], recorded.kept.get(label)).to_parquet(request.rows_path, index=False)
        return attacked(1.0)

    def make_room(self) -> None:
        """Nothing is loaded."""

    def _model(self, path: str) -> Recorded:
        return self.trials[json.loads((Path(path) / WEIGHTS).read_text())]


def evaluation_rows(model: Recorded) -> pd.DataFrame:
    """Likelihood falls from 1 (original) to 0 (gold) on forget rows; on the others what is kept of 1 is UT."""
    forget = table({"probability": [1 - model.ue] * ROWS})
    retain = table({"probability": [model.ut] * ROWS}, split="retain", prefix="r")
    return pd.concat([forget, retain], ignore_index=True)


def attack_rows(still_forgotten: float, kept: float | None = None) -> pd.DataFrame:
    """Rows of an attacked model; with `kept`, its UT was measured again."""
    rows = table({"probability": [1 - still_forgotten] * ROWS})
    if kept is not None:
        rows = pd.concat([rows, table({"probability": [kept] * ROWS}, split="retain", prefix="r")], ignore_index=True)
    return rows.assign(strength=1.0, unit="x")


ONE_STATE: dict[str, dict[str, Any]] = {
    "prefill": {"tokens": [1]},
    "few_shot": {"shots": [1]},
    "quantize": {"bits": [4]},
    "relearn": {"steps": [1]},
}
"""Parameters of one strength for the attacks that recorded sweeps use, each at most once."""


SETTINGS = {number / 100: f"relearn-search-{number:02d}" for number in (1, 2, 3)}
"""Label of each setting of the searched attacker of `searched_relearning`, by its learning rate."""


def searched_relearning() -> list[AttackSettings]:
    """Three settings of a searched attacker that must keep nine tenths of the utility."""
    return [
        AttackSettings(
            label=label,
            name="relearn",
            family="relearn",
            params={"steps": [1], "learning_rate": rate},
            searched=AttackerSearch(
                label="relearn-search", trials=3, utility_floor=0.9, values={"learning_rate": rate}
            ),
        )
        for rate, label in SETTINGS.items()
    ]


def label_of(attack: str, labels: Iterable[str]) -> str:
    """The label that `attack_list` gave this attack."""
    return next(label for label in labels if label.rstrip("0123456789") == attack)


def attack_list(*named: tuple[str, str]) -> list[AttackSettings]:
    """Attacks by (name of the catalog, family), one strength each, labelled by name and place."""
    return [
        AttackSettings(label=f"{name}{place}", name=name, family=family, params=ONE_STATE[name])
        for place, (name, family) in enumerate(named)
    ]


def recorded_job(
    storage: Path,
    name: str,
    attacks: Sequence[AttackSettings],
    *,
    prune: bool,
    minimum: Mapping[ObjectiveName, float] | None = None,
) -> SweepJob:
    """Reproducible, so that costs are the given ones and no clock's."""
    return SweepJob(
        name=name,
        seed=1,
        storage=storage,
        directory=storage / name,
        benchmark=BenchmarkSettings(name="authors"),
        original=ModelSource(),
        gold=ModelSource(),
        spaces=[],
        training=TrainingSettings(epochs=1),
        ue_metrics=["probability"],
        ut_metrics=["probability"],
        attacks=list(attacks),
        search=SearchSettings(trials=1, prune=prune, reproducible=True, minimum=dict(minimum or {})),
    )


def prepare(job: SweepJob) -> Prepared:
    """Controls at their anchors: the original knows all, the gold model nothing, under every attack."""
    runner = StageRunner(StageStore(job.storage), EventLog(job.directory / "events.jsonl"))
    anchors = {"original": Recorded(0, 1, {}), "gold": Recorded(1, 1, {})}

    def keep(frame: pd.DataFrame, outcome: Outcome) -> Callable[[Path], Outcome]:
        def write(folder: Path) -> Outcome:
            frame.to_parquet(folder / "rows.parquet", index=False)
            return outcome

        return write

    evaluations, attacks = {}, {}
    for which, model in anchors.items():
        evaluations[which] = runner.run(
            measuring_requests.evaluate_stage(job, which, "d"), keep(evaluation_rows(model), measured(2 * ROWS))
        ).key
    for attack in job.attacks:
        attacks[attack.label] = {
            which: runner.run(
                measuring_requests.attack_stage(job, attack, which, "original", "d"),
                keep(attack_rows(model.ue), attacked(1.0)),
            ).key
            for which, model in anchors.items()
        }
    paths = {which: str(job.storage / which) for which in anchors}
    for path in paths.values():
        Path(path).mkdir(exist_ok=True)  # their weights are there, so no trial trains them again
    return Prepared(
        data="d", paths=paths, ids={which: which for which in anchors}, evaluations=evaluations, attacks=attacks
    )


def run_all(
    job: SweepJob, trials: Sequence[Recorded], costs: Mapping[str, float]
) -> tuple[list[TrialRecord], RecordedExecutor]:
    """One trial after the other, each knowing all before it, as the driver of a sweep gives them out."""
    prepared, executor = prepare(job), RecordedExecutor(trials)
    records: list[TrialRecord] = []
    for number in range(len(trials)):
        params = {"learning_rate": (number + 1) / 1000, "retain": "nll"}
        proposal = Proposal(number=number, key=f"k{number}", method="graddiff", params=params, seed=1)
        record = run_trial(make_task(proposal, records, job, costs), job, prepared, executor)
        records.append(marked(record, job.search.minimum))
    return records, executor
