"""Start a private Ray with what the first stage needs, and the rest once the first stage can work.

`ray.init` starts the autoscaler's monitor, a reader of logs and the dashboard before the raylet, on the cores that the
raylet's agents and the workers need, and waits seconds for the dashboard's address. Ray has no options to change this,
so its private functions are replaced while `ray.init` runs and called afterwards; `pyproject.toml` pins Ray's version.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from subprocess import Popen
from typing import Any, cast

from ray._private import ray_constants, worker
from ray._private.node import Node
from ray.experimental import internal_kv

NICENESS = 5
"""Added to the niceness of dashboard and monitor: they must not take a core from the trials."""
LOOK_S = 0.1
START_S = 120.0
"""How long the dashboard may take to start. On a busy machine it gets little CPU."""
REGISTERED_LOOK_S = 0.02
REGISTERED_S = 30.0
"""Ray's own limit for a raylet to register."""
WEB_ADDRESS = b"webui:url"


@contextlib.contextmanager
def only_needed_processes(meanwhile: Callable[[], None]) -> Iterator[None]:
    """Let `ray.init` start in the block the head service and the raylet with its agents, and nothing else.

    `meanwhile` is called while the raylet waits for its agents, which takes about a second.

    The log monitor is left out for good: it passes the output of workers to a driver that asks for it
    (`log_to_driver`). Ray looks once a second whether the raylet has registered; in the block it looks every 20 ms.
    """
    start_all = Node.start_ray_processes

    def no_dashboard(self: Node, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        self._webui_url = ""  # what Ray sets if it is told to start no dashboard

    def start_and_wait(self: Node) -> None:
        start_all(self)
        meanwhile()
        _await_registration(self)

    replaced = {
        "start_api_server": no_dashboard,
        "start_monitor": lambda self: None,
        "start_log_monitor": lambda self: None,
        "start_ray_processes": start_and_wait,
    }
    originals = {name: getattr(Node, name) for name in replaced}
    for name, function in replaced.items():
        setattr(Node, name, function)
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(Node, name, function)


def _await_registration(node: Node) -> None:
    """Return once the raylet has registered, or after `REGISTERED_S` seconds; Ray then says what is wrong."""
    (raylet,) = node.all_processes[ray_constants.PROCESS_TYPE_RAYLET]
    store: Any = node.get_gcs_client()
    limit = time.monotonic() + REGISTERED_S
    while time.monotonic() < limit and raylet.process.poll() is None:
        if store.get_all_node_info():  # a private Ray has one node
            return
        time.sleep(REGISTERED_LOOK_S)


def start_dashboard(
    ready: Callable[[str], None], failed: Callable[[str], object], *, hold: Callable[[], None] | None = None
) -> None:
    """Start dashboard and monitor of this process's private Ray and return at once. Call it in the main thread.

    A thread then calls `ready` with the dashboard's URL, or `failed` with the reason why there is none. It calls
    neither if Ray ends before. Both processes stand still until `hold`, which the thread calls first, returns. The main
    thread starts them because Linux kills them as soon as the thread that started them ends.
    """
    node = worker._global_node
    if node is None:
        raise RuntimeError("Ray is not running in this process")
    with _address_not_awaited():
        node.start_api_server(include_dashboard=True, raise_on_failure=True)
    node.start_monitor()
    kinds = (ray_constants.PROCESS_TYPE_DASHBOARD, ray_constants.PROCESS_TYPE_MONITOR)
    processes = [_process_of(node, kind) for kind in kinds]
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # it has ended already: the thread says so
            os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
            if hold is not None:
                process.send_signal(signal.SIGSTOP)

    def follow() -> None:
        if hold is not None:
            hold()
            for process in processes:
                process.send_signal(signal.SIGCONT)
        _await_address(node, processes[0], ready, failed)

    threading.Thread(target=follow, name="ray-dashboard", daemon=True).start()


@contextlib.contextmanager
def _address_not_awaited() -> Iterator[None]:
    """Let Ray's function return as soon as it has started the process: it polls for the address in Ray's store."""
    original = internal_kv._internal_kv_get
    internal_kv._internal_kv_get = lambda *place, **options: b""
    try:
        yield
    finally:
        internal_kv._internal_kv_get = original


def _process_of(node: Node, kind: str) -> Popen[bytes]:
    (started,) = node.all_processes[kind]
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
