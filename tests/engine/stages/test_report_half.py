"""`report_*` come from rows that the search never saw. Oracle: halves with different scores, by hand.

Likelihood falls from 1 (original) to 0 (gold) on forget rows, so a row of likelihood p is forgotten by 1 - p; on the
retain rows p of the original's 1 is kept. Every number below differs from every other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from tests.evaluators.tables import table
from tests.support import outcomes
from tests.support.outcomes import OUTCOME, measured
from tests.support.recorded_attacks import attack_list, label_of, recorded_job
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages import measuring_requests
from unlearn_sweep.engine.stages.controls import write_controls
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome
from unlearn_sweep.engine.store.records import Outcome, TrialRecord
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.halves import halves

ROWS = 8
ATTACKS = attack_list(("prefill", "prompt"), ("relearn", "relearn"), ("quantize", "quantize"))


class Half(NamedTuple):
    """One number for the half that the search sees, one for the other."""

    search: float
    report: float


UE = Half(search=0.8, report=0.3)
UT = Half(search=0.9, report=0.4)
# What is still forgotten after each strength of each attack.
STILL = {
    "prefill0": [Half(search=0.75, report=0.10)],
    "relearn1": [Half(search=0.70, report=0.25), Half(search=0.50, report=0.15)],
    "quantize2": [Half(search=0.65, report=0.22)],
}


def rows(split: str, prefix: str, value: Half) -> pd.DataFrame:
    """Rows of one split with one value in each half."""
    facts = [f"{prefix}-fact{number}" for number in range(ROWS)]
    seen, _ = halves(facts, salt="search")
    values = [value.search if fact in seen else value.report for fact in facts]
    roots = [value**0.5 for value in values]
    return table({"probability": values, "extraction_strength": roots}, split=split, prefix=prefix)


def evaluated(ue: Half, ut: Half) -> pd.DataFrame:
    forget = rows("forget", "f", Half(1 - ue.search, 1 - ue.report))
    return pd.concat([forget, rows("retain", "r", ut)], ignore_index=True)


def attacked(points: list[Half]) -> pd.DataFrame:
    return pd.concat(
        [
            rows("forget", "f", Half(1 - still.search, 1 - still.report)).assign(strength=float(place + 1), unit="x")
            for place, still in enumerate(points)
        ],
        ignore_index=True,
    )


def outcome_of(strengths: int) -> AttackOutcome:
    return outcomes.attacked(*(float(place + 1) for place in range(strengths)))


class TwoHalves:
    """An executor whose one model has the numbers above."""

    def start_model(self, request: Any) -> None:
        raise AssertionError("no start model is asked for")

    def train(self, job: Any, *, name: str) -> Any:
        Path(job.output_dir).mkdir(parents=True)
        return OUTCOME

    def measure(self, request: Any) -> MeasureOutcome:
        evaluated(UE, UT).to_parquet(request.rows_path, index=False)
        return measured(2 * ROWS)

    def probe(self, request: Any) -> Any:
        raise AssertionError("nobody asks for the prompt format")

    def attack(self, request: Any) -> AttackOutcome:
        points = STILL[label_of(request.attack, STILL)]
        attacked(points).to_parquet(request.rows_path, index=False)
        return outcome_of(len(points))

    def make_room(self) -> None:
        """Nothing is loaded."""


def prepared_by_hand(job: SweepJob) -> Prepared:
    """Original and gold at their anchors in both halves, under every attack and strength."""
    runner = StageRunner(StageStore(job.storage), EventLog(job.directory / "events.jsonl"))

    def keep(frame: pd.DataFrame, outcome: Outcome) -> Callable[[Path], Outcome]:
        def write(folder: Path) -> Outcome:
            frame.to_parquet(folder / "rows.parquet", index=False)
            return outcome

        return write

    level = {"original": 0.0, "gold": 1.0}
    (job.storage / "original").mkdir(parents=True)  # its weights are there, so no trial trains it again
    evaluations = {
        which: runner.run(
            measuring_requests.evaluate_stage(job, which, "d"),
            keep(evaluated(Half(ue, ue), Half(1.0, 1.0)), measured(2 * ROWS)),
        ).key
        for which, ue in level.items()
    }
    attacks = {
        attack.label: {
            which: runner.run(
                measuring_requests.attack_stage(job, attack, which, "original", "d"),
                keep(attacked([Half(ue, ue)] * len(STILL[attack.label])), outcome_of(len(STILL[attack.label]))),
            ).key
            for which, ue in level.items()
        }
        for attack in job.attacks
    }
    return Prepared(
        data="d",
        paths={which: str(job.storage / which) for which in level},
        ids={which: which for which in level},
        evaluations=evaluations,
        attacks=attacks,
    )


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> TrialRecord:
    return trial_of(recorded_job(tmp_path_factory.mktemp("storage"), "halves", ATTACKS, prune=False))


def trial_of(job: SweepJob) -> TrialRecord:
    prepared = prepared_by_hand(job)
    write_controls(job, prepared, StageStore(job.storage))
    params = {"learning_rate": 0.001, "retain": "nll"}
    task = TrialTask(number=0, key="k", method="graddiff", params=params, seed=1)
    found = run_trial(task, job, prepared, TwoHalves())
    assert found.state == "complete", found.reason
    return found


def test_the_halves_are_of_equal_size_and_have_nothing_in_common() -> None:
    search, report = halves([f"f-fact{number}" for number in range(ROWS)], salt="search")
    assert (len(search), len(report), search & report) == (4, 4, frozenset())


def test_ue_and_ut_of_the_record(record: TrialRecord) -> None:
    assert (record.ue, record.report_ue) == (pytest.approx(UE.search), pytest.approx(UE.report))
    assert (record.ut, record.report_ut) == (pytest.approx(UT.search), pytest.approx(UT.report))


@pytest.mark.parametrize("label", list(STILL))
def test_each_attacks_value_and_report_value(record: TrialRecord, label: str) -> None:
    """The mean over the attack's strengths, each half by itself."""
    (score,) = (score for score in record.attacks if score.attack == label)
    points = STILL[label]
    assert score.value == pytest.approx(sum(point.search for point in points) / len(points))
    assert score.report_value == pytest.approx(sum(point.report for point in points) / len(points))
    assert [point.still_forgotten for point in score.curve] == pytest.approx([point.search for point in points])
    assert list(score.report_left) == pytest.approx([point.report for point in points])
    assert [point.metrics["probability"] for point in score.curve] == pytest.approx([1 - one.search for one in points])
    unseen = [point.report_metrics["probability"] for point in score.curve]
    assert unseen == pytest.approx([1 - one.report for one in points])


def test_rob_is_the_least_family_of_its_own_half(record: TrialRecord) -> None:
    """By hand: 0.60 is relearning's mean on the search half; on the other half the prompt attack leaves least."""
    assert record.rob == pytest.approx(0.60)
    assert record.report_rob == pytest.approx(0.10)


def test_weights_of_metrics_reach_ue_each_attack_and_rob_on_both_halves(tmp_path: Path) -> None:
    """Extraction strength is the root of the likelihood; with weights 1 and 3, a row of p counts (p + 3 root p) / 4."""
    weights = {"probability": 1.0, "extraction_strength": 3.0}
    job = recorded_job(tmp_path, "halves", ATTACKS, prune=False)
    found = trial_of(job.model_copy(update={"ue_metrics": list(weights), "ue_weights": weights}))

    def forgotten(share: float) -> float:
        return 1 - ((1 - share) + 3 * (1 - share) ** 0.5) / 4

    assert (found.ue, found.report_ue) == (pytest.approx(forgotten(0.8)), pytest.approx(forgotten(0.3)))
    for score in found.attacks:
        points = STILL[score.attack]
        assert score.value == pytest.approx(sum(forgotten(point.search) for point in points) / len(points))
        assert score.report_value == pytest.approx(sum(forgotten(point.report) for point in points) / len(points))
    assert found.rob == pytest.approx((forgotten(0.70) + forgotten(0.50)) / 2)
