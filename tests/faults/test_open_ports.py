"""What listens while a sweep's own Ray runs. Oracle: the kernel's list of listening sockets."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

import pytest

LISTENING = """
import psutil
from unlearn_sweep.engine.on_ray.cluster import cluster

with cluster(address=None, environment={"RAY_AUTH_MODE": "disabled"}) as view:
    from unlearn_sweep.engine.on_ray.pool import Pool
    pool = Pool(1, resources={"CPU": 1})
    import ray
    ray.get(pool._actors[0].served.remote())
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                print("listens", process.name(), connection.laddr.ip)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_listens_beyond_this_machine() -> None:
    done = subprocess.run([sys.executable, "-c", LISTENING], capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("listens")]
    assert done.returncode == 0, done.stderr
    assert len(lines) >= 5, done.stdout  # GCS, raylet, dashboard, agents, workers
    addresses = [(name, ipaddress.ip_address(ip)) for *_, name, ip in lines]
    outside = [(name, str(ip)) for name, ip in addresses if not (getattr(ip, "ipv4_mapped", None) or ip).is_loopback]
    assert outside == []
