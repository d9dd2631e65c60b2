"""Look up in Ray's state API why a worker process ended. The caller of an actor only learns that it restarted."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ray.exceptions import RayError

OUT_OF_MEMORY = "NODE_OUT_OF_MEMORY"
WRITTEN_S = 5.0
"""How long Ray may take to record why a worker ended."""


def ended_for_memory(worker_id: str) -> str | None:
    """Return Ray's message if it killed a worker because its machine ran low on memory.

    Returns None if the worker ended for another reason, or Ray does not record its end within `WRITTEN_S`.
    """
    from ray.util.state import get_worker  # a tenth of a second to import, in each process of a sweep
    from ray.util.state.exception import RayStateApiException

    until = time.monotonic() + WRITTEN_S
    while time.monotonic() < until:
        with contextlib.suppress(RayStateApiException, RayError, OSError):
            found: Any = get_worker(worker_id, timeout=5)
            if found is not None and not found.is_alive:
                return (found.exit_detail or "").partition("\n")[0] if found.exit_type == OUT_OF_MEMORY else None
        time.sleep(0.2)
    return None
