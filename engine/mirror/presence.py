"""Who is at a sweep, told in its mirror: the best that can be done where there are no locks."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time

from pydantic import ValidationError

from unlearn_sweep.engine.mirror.address import Mirror
from unlearn_sweep.engine.mirror.plan import DRIVER
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.records import Record
from unlearn_sweep.engine.store.stages import StageStore

FRESH_S = 180.0
"""A driver whose mark is older is taken for dead."""
REFRESH_S = 60.0
STOP_S = 15.0


class DriverMark(Record):
    """<sweep>/driver.json: who is at the sweep. `place` names the storage that the driver writes to."""

    holder: str
    place: str
    time: float

    def is_fresh(self, now: float) -> bool:
        """Clocks of two machines differ, so a time that is still to come counts as well."""
        return abs(now - self.time) < FRESH_S


def place_of(store: StageStore) -> str:
    """The name of a storage, made once and kept in it: its own locks tell the drivers of one storage apart."""
    path = store.root / "place"
    if not path.exists():
        durable.write_text(path, secrets.token_hex(16))
    return path.read_text().strip()


def other_driver(mirror: Mirror, sweep: str, place: str, *, now: float | None = None) -> DriverMark | None:
    """The mark of a driver over another storage that is at the sweep, as far as one can see; None where none is."""
    data = mirror.read(f"{sweep}/{DRIVER}")
    if data is None:
        return None
    try:
        mark = DriverMark.model_validate_json(data)
    except ValidationError:
        return None  # cut off in writing, where a rename does not replace
    return mark if mark.place != place and mark.is_fresh(time.time() if now is None else now) else None


def mark_driver(mirror: Mirror, sweep: str, place: str, holder: str) -> None:
    mark = DriverMark(holder=holder, place=place, time=time.time())
    mirror.write(f"{sweep}/{DRIVER}", mark.model_dump_json(indent=1).encode())


class Heart:
    """Keeps a driver's mark fresh while it runs, whatever else is being copied, and takes it away at the end."""

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
        """Refresh the mark, unless a driver over another storage has put its own there meanwhile."""
        self.taken_by = self.taken_by or other_driver(self._mirror, self._sweep, self._place)
        if self.taken_by is None:
            mark_driver(self._mirror, self._sweep, self._place, self._holder)

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Take the mark away, if it is ours and the mirror lets us in time; one that stays is old in three minutes."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            with contextlib.suppress(Exception):  # a mirror that is gone is told by whoever copies to it
                self.beat()
        with contextlib.suppress(Exception):
            if self.taken_by is None and other_driver(self._mirror, self._sweep, self._place) is None:
                self._mirror.remove(f"{self._sweep}/{DRIVER}")
