"""The worst setting of a searched attacker in MLflow and in trials.csv. Oracle: `rob_detail.worst`, by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.support.sweep_folder import trial
from unlearn_sweep.engine.store.records import AttackScore, TrialRecord, worst_settings
from unlearn_sweep.engine.tracking.fields import trial_fields
from unlearn_sweep.engine.tracking.stage_fields import stage_runs
from unlearn_sweep.evaluators.objectives.robustness import robustness

NAMES = ("relearn-search-01", "relearn-search-02", "relearn-search-03")
SETTINGS = ({"learning_rate": 1e-5, "warmup": True}, {"learning_rate": 3e-4, "warmup": False}, {"learning_rate": 1e-3})
VALUES = (0.7, 0.2, None)


def searched() -> TrialRecord:
    """Three settings: the second leaves .2, the third was skipped. An attack beside them is not searched."""
    scores = [
        AttackScore(
            attack=name, family="relearn", searched="relearn-search", setting=dict(setting), value=value,
            skipped=value is None, report_value=value, standard_error=None if value is None else 0.01,
        )
        for name, setting, value in zip(NAMES, SETTINGS, VALUES, strict=True)
    ]  # fmt: skip
    scores.append(AttackScore(attack="quantize", family="quantize", value=0.5))
    done = {score.attack: score.value for score in scores if not score.skipped}
    families = {score.attack: score.family for score in scores}
    rob = robustness(done, families, dict.fromkeys(NAMES, "relearn-search"))
    keys = {f"attack:{score.attack}": f"key{place}" for place, score in enumerate(scores) if not score.skipped}
    return trial(3).model_copy(update={"attacks": scores, "rob_detail": rob, "stage_keys": keys})


def test_the_trials_run_says_the_worst_setting() -> None:
    fields = trial_fields(searched(), sweep="s", sweep_id="1", benchmark="authors")
    points = {point.name: point.value for point in fields.points}
    assert fields.tags["worst.relearn-search"] == NAMES[1]
    assert (fields.tags["worst.relearn-search.warmup"], points["worst.relearn-search.learning_rate"]) == ("no", 3e-4)
    assert "worst.relearn-search.warmup" not in points
    assert (points["rob.relearn-search"], points["unseen.rob.relearn-search"]) == (0.2, 0.2)
    assert not [name for name in (*points, *fields.tags) if name.startswith("worst.quantize")]


def test_the_attacks_run_has_its_setting() -> None:
    runs = {run.stage: run.fields for run in stage_runs(searched(), {})}
    worst, other = runs[f"attack:{NAMES[1]}"], runs[f"attack:{NAMES[0]}"]
    assert worst.params == {"learning_rate": "0.0003", "warmup": "no"}
    assert (worst.tags["worst_setting"], other.tags["worst_setting"]) == ("yes", "no")
    assert other.tags["attacker"] == "relearn-search"
    assert "attacker" not in runs["attack:quantize"].tags


def test_an_attacker_without_a_finished_setting_has_no_worst() -> None:
    record = searched()
    assert list(worst_settings(record.rob_detail, record.attacks)) == ["relearn-search"]
    assert worst_settings(None, record.attacks) == {}
    skipped = [score.model_copy(update={"skipped": True}) for score in record.attacks]
    assert worst_settings(record.rob_detail, skipped) == {}


def test_the_table_has_the_worst_setting(tmp_path: Path) -> None:
    from tests.support.sweep_folder import write_sweep
    from unlearn_sweep.sweeps.report.build import build_report

    folder = write_sweep(tmp_path / "s", [searched()])
    build_report(folder)
    (line,) = csv.DictReader(io.StringIO((folder / "report" / "trials.csv").read_text()))
    assert line["attack.relearn-search.worst"] == NAMES[1]
    assert float(line["attack.relearn-search.worst.learning_rate"]) == 3e-4
    assert float(line["attack.relearn-search"]) == 0.2
