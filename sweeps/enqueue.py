"""`unlearn-sweep enqueue`: have a sweep that is under way try a setting next. The server's page uses the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.study import enqueued
from unlearn_sweep.sweeps.file.enqueue import checked_setting
from unlearn_sweep.sweeps.report.records import SweepData, read_sweep
from unlearn_sweep.user_error import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """A setting that was written for the driver: in words, where, and when it will be tried."""

    setting: str
    path: Path
    when: str


def enqueue_setting(directory: Path, text: str) -> Enqueued:
    """Check a setting (`checked_setting`) against the sweep's search space and write it for the sweep's driver.

    Raises:
        SpecError: the setting has mistakes.
        UserError: `directory` is not a sweep, or it has no search.
    """
    data = read_sweep(directory)
    spaces = data.spaces()
    if not spaces:
        raise UserError(
            f"{directory} has no search space", advice="Give the folder of a sweep that has started, not of an audit."
        )
    setting = checked_setting(text, spaces)
    path = enqueued.enqueue(directory, setting)
    return Enqueued(setting=enqueued.setting_text(setting), path=path, when=_when(data))


def _when(data: SweepData) -> str:
    asked = len({trial.number for trial in data.trials if trial.state != "duplicate"}) + len(data.open_trials)
    if data.trials_wanted is not None and asked >= data.trials_wanted:
        return (
            f"All {data.trials_wanted} trials have been proposed, so it waits until the sweep is extended: "
            "unlearn-sweep run FILE --trials N"
        )
    if data.state != "running":
        return "The sweep is not running: it is tried first when the sweep goes on."
    again = " From then on, the trials are not those of the sweep file alone." if _reproducible(data) else ""
    return f"It is tried as soon as a trial may start, and counts as one of the sweep's trials.{again}"


def _reproducible(data: SweepData) -> bool:
    return data.spec_value("search", "reproducible") is True
