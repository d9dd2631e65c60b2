"""`unlearn-sweep status` without a sweep's folder: the sweeps of a storage, and the one that was written to last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.status import Status, render, status

SWEEPS_SHOWN = 20


def sweeps_below(storage: Path) -> dict[str, Path]:
    """Return the folders of all sweeps of a storage by name, the one that was written to last first."""
    folders = [path.parent for path in storage.glob("*/events.jsonl")]
    folders.sort(key=lambda folder: -(folder / "events.jsonl").stat().st_mtime)
    return {folder.name: folder for folder in folders}


def statuses(directory: Path) -> list[dict[str, Any]]:
    """Return the state of the sweep in `directory`, or of each sweep below it, the last written first.

    Raises:
        SweepNotFoundError: there is no sweep in the folder.
    """
    if (directory / "events.jsonl").is_file() or not (found := sweeps_below(directory)):
        return [status(directory)]
    return [status(folder) for folder in found.values()]


def render_statuses(states: list[dict[str, Any]]) -> RenderableType:
    """Render the results of `statuses`: a table of the sweeps if there are several, and the first of them in full."""
    whole = render(states[0])
    return whole if len(states) == 1 else Group(_table(states), Text(""), whole)


def _table(states: list[dict[str, Any]]) -> Table:
    table = Table("sweep", "state", "settled", "front", "time left", box=None, pad_edge=False)
    for state in states[:SWEEPS_SHOWN]:
        one = Status.model_validate(state)
        wanted = "" if one.wanted is None else f" of {one.wanted}"
        left = "" if one.time_left_seconds is None else duration(one.time_left_seconds)
        table.add_row(Text(Path(one.directory).name), one.state, f"{one.settled}{wanted}", str(len(one.front)), left)
    if len(states) > SWEEPS_SHOWN:
        table.add_row(f"and {len(states) - SWEEPS_SHOWN} more", "", "", "", "")
    return table
