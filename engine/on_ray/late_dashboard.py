"""Start the dashboard of a private Ray after Ray itself, so that no work waits for it.

`ray.init` starts the dashboard before the raylet and waits seconds for its address. Ray has no option to change this,
so its private function is replaced while `ray.init` runs and called afterwards; `pyproject.toml` pins Ray's version.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from subprocess import Popen
from typing import Any, cast

from ray._private import node as ray_node
from ray._private import ray_constants, worker
from ray._private.node import Node
from ray.experimental import internal_kv

NICENESS = 5
"""Added to the dashboard's niceness: it must not take a core from the trials."""
LOOK_S = 0.1
START_S = 120.0
"""How long the dashboard may take to start. On a busy machine it gets little CPU."""
WEB_ADDRESS = b"webui:url"


@contextlib.contextmanager
def without_dashboard() -> Iterator[None]:
    """Let `ray.init` start everything except the dashboard in the block."""
    original = Node.start_api_server

    def skip(self: Node, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        self._webui_url = ""  # what Ray sets if it is told to start no dashboard

    ray_node.Node.start_api_server = skip
    try:
        yield
    finally:
        ray_node.Node.start_api_server = original


def start_dashboard(ready: Callable[[str], None], failed: Callable[[str], object]) -> None:
    """Start the dashboard of this process's private Ray and return at once. Must be called in the main thread.

    A thread then calls `ready` with the dashboard's URL, or `failed` with the reason why there is none. It calls
    neither if Ray ends before. The main thread starts the process because Linux kills the dashboard as soon as the
    thread that started it ends.
    """
    node = worker._global_node
    if node is None:
        raise RuntimeError("Ray is not running in this process")
    with _address_not_awaited():
        node.start_api_server(include_dashboard=True, raise_on_failure=True)
    process = _process_of(node)
    with contextlib.suppress(ProcessLookupError):  # it has ended already: the thread says so
        os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    threading.Thread(
        target=_await_address, args=(node, process, ready, failed), name="ray-dashboard", daemon=True
    ).start()


@contextlib.contextmanager
def _address_not_awaited() -> Iterator[None]:
    """Let Ray's function return as soon as it has started the process: it polls for the address in Ray's store."""
    original = internal_kv._internal_kv_get
    internal_kv._internal_kv_get = lambda *place, **options: b""
    try:
        yield
    finally:
        internal_kv._internal_kv_get = original


def _process_of(node: Node) -> Popen[bytes]:
    (started,) = node.all_processes[ray_constants.PROCESS_TYPE_DASHBOARD]
    return cast("Popen[bytes]", started.process)


def _await_address(
    node: Node, process: Popen[bytes], ready: Callable[[str], None], failed: Callable[[str], object]
) -> None:
    store = node.get_gcs_client()
    limit = time.monotonic() + START_S
    while time.monotonic() < limit and worker._global_node is node:
        try:
            address = _address(store)
        except Exception:  # Ray has ended; its client raises errors of its own
            return
        if address:
            node._webui_url = address
            ready(f"http://{address}")
            return
        if (status := process.poll()) is not None:
            failed(f"Ray's dashboard ended with status {status}: see dashboard.log in {node.get_logs_dir_path()}")
            return
        time.sleep(LOOK_S)
    if worker._global_node is node:
        failed(f"Ray's dashboard has no address after {START_S:g} s: see dashboard.log in {node.get_logs_dir_path()}")


def _address(store: Any) -> str:
    """Return the dashboard's `host:port`, and write it where other processes look it up; empty if not up yet."""
    space = ray_constants.KV_NAMESPACE_DASHBOARD
    found = store.internal_kv_get(ray_constants.DASHBOARD_ADDRESS.encode(), space)
    if found:
        store.internal_kv_put(WEB_ADDRESS, found, True, space)
    return found.decode() if found else ""
