"""Why a process of Ray's ended, as Ray itself wrote it down. A caller only learns that an actor was started again."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ray.exceptions import RayError
from ray.util.state import get_worker
from ray.util.state.exception import RayStateApiException

OUT_OF_MEMORY = "NODE_OUT_OF_MEMORY"
WRITTEN_S = 5.0
"""How long Ray may take to write down an end."""


def ended_for_memory(worker_id: str) -> str | None:
    """What Ray says of a worker that it ended because its machine ran low on memory; None where it ended otherwise."""
    until = time.monotonic() + WRITTEN_S
    while time.monotonic() < until:
        with contextlib.suppress(RayStateApiException, RayError, OSError):
            found: Any = get_worker(worker_id, timeout=5)
            if found is not None and not found.is_alive:
                return (found.exit_detail or "").partition("\n")[0] if found.exit_type == OUT_OF_MEMORY else None
        time.sleep(0.2)
    return None
