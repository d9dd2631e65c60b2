"""Start a private Ray or join a cluster, and disconnect at the end. A private Ray listens on loopback only."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.on_ray.head_failure import kill_own_processes, watch_head
from unlearn_sweep.engine.on_ray.heartbeat import HeadWatch
from unlearn_sweep.engine.stop import handlers_kept

NAMESPACE = "unlearn-sweep"
DRIVER_RESOURCE = "trial_driver"
DRIVERS = 10_000
DRIVER_CPU = 0.01
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch for multi-node clusters, named after the systems where it is off by default. At 0, Ray opens no port to
other machines."""
NEVER_START_BY_ITSELF = "RAY_ENABLE_AUTO_CONNECT"
"""At 0, a call to Ray after shutdown raises. Otherwise it would start another Ray with default settings."""
SETTINGS = {
    # Keeps the working directory off the `sys.path` of all Ray processes, including the dashboard.
    "PYTHONSAFEPATH": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # Tune's own result files would only duplicate our records
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a process that asked for no GPU sees none
    # How long training workers may wait for placement; tried four times. Replacing a lost machine takes time.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
}
"""Environment variables for Ray on every machine of the cluster. Values that the user has set take precedence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The Ray cluster that a sweep runs on.

    Attributes:
        resources: Total amount of each resource.
        nodes: Amount of each resource, per live machine.
        dashboard_url: URL of a joined cluster's dashboard; None if it has none, and for a private Ray
            (`engine.on_ray.late_dashboard`).
        joined: Whether the cluster existed before, rather than being a private one.
    """

    resources: dict[str, float]
    nodes: tuple[dict[str, float], ...]
    dashboard_url: str | None
    joined: bool


@contextlib.contextmanager
def cluster(
    *,
    address: str | None,
    environment: Mapping[str, str],
    object_store_gib: float = 0.5,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[ClusterView]:
    """Join the Ray cluster at `address`, or start a private one on this machine that ends with the block.

    `environment` is set in every worker. A private Ray starts without its dashboard: call `start_dashboard` once work
    has begun. A sweep always does, since without its State API a stopped trial keeps the placement group of its
    training workers. `meanwhile` is called while a private Ray's processes start. Must be called in the main thread.

    Raises:
        HeadLostError: in the block, if the head service or the local raylet is gone. Ray's local processes are killed
            then, without disconnecting.
    """
    settings = {name: os.environ.get(name, value) for name, value in SETTINGS.items()} | dict(environment)
    own = {LOOPBACK_ONLY: os.environ.get(LOOPBACK_ONLY, "0")} if address is None else {}
    own |= {NEVER_START_BY_ITSELF: "0"}
    with _in_environment(settings | own):  # before Ray is imported, since it reads some of them at import
        with handlers_kept():
            view, head = _start_or_join(address, settings, object_store_gib, meanwhile)
        stopped = False
        try:
            with head:
                yield view
        except KeyboardInterrupt:
            stopped = True
            raise
        finally:
            _leave(head, stopped=stopped)


def _start_or_join(
    address: str | None, settings: dict[str, str], object_store_gib: float, meanwhile: Callable[[], None]
) -> tuple[ClusterView, HeadWatch]:
    import ray

    from unlearn_sweep.engine.on_ray.late_dashboard import only_needed_processes
    from unlearn_sweep.engine.on_ray.search_path import InstalledPackagesOnly

    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "job_config": InstalledPackagesOnly(),
    }
    if address is None:
        with only_needed_processes(meanwhile):
            context = ray.init(
                address="local",  # even if RAY_ADDRESS names a cluster
                dashboard_host="127.0.0.1",
                # Trial drivers use this resource and no CPU, so that two workers fit on two cores.
                resources={DRIVER_RESOURCE: DRIVERS},
                object_store_memory=int(object_store_gib * 2**30),
                **options,
            )
    else:
        context = ray.init(address=address, runtime_env={"env_vars": settings}, **options)
    view = ClusterView(
        resources=_amounts(ray.cluster_resources()),
        nodes=tuple(_amounts(node["Resources"]) for node in ray.nodes() if node["Alive"]),
        dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else None,
        joined=address is not None,
    )
    return view, watch_head(ray.get_runtime_context().gcs_address, _own_raylet(), joined=view.joined)


def _leave(head: HeadWatch, *, stopped: bool) -> None:
    """Disconnect from Ray. If the head is lost or a signal stops the sweep, kill Ray's processes instead.

    In these cases threads may still be waiting for Ray, and Ray's core ends a process in which a thread calls it during
    a disconnect. On a joined cluster this process has no Ray children to kill: Ray releases the driver's actors and
    tasks when the driver exits.
    """
    import ray

    if head.lost or stopped:
        kill_own_processes()
        return
    with garbage_kept():
        ray.shutdown()


@contextlib.contextmanager
def _in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for this process and its children; restore the previous values after the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def garbage_kept() -> Iterator[None]:
    """Collect garbage, then disable automatic collection for the block.

    A collection in any thread may free a Ray handle, which then calls Ray's worker. If the worker has just shut down
    and the Python side is not updated yet, Ray exits the whole process with status 1.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def driver_resources() -> dict[str, float]:
    """Return the resources of a trial's driver: a custom resource on a private cluster, 0.01 CPU on a shared one."""
    import ray

    return {DRIVER_RESOURCE: 1.0} if DRIVER_RESOURCE in ray.cluster_resources() else {"CPU": DRIVER_CPU}


def _own_raylet() -> str:
    """Return the `host:port` of the raylet on the driver's machine."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    (node,) = (node for node in ray.nodes() if node["NodeID"] == own)
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def _amounts(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: float(amount) for name, amount in resources.items()}
