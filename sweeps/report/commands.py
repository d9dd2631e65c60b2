"""The commands that a view tells a person to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from unlearn_sweep.engine.privacy import redact
from unlearn_sweep.engine.tracking.runs import absolute_uri, default_tracking_uri

PROGRAM = "unlearn-sweep"


def run_command(file: str) -> str:
    """Run a sweep file, or go on with it."""
    return f"{PROGRAM} run {shlex.quote(file)}"


def report_command(directory: Path | str) -> str:
    """Make the report anew from what is on disk."""
    return f"{PROGRAM} report {shlex.quote(str(directory))}"


def status_command(directory: Path | str) -> str:
    """How far a sweep is."""
    return f"{PROGRAM} status {shlex.quote(str(directory))}"


def export_command(directory: Path | str, trial: int) -> str:
    """Take a trial's model out as an ordinary folder."""
    return f"{PROGRAM} export {shlex.quote(str(directory))} {trial} model-{trial}"


def mlflow_command(directory: Path | str, setting: str = "auto") -> str | None:
    """MLflow's view over the sweep's tracking store; None where tracking is off. `setting` is the sweep file's."""
    if setting == "off":
        return None
    uri = default_tracking_uri(Path(directory).parent) if setting == "auto" else absolute_uri(setting)
    return f"mlflow ui --backend-store-uri {shlex.quote(redact(uri))}"
