"""The sweeps of a storage as the server sees them: pages, live state, and stopping a driver on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.answer_sheet import answer_sheet
from unlearn_sweep.sweeps.report.build import load_answered, load_report, report_json
from unlearn_sweep.sweeps.report.page import render_page
from unlearn_sweep.sweeps.report.records import driver_holds_lock
from unlearn_sweep.sweeps.report.status import status
from unlearn_sweep.sweeps.report.status_list import sweeps_below
from unlearn_sweep.sweeps.report.table import answers_csv, trials_csv
from unlearn_sweep.user_error import UserError

EVENTS_SHOWN = 30
EVENT_WORDS = {"trial_asked": "proposed", "trial_started": "started", "trial_settled": "settled"}
HOLDER = re.compile(r"process (\d+) of .* on (\S+) since ")


@dataclass(slots=True)
class Storage:
    """The sweeps below one folder. Pages are rendered again only after a trial settled or the state changed."""

    root: Path
    _pages: dict[str, tuple[tuple[object, ...], str]] = field(default_factory=dict)
    _rendering: threading.Lock = field(default_factory=threading.Lock)

    def sweeps(self) -> dict[str, Path]:
        """Return the folders of all sweeps by name, the one that was written to last first."""
        return sweeps_below(self.root)

    def page(self, folder: Path) -> str:
        """Return the report's page with its live part."""
        now = status(folder)
        version = (now["settled"], now["state"], len(now["problems"]), now["trials"].get("running"))
        with self._rendering:
            known = self._pages.get(folder.name)
            if known is None or known[0] != version:
                report, answers = load_answered(folder)
                known = self._pages[folder.name] = version, render_page(report, answer_sheet(answers), live=True)
        return known[1]

    def file(self, folder: Path, name: str) -> str | None:
        """Return the text of a file that the page links to, made anew; None for any other name."""
        makers: dict[str, Callable[[], str]] = {
            "trials.csv": lambda: trials_csv(load_report(folder)),
            "report.json": lambda: report_json(load_report(folder)),
            "answers.csv": lambda: answers_csv(load_answered(folder)[1]),
        }
        return makers[name]() if name in makers else None


def live_state(folder: Path) -> dict[str, Any]:
    """Return what `status --json` prints, with the last events as lines and whether the driver can be stopped here."""
    events = EventLog(folder / "events.jsonl").read()[-EVENTS_SHOWN:]
    return {
        **status(folder),
        "events": [{"time": event.time, "text": redact(event_text(event))} for event in reversed(events)],
        "can_stop": driver_process(folder) is not None,
    }


def event_text(event: Event) -> str:
    """Format an event as "trial 3: unlearn finished in 12.3 s", a note as its text."""
    who = f"trial {event.trial}: " if event.trial is not None else ""
    if event.event == "note":
        return f"{who}{event.reason or ''}"
    stage = f"{event.stage} " if event.stage else ""
    what = EVENT_WORDS.get(event.event, event.event.removeprefix("stage_").replace("_", " "))
    took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
    why = f": {event.reason}" if event.reason else ""
    return f"{who}{stage}{what}{took}{why}"


def driver_process(folder: Path) -> int | None:
    """Return the id of the driver's process; None if none runs or if it runs on another machine."""
    lock = folder / "driver.lock"
    if driver_holds_lock(folder) is not True:
        return None
    found = HOLDER.match(lock.read_text(errors="replace"))
    if found is None or found[2] != socket.gethostname():
        return None
    return int(found[1])


def stop_driver(folder: Path) -> int:
    """Send SIGINT to the sweep's driver, as Ctrl-C does, and return its process id.

    Raises:
        UserError: No driver of this sweep runs on this machine.
    """
    process = driver_process(folder)
    if process is None:
        raise UserError(f"no driver of {folder.name} runs on this machine")
    os.kill(process, signal.SIGINT)
    return process


def storage_of(directory: Path) -> tuple[Storage, str | None]:
    """Return the storage to serve, and the name of the sweep if `directory` is one.

    Raises:
        UserError: There is no sweep in `directory`.
    """
    directory = directory.resolve()
    if (directory / "events.jsonl").is_file():
        return Storage(directory.parent), directory.name
    storage = Storage(directory)
    if not directory.is_dir() or not storage.sweeps():
        raise UserError(f"{directory} has no sweep; give a storage, or the folder <storage>/<sweep name>")
    return storage, None
