"""Write trials.csv: one row per trial, one column per value."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from unlearn_sweep.engine.answers import Answers
from unlearn_sweep.engine.store.records import missing_reasons, worst_settings
from unlearn_sweep.sweeps.report.document import Report, ReportTrial

FIXED = (
    "number",
    "key",
    "method",
    "seed",
    "state",
    "on_front",
    "front_probability",
    "ue",
    "ut",
    "rob",
    "rob_is_bound",
    "infeasible",
    "report_ue",
    "report_ut",
    "report_rob",
    "seconds",
    "attempts",
    "failed_stage",
    "duplicate_of",
    "code",
    "model_path",
    "reason",
    "unmoved",
    "rob_reason",
)
# Spreadsheets interpret text cells that begin with one of these as formulas.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def trials_csv(report: Report) -> str:
    """Return the table as CSV. Missing values are empty cells. Text that looks like a formula gets an apostrophe."""
    lines = [trial_line(trial) for trial in report.trials]
    varying = sorted({column for line in lines for column in line} - set(FIXED))
    text = io.StringIO()
    columns = [*FIXED, *varying]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(line.get(column)) for column in columns] for line in lines)
    return text.getvalue()


def answers_csv(answers: Answers) -> str:
    """Return the answers as CSV, one line for each model, attack strength and row; text as in `trials_csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answers.table.columns)
    known = answers.table.notna()
    for line, mask in zip(
        answers.table.itertuples(index=False, name=None), known.itertuples(index=False, name=None), strict=True
    ):
        writer.writerow([_cell(value) if there else None for value, there in zip(line, mask, strict=True)])
    return text.getvalue()


def trial_line(trial: ReportTrial) -> dict[str, Any]:
    """Return the cells of one trial. Standard errors, parameters, attacks and stages are separate columns."""
    line: dict[str, Any] = {name: getattr(trial, name) for name in FIXED}
    line |= {f"{name}_standard_error": error for name, error in trial.errors.items()}
    line |= {"cautions": "; ".join(trial.cautions)} if trial.cautions else {}
    line |= {f"{name}_missing": reason for name, reason in missing_reasons(trial).items()}
    line |= {f"param.{name}": value for name, value in trial.params.items()}
    if trial.stopping is not None:
        line |= {"stops_at": trial.stopping.share, "ran_anyway": trial.stopping.ran_anyway}
    for attack in trial.attacks:
        line[f"attack.{attack.attack}"] = attack.value
        line[f"attack.{attack.attack}.standard_error"] = attack.standard_error
        line[f"attack.{attack.attack}.report"] = attack.report_value
        line[f"attack.{attack.attack}.utility"] = attack.utility
    for attacker, worst in worst_settings(trial.rob_detail, trial.attacks).items():
        line[f"attack.{attacker}"] = worst.value
        line[f"attack.{attacker}.report"] = worst.report_value
        line[f"attack.{attacker}.worst"] = worst.attack
        line |= {f"attack.{attacker}.worst.{name}": value for name, value in worst.setting.items()}
    for name, found in (trial.over_seeds.spreads if trial.over_seeds else {}).items():
        line[f"{name}_mean_over_seeds"] = found.mean
        line[f"{name}_deviation_over_seeds"] = found.deviation
    return line | {f"stage_seconds.{stage}": seconds for stage, seconds in trial.stage_seconds.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return value
