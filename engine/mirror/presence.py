"""Detect another driver of the same sweep by a marker file in the mirror. Best effort: a mirror has no locks."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time

from pydantic import ValidationError

from unlearn_sweep.engine.mirror.address import Mirror
from unlearn_sweep.engine.mirror.plan import DRIVER
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.sealed import Record
from unlearn_sweep.engine.store.stages import StageStore

FRESH_S = 180.0
"""A driver whose mark is older counts as dead."""
REFRESH_S = 60.0
STOP_S = 15.0


class DriverMark(Record):
    """<sweep>/driver.json: the driver that runs the sweep.

    `holder` describes the process, `place` is the ID of the storage it writes to, `time` is the last refresh (Unix
    seconds).
    """

    holder: str
    place: str
    time: float

    def is_fresh(self, now: float) -> bool:
        """Return whether the mark is recent. Clocks of two machines differ, so a time in the near future counts too."""
        return abs(now - self.time) < FRESH_S


def place_of(store: StageStore) -> str:
    """Return the ID of a storage, created on first use. Drivers of the same storage exclude each other by its locks."""
    path = store.root / "place"
    if not path.exists():
        durable.write_text(path, secrets.token_hex(16))
    return path.read_text().strip()


def other_driver(mirror: Mirror, sweep: str, place: str, *, now: float | None = None) -> DriverMark | None:
    """Return the fresh mark of a driver that runs this sweep in another storage, or None if there is no such mark."""
    data = mirror.read(f"{sweep}/{DRIVER}")
    if data is None:
        return None
    try:
        mark = DriverMark.model_validate_json(data)
    except ValidationError:
        return None  # truncated or damaged: counts as no mark
    return mark if mark.place != place and mark.is_fresh(time.time() if now is None else now) else None


def mark_driver(mirror: Mirror, sweep: str, place: str, holder: str) -> None:
    mark = DriverMark(holder=holder, place=place, time=time.time())
    mirror.write(f"{sweep}/{DRIVER}", mark.model_dump_json(indent=1).encode())


class Heart:
    """Thread that refreshes a driver's mark, independently of uploads, and removes it at the end.

    `taken_by` is the mark of another driver that has taken over the sweep, or None.
    """

    def __init__(self, mirror: Mirror, sweep: str, place: str, holder: str, *, every_s: float = REFRESH_S) -> None:
        self.taken_by: DriverMark | None = None
        self._mirror, self._sweep, self._place, self._holder = mirror, sweep, place, holder
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror-heart", daemon=True)

    def start(self) -> None:
        mark_driver(self._mirror, self._sweep, self._place, self._holder)
        self._thread.start()

    def beat(self) -> None:
        """Refresh the mark, unless a driver of another storage has replaced it."""
        self.taken_by = self.taken_by or other_driver(self._mirror, self._sweep, self._place)
        if self.taken_by is None:
            mark_driver(self._mirror, self._sweep, self._place, self._holder)

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Remove the mark if it is ours. Wait up to `timeout_s`; a mark that stays expires after three minutes."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            with contextlib.suppress(Exception):  # the uploading thread reports a lost mirror
                self.beat()
        with contextlib.suppress(Exception):
            if self.taken_by is None and other_driver(self._mirror, self._sweep, self._place) is None:
                self._mirror.remove(f"{self._sweep}/{DRIVER}")
