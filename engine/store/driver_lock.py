"""One driver at a time: the lock that a driver holds while it works on a sweep, and the error of a second one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.holder import holder_line
from unlearn_sweep.user_error import EXIT_FAILED, UserError


class UnwritableStorageError(UserError):
    """The folder of a sweep cannot be created or written to."""

    advice = "Name another storage (--storage), or make it writable, and rerun the same command."


class SweepBusyError(UserError):
    """Another driver is running this sweep or audit."""

    status = EXIT_FAILED
    advice = "Wait for it, or stop it first."


@contextmanager
def only_driver(sweep: Path, lock: Path | None = None) -> Iterator[None]:
    """Hold a sweep's lock in the context. `lock` is the lock file; by default that of the sweep's own folder.

    Raises:
        SweepBusyError: another process holds the lock; the message names it.
        UnwritableStorageError: the lock file cannot be written.
    """
    with ExitStack() as stack:
        try:
            held = durable.file_lock(lock or sweep / "driver.lock", wait=False, holder=holder_line())
            stack.enter_context(held)
        except durable.LockedElsewhereError as error:
            raise SweepBusyError(f"{sweep} is being run by {error}") from None
        except OSError as error:
            if durable.says_disk_full(error):
                raise
            raise UnwritableStorageError(f"cannot write to {sweep}: {error.strerror or error}") from error
        yield
