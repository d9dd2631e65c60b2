"""Mirror a running sweep: fetch before the driver starts, upload while it runs, upload once more after it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.mirror.address import Mirror, MirrorError, errors_told, probe
from unlearn_sweep.engine.mirror.presence import Heart, other_driver, place_of
from unlearn_sweep.engine.mirror.pull import fetch_model, is_another_sweep, pull
from unlearn_sweep.engine.mirror.push import Pusher
from unlearn_sweep.engine.privacy.error_text import named_line
from unlearn_sweep.engine.store.driver_lock import only_driver
from unlearn_sweep.engine.store.holder import holder_line
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.sync_thread import SyncThread

PUSH_EVERY_S = 30.0
CLOSE_S = 300.0
CLOSE_BROKEN_OFF_S = 30.0


@contextlib.contextmanager
def mirrored(
    job: SweepJob, say: Callable[[str], None], *, every_s: float = PUSH_EVERY_S
) -> Iterator[MirrorThread | None]:
    """Check the mirror, fetch from it, then upload in the background until the block ends.

    Yields None if the sweep has no mirror. Errors after the start are only reported through `say`.

    Raises:
        MirrorError: if the mirror cannot be used; nothing of the sweep has started.
        SweepBusyError: if another driver of this storage runs the same sweep.
    """
    if job.mirror is None or is_another_sweep(job):  # the driver refuses another sweep of this name; nothing is copied
        yield None
        return
    store = StageStore(job.storage)
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_driver(job.directory, store.lock(f"mirror-{job.name}")))
        mirror, heart = _connect(job, place_of(store), holder_line())
        stack.callback(heart.stop)
        with errors_told():
            heart.start()
            there = pull(mirror, job, say)
        thread = MirrorThread(Pusher(mirror, store, job.directory, there), heart, say, every_s=every_s)
        thread.start()
        try:
            yield thread
        except BaseException:
            thread.close(CLOSE_BROKEN_OFF_S)
            raise
        thread.close(CLOSE_S)


def _connect(job: SweepJob, place: str, holder: str) -> tuple[Mirror, Heart]:
    """Test the mirror and return it with this driver's heartbeat.

    Raises:
        MirrorError: if the mirror cannot be used, or another driver runs the sweep.
    """
    uri = job.mirror or ""
    with errors_told():
        writer = digest([place, job.name])
        mirror, second = Mirror(uri, writer=writer), Mirror(uri, writer=writer)
        probe(mirror)
        other = other_driver(mirror, job.name, place)
    if other is not None:
        raise MirrorError(
            f"the sweep {job.name} in the mirror {mirror.shown} is being run by {other.holder}",
            advice=f"Wait for it or stop it first. If it has died, wait three minutes until its {job.name}/driver.json "
            "expires, or delete that file.",
        )
    return mirror, Heart(second, job.name, place, holder)


class MirrorThread(SyncThread):
    """Background thread that uploads a running sweep. Mirror failures never stop the sweep.

    It makes at most one pass per `every_s` seconds while the sweep runs.
    """

    def __init__(
        self, pusher: Pusher, heart: Heart, warn: Callable[[str], None], *, every_s: float = PUSH_EVERY_S
    ) -> None:
        super().__init__("mirror", warn, every_s=every_s)
        self.pusher = pusher
        self._heart = heart

    def update(self, *, last: bool) -> None:
        self.pusher.look()
        try:
            self._upload(last=last)
        except self.expected():
            with contextlib.suppress(*self.expected()):  # without an answer, what was uploaded counts as there
                self.pusher.forget_lost()
            raise

    def _upload(self, *, last: bool) -> None:
        if self._heart.taken_by is None:
            self._heart.beat()
        if self._heart.taken_by is not None:
            raise MirrorError(f"{self._heart.taken_by.holder} has taken this sweep over in the mirror")
        self.pusher.push(last=last)

    def expected(self) -> tuple[type[Exception], ...]:
        """Return all errors: each fsspec driver has its own types, and none may stop the sweep."""
        return (Exception,)

    def failed(self, error: Exception) -> str:
        return named_line(error)

    def first_warning(self, why: str) -> str:
        return f"Mirror {self.pusher.mirror.shown}: {why}. The sweep continues without it."

    def last_warning(self, why: str) -> str:
        return (
            f"The mirror {self.pusher.mirror.shown} is incomplete ({why}). Not copied: {self._left()}. The local "
            "results are complete: rerun the same command to copy the rest."
        )

    def _left(self) -> str:
        try:
            return str(self.pusher.left())
        except OSError as error:  # the local folder is removed at the same time
            return f"unknown ({named_line(error)})"


def weights_from_mirror(job: SweepJob, say: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that fetches a model from the job's mirror into its store, given the stage key.

    A mirror without this model, or one that does not answer, leaves the store as it is; the latter is reported.
    """

    def fetch(key: str) -> None:
        store = StageStore(job.storage)
        try:
            with errors_told():
                fetch_model(Mirror(job.mirror or "", writer=place_of(store)), store, key)
        except MirrorError as error:
            say(f"the weights {key} are not in the storage, and {error}")

    return fetch
