"""Build the follow-up commands that reports and status views suggest."""

from __future__ import annotations

import shlex
from pathlib import Path

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.tracking.runs import absolute_uri, default_tracking_uri

PROGRAM = "unlearn-sweep"


def run_command(file: str) -> str:
    """Return the command that runs or resumes a sweep file."""
    return f"{PROGRAM} run {shlex.quote(file)}"


def report_command(directory: Path | str) -> str:
    """Return the command that rebuilds the report from disk."""
    return f"{PROGRAM} report {shlex.quote(str(directory))}"


def status_command(directory: Path | str) -> str:
    """Return the command that shows the progress of a sweep."""
    return f"{PROGRAM} status {shlex.quote(str(directory))}"


def serve_command(directory: Path | str) -> str:
    """Return the command that shows the report in the browser."""
    return f"{PROGRAM} serve {shlex.quote(str(directory))}"


def answers_command(directory: Path | str) -> str:
    """Return the command that prints what the models answer."""
    return f"{PROGRAM} answers {shlex.quote(str(directory))}"


def export_command(directory: Path | str, trial: int) -> str:
    """Return the command that exports a trial's model to the folder model-<trial>."""
    return f"{PROGRAM} export {shlex.quote(str(directory))} {trial} model-{trial}"


def optuna_command(directory: Path | str) -> str:
    """Return the command that opens Optuna's dashboard on the sweep's study."""
    return f"optuna-dashboard {shlex.quote(str(Path(directory) / 'study.journal'))}"


def mlflow_command(directory: Path | str, setting: str = "auto") -> str | None:
    """Return the command that opens MLflow on the sweep's tracking store; None if tracking is off.

    `setting` is `tracking.mlflow` of the sweep file: "auto", "off" or an address.
    """
    if setting == "off":
        return None
    uri = default_tracking_uri(Path(directory).parent) if setting == "auto" else absolute_uri(setting)
    return f"mlflow ui --backend-store-uri {shlex.quote(redact(uri))}"
