"""The live view of a sweep: a thread in the driver process that follows the event log and shows its state.

On a terminal, it redraws a few lines in place. Elsewhere, or with `plain`, it prints one line per state change. It only
reads: if a file is temporarily missing or unreadable, it shows the last known state and retries.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unlearn_sweep.engine.privacy.secrets import redact, visible
from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import Event, Front
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.estimate import time_left
from unlearn_sweep.sweeps.report.picks import balance
from unlearn_sweep.sweeps.report.timeline import Preparation, Timeline
from unlearn_sweep.sweeps.report.training import open_stages, training_text
from unlearn_sweep.sweeps.screen import Screen

LIVE_INTERVAL_S = 0.25
PLAIN_INTERVAL_S = 0.5
FRONT_ROWS = 5
RUNNING_ROWS = 12
REASON_CHARS = 200
TRAINING_LINE_S = 60.0
# If the pipe is closed, rich raises SystemExit in the thread that prints.
CONSOLE_GONE = (OSError, SystemExit)


class LiveProgress:
    """Context manager that shows the progress of the sweep in `directory`. `wanted` is the planned number of trials.

    `plain` chooses lines (True) or the live view (False). None chooses lines unless the console is a terminal.
    """

    def __init__(self, directory: Path, wanted: int, console: Console | None = None, plain: bool | None = None) -> None:
        self.directory = Path(directory)
        self.wanted = wanted
        self.console = console or Screen()
        self.plain = not self.console.is_terminal if plain is None else plain
        self.timeline = Timeline()
        self.front: Front | None = None
        self._log = EventLog(self.directory / "events.jsonl")
        self._offset = 0
        self._front_seen: tuple[int, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
        self._live: Live | None = None
        self._told = time.monotonic()

    def __enter__(self) -> LiveProgress:
        for event in self._new_events():
            self.timeline.apply(event)
        if self.plain:
            self._line(None, f"{self.directory.name}: {self.settled} of {self.wanted} trials settled")
        else:
            self._live = Live(self.view(), console=self.console, auto_refresh=False)
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._step()
        if self._live is not None:
            with contextlib.suppress(*CONSOLE_GONE):
                self._live.stop()

    @property
    def settled(self) -> int:
        """Number of trials settled so far, without duplicates: they reuse the result of another trial."""
        return sum(event.data.get("state") != "duplicate" for event in self.timeline.settled.values())

    def view(self) -> RenderableType:
        """Return the current content of the live view."""
        blocks: list[RenderableType] = [self._bar()]
        if not self.timeline.settled:
            blocks.append(self._preparation())
        if self.timeline.open_trials or self.timeline.open_finalists:
            blocks.append(self._running())
        if self.front is not None and self.front.front:
            blocks.append(self._front())
        return Group(*blocks)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stop.wait(PLAIN_INTERVAL_S if self.plain else LIVE_INTERVAL_S):
            self._step()

    def _step(self) -> None:
        """Show new events. If the console is gone (closed pipe or terminal), stop the view but not the sweep."""
        try:
            for event in self._new_events():
                self.timeline.apply(event)
                if self.plain and (text := self.line(event)):
                    self._line(event.time, text)
            if self._live is not None:
                self._live.update(self.view(), refresh=True)
            elif time.monotonic() - self._told >= TRAINING_LINE_S:
                self._tell_trainings()
        except CONSOLE_GONE:
            self._stop.set()

    def _tell_trainings(self) -> None:
        """Print one line for each running training. Called once a minute."""
        self._told = time.monotonic()
        for name, stage in open_stages(self.timeline):
            if (text := training_text(self.directory, stage.key, stage.started)) is not None:
                self._line(time.time(), f"{name}{stage.stage}: {text}")

    def _new_events(self) -> list[Event]:
        """Return the events appended since the last call. Also reload the front if its file has changed."""
        new: list[Event] = []
        with contextlib.suppress(FileNotFoundError, ValidationError):  # not written yet; the next call retries
            for event, end in self._log.read_from(self._offset):
                self._offset = end
                new.append(event)
            self._read_front()
        return new

    def _read_front(self) -> None:
        path = self.directory / "progress.json"
        facts = path.stat()
        seen = (facts.st_mtime_ns, facts.st_ino)
        if seen != self._front_seen:
            self.front = Front.model_validate_json(path.read_bytes())
            self._front_seen = seen

    # --- plain lines ------------------------------------------------------------------------------------------------

    def line(self, event: Event) -> str | None:
        """Return the line to print for an event; None for events that are not printed."""
        what = event.stage or ""
        if event.trial is not None:
            seed = f" seed {event.data['seed']}" if "seed" in event.data else ""
            what = f"trial {event.trial}{self._method(event.trial)}{seed}{': ' + what if what else ''}"
        took = f" in {duration(event.seconds)}" if event.seconds is not None else ""
        if (passes := event.data.get("forward_passes")) is not None:
            took += f", {passes} forward passes"
        texts = {
            "sweep_finished": f"sweep finished{took}",
            "sweep_stopped": f"sweep stopped{took}",
            "trial_started": f"{what} started" + (f" (attempt {event.attempt})" if (event.attempt or 1) > 1 else ""),
            "stage_started": f"{what} started" if event.trial is None else None,
            "stage_finished": f"{what} finished{took}",
            "stage_reused": f"{what} reused",
            "stage_failed": f"{what} failed{took}",
            "stage_stopped": f"{what} stopped{took}",
            "attack_skipped": f"{what} skipped",
            "stage_lost": f"{what} begun again, lost{took}",
            "trial_lost": f"{what} begun again",
            "finalist_lost": f"{what} begun again",
            "note": f"{what}: note" if what else "note",
            "trial_settled": self._settled_line(event, what),
            "finalist_started": f"{what} started",
            "finalist_settled": f"{what} {event.data.get('state', 'settled')}  {_values(event)}",
        }
        text = texts.get(event.event)
        reason = f": {_one_line(event.reason)}" if event.reason and event.event != "stage_started" else ""
        return text and text + reason

    def _settled_line(self, event: Event, what: str) -> str:
        left = self._seconds_left()
        about = f", about {duration(left)} left" if left else ""
        return f"{what} {event.data.get('state', 'settled')}  {_values(event)}  [{self.settled}/{self.wanted}{about}]"

    def _line(self, when: float | None, text: str) -> None:
        clock = time.strftime("%H:%M:%S", time.localtime(when))
        self.console.print(Text(f"{clock} {visible(text)}"), soft_wrap=True, highlight=False)

    # --- the live view ----------------------------------------------------------------------------------------------

    def _bar(self) -> RenderableType:
        now = time.time()
        left = self._seconds_left()
        states = [str(event.data.get("state")) for event in self.timeline.settled.values()]
        parts = [f"{self.settled}/{self.wanted} trials", duration(self.timeline.elapsed_seconds(now, alive=True))]
        if left is not None:
            parts.append(f"about {duration(left)} left")
        parts += [f"{states.count(state)} {state}" for state in ("failed", "collapsed", "stopped") if state in states]
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(self.wanted, self.settled, width=30)
        line.add_row(Text(self.directory.name, style="bold"), bar, Text(", ".join(parts)))
        return line

    def _preparation(self) -> RenderableType:
        """Return the preparation stages, one line per stage: original and gold model share a line."""
        table = Table.grid(padding=(0, 2))
        groups: dict[str, list[Preparation]] = {}
        for part in self.timeline.preparation.values():
            groups.setdefault(part.stage, []).append(part)
        for stage, parts in groups.items():
            state = _preparation_state(parts)
            for part in parts:
                if part.state == "running" and (text := training_text(self.directory, part.key, part.started)):
                    state.append(f"; {text}")
            table.add_row("  ", Text(stage), state)
        return table

    def _running(self) -> RenderableType:
        now = time.time()
        table = Table("running", "method", "stage", "for", "", box=None, pad_edge=False)
        finalists = {f"trial {number}, seed {seed}": at for (number, seed), at in self.timeline.open_finalists.items()}
        trials = {f"trial {trial.number}": trial for trial in self.timeline.open_trials.values()} | finalists
        for name, trial in list(trials.items())[:RUNNING_ROWS]:
            stages = list(trial.stages.values())
            began = min((stage.started for stage in stages), default=trial.started)
            stage = ", ".join(stage.stage for stage in stages) or ("between stages" if trial.started else "waiting")
            since = duration(max(0.0, now - began)) if began else ""
            done = [text for at in stages if (text := training_text(self.directory, at.key, at.started)) is not None]
            table.add_row(name, Text(trial.method or ""), Text(stage), since, Text("; ".join(done), style="dim"))
        return table

    def _front(self) -> RenderableType:
        members = set(self.front.front) if self.front is not None else set()
        rows = [
            (number, self._asked(number).get("method"), event.data)
            for number, event in self.timeline.settled.items()
            if self._asked(number).get("key") in members and event.data.get("state") != "duplicate"
        ]
        shown = [name for name in OBJECTIVE_NAMES if any(values.get(name) is not None for _, _, values in rows)]
        rows.sort(key=lambda row: -balance(row[2].get(name) for name in shown))
        table = Table("front", "method", *OBJECTIVE_NAMES.values(), box=None, pad_edge=False)
        for number, method, values in rows[:FRONT_ROWS]:
            table.add_row(
                f"trial {number}", Text(str(method)), *(_number(values.get(name)) for name in OBJECTIVE_NAMES)
            )
        if len(rows) > FRONT_ROWS:
            table.add_row(f"and {len(rows) - FRONT_ROWS} more", "", "", "", "")
        return table

    # --- shared by lines and view -----------------------------------------------------------------------------------

    def _asked(self, number: int) -> dict[str, object]:
        return self.timeline.asked.get(number, {})

    def _method(self, number: int) -> str:
        method = self._asked(number).get("method")
        return f" ({method})" if method else ""

    def _seconds_left(self) -> float | None:
        return time_left(self.timeline, wanted=self.wanted, now=time.time())


def _preparation_state(parts: list[Preparation]) -> Text:
    running = [part for part in parts if part.state == "running" and part.started is not None]
    failed = [part for part in parts if part.state == "failed"]
    if failed:
        return Text(f"failed: {_one_line(failed[0].reason or 'no reason recorded')}", style="red")
    if running:
        began = min(part.started for part in running if part.started is not None)
        return Text(f"running for {duration(max(0.0, time.time() - began))}", style="cyan")
    if all(part.state == "reused" for part in parts):
        return Text("reused", style="green")
    return Text(f"{parts[0].state} in {duration(sum(part.seconds or 0.0 for part in parts))}", style="green")


def _values(event: Event) -> str:
    return "  ".join(f"{title} {_number(event.data.get(name))}" for name, title in OBJECTIVE_NAMES.items())


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "\N{EN DASH}"


def _one_line(text: str) -> str:
    return redact(" ".join(text.split()))[:REASON_CHARS]
