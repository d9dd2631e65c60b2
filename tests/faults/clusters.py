"""A Ray cluster of several machines on one: a head and worker nodes, each a `ray start` with its processes below it.

Every node has ports of its own and the cluster a temporary folder of its own, so that it meets no other Ray of this
machine. A node dies as a machine does: all of its processes at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.faults.processes import below, kill, of_kind, wait_until

ADDRESS = "127.0.0.1"
START_S = 90.0
STARTS = 3
# A dead machine is noticed after two seconds here; Ray's own default is about fifteen.
NOTICED_SOON = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "4"}


class Node:
    """One machine: a `ray start --block` and everything below it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def has_started(self) -> bool:
        return "Ray runtime started" in self._log.read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        return below(self.process.pid)

    def kill(self) -> None:
        """The machine is gone: raylet, workers and all."""
        family = self.processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # at once, before any of them sees another one go
        for process in family:
            kill(process.pid)
        self.process.wait()


class LocalCluster:
    """A head without CPUs, so that work is on the worker nodes, and as many of those as are added."""

    def __init__(
        self, *, head_cpus: int = 0, head_memory_mib: int | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.environment = {"RAY_AUTH_MODE": "disabled", **(environment or {})}
        # Sockets lie in here, and their paths must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.port, self.dashboard_port = free_port(), free_port()
        self.nodes: list[Node] = []
        self.head = self._start(
            "--head",
            f"--port={self.port}",
            f"--num-cpus={head_cpus}",
            *([] if head_memory_mib is None else [f"--memory={head_memory_mib * 2**20}"]),
            "--include-dashboard=true",
            f"--dashboard-host={ADDRESS}",
            f"--dashboard-port={self.dashboard_port}",
            f"--temp-dir={self.folder}",
            f"--ray-client-server-port={free_port()}",
        )
        up = lambda: self.head.has_started() and _answers(self.dashboard_port)  # noqa: E731
        assert wait_until(up, START_S, 0.2), self.log()

    @property
    def address(self) -> str:
        return f"{ADDRESS}:{self.port}"

    @property
    def jobs_url(self) -> str:
        return f"http://{ADDRESS}:{self.dashboard_port}"

    def add_node(self, *, cpus: int, gpus: int = 0, resources: Mapping[str, float] | None = None) -> None:
        """A machine more, started. On a busy machine Ray gives up joining after some seconds: then once more."""
        for _ in range(STARTS):
            node = self._start(
                f"--address={self.address}",
                f"--num-cpus={cpus}",
                f"--num-gpus={gpus}",
                f"--resources={json.dumps(dict(resources or {}))}",
            )
            wait_until(lambda node=node: node.has_started() or node.process.poll() is not None, START_S, 0.2)
            if node.process.poll() is None:
                self.nodes.append(node)
                return
        raise AssertionError(self.log())

    def kill_node(self, node: Node) -> None:
        self.nodes.remove(node)
        node.kill()

    def wait_for_nodes(self, count: int) -> None:
        """Until so many machines are alive, the head among them."""
        assert wait_until(lambda: len(self._alive()) == count, START_S, 0.5), self.log()

    def actors(self) -> list[str]:
        """Class names of the actors that are alive or about to be."""
        from ray.util.state import list_actors

        found: list[Any] = list_actors(
            address=self.jobs_url, limit=10_000, raise_on_missing_output=False, filters=[("state", "!=", "DEAD")]
        )
        return sorted(str(actor.class_name) for actor in found)

    def placement_groups(self) -> list[str]:
        """States of the placement groups that have not been removed."""
        from ray.util.state import list_placement_groups

        found: list[Any] = list_placement_groups(address=self.jobs_url, limit=10_000, raise_on_missing_output=False)
        return [str(group.state) for group in found if group.state != "REMOVED"]

    def _alive(self) -> list[Any]:
        from ray.util.state import list_nodes

        return list(list_nodes(address=self.jobs_url, raise_on_missing_output=False, filters=[("state", "=", "ALIVE")]))

    def node_of(self, title: str) -> Node | None:
        """The worker node that has a process whose title begins so."""
        return next((node for node in self.nodes if self.processes_of(node, title)), None)

    def processes_of(self, node: Node, title: str) -> list[int]:
        """Ids of a node's processes whose title begins so."""
        return of_kind(node.process.pid, title)

    def close(self) -> None:
        for node in [*self.nodes, self.head]:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("node-*.log"))

    def _start(self, *arguments: str) -> Node:
        fixed = (
            f"--node-ip-address={ADDRESS}",
            "--object-store-memory=80000000",
            "--node-manager-port=0",
            "--object-manager-port=0",
            "--dashboard-agent-listen-port=0",
            "--dashboard-agent-grpc-port=0",
            "--metrics-export-port=0",
            "--disable-usage-stats",
            "--block",
        )
        path = self.folder / f"node-{free_port()}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *fixed],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | NOTICED_SOON | self.environment,
                start_new_session=True,
            )
        return Node(process, path)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((ADDRESS, port)) == 0
