"""Ray: started or joined, and left as found. What a private Ray listens on is on the loopback interface."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_sweep.engine.on_ray.head_failure import kill_own_processes, watch_head
from unlearn_sweep.engine.on_ray.heartbeat import HeadWatch
from unlearn_sweep.engine.stop import handlers_kept

NAMESPACE = "unlearn-sweep"
DRIVER_RESOURCE = "trial_driver"
DRIVERS = 10_000
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch for a machine by itself, named after where that is the default: at 0, no port is open to others."""
NEVER_START_BY_ITSELF = "RAY_ENABLE_AUTO_CONNECT"
"""At 0, a call to Ray after its end raises. It would start another Ray, with everything at its defaults."""
SETTINGS = {
    # No process of Ray's, its dashboard's included, has the folder it is started in on its `sys.path`.
    "PYTHONSAFEPATH": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # Tune's own result files would only repeat what our records hold
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # How long training workers may wait for their places; tried four times. A lost machine takes its time to come back.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "900",
}
"""What Ray reads from the environment, on every machine of the cluster; what a person has set stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What a sweep runs on: resources in all and of each machine, and where to look at it."""

    resources: dict[str, float]
    nodes: tuple[dict[str, float], ...]
    dashboard_url: str | None
    joined: bool


@contextlib.contextmanager
def cluster(
    *, address: str | None, environment: Mapping[str, str], object_store_gib: float = 0.5
) -> Iterator[ClusterView]:
    """A Ray session: the cluster at `address`, or a private one on this machine that ends with the block.

    `environment` reaches every worker. The dashboard is always on: without its State API a stopped trial keeps the
    placement group of its training workers. For the main thread; HeadLostError interrupts it where the head service or
    the own raylet is gone, and Ray is then dropped and not left.
    """
    settings = {name: os.environ.get(name, value) for name, value in SETTINGS.items()} | dict(environment)
    own = {LOOPBACK_ONLY: os.environ.get(LOOPBACK_ONLY, "0")} if address is None else {}
    own |= {NEVER_START_BY_ITSELF: "0"}
    with _in_environment(settings | own):  # before Ray is imported, which reads some of them then
        with handlers_kept():
            view, head = _start_or_join(address, settings, object_store_gib)
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
    address: str | None, settings: dict[str, str], object_store_gib: float
) -> tuple[ClusterView, HeadWatch]:
    import ray

    from unlearn_sweep.engine.on_ray.search_path import InstalledPackagesOnly

    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "job_config": InstalledPackagesOnly(),
    }
    if address is None:
        context = ray.init(
            address="local",  # also where the environment names a cluster
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            # Trial drivers take this and no CPU: two workers on two cores must not lack the last hundredth of one.
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
    """Disconnect. Where the head is lost, or a signal stops the sweep, Ray's processes are killed instead.

    Threads may still wait for Ray then, and its core ends a process in which one calls it while it disconnects. On a
    joined cluster there is nothing below this process to kill: Ray ends what the driver had when the driver is gone.
    """
    import ray

    if head.lost or stopped:
        kill_own_processes()
        return
    with garbage_kept():
        ray.shutdown()


@contextlib.contextmanager
def _in_environment(values: Mapping[str, str]) -> Iterator[None]:
    """With these in the environment of this process and of those it starts; afterwards it is as it was."""
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
    """Let no thread collect garbage meanwhile, of which there is none at first.

    Any thread's collection may free a handle of Ray's, which then calls Ray's worker; in the instant in which that is
    gone and Python does not know yet, Ray ends the whole process for it, with status 1.
    """
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _own_raylet() -> str:
    """Where the raylet of the driver's own machine listens."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    (node,) = (node for node in ray.nodes() if node["NodeID"] == own)
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def _amounts(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: float(amount) for name, amount in resources.items()}
