"""What listens while a sweep's own Ray runs. Oracle: the kernel's list of listening sockets."""

from __future__ import annotations

import ipaddress
import subprocess
import sys

import pytest

LISTENING = """
import queue
import urllib.request
import psutil
from unlearn_sweep.engine.on_ray.cluster import cluster

with cluster(address=None, environment={"RAY_AUTH_MODE": "disabled"}) as view:
    from unlearn_sweep.engine.on_ray.late_dashboard import start_dashboard
    from unlearn_sweep.engine.on_ray.pool import Pool
    assert view.dashboard_url is None
    said = queue.Queue()
    start_dashboard(said.put, failed=said.put)
    pool = Pool(1, resources={"CPU": 1})
    import ray
    ray.get(pool._actors[0].served.remote())
    url = said.get(timeout=120)
    print("dashboard", urllib.request.urlopen(url).status)
    (dashboard,) = (one for one in psutil.Process().children() if "dashboard.py" in " ".join(one.cmdline()))
    family = [dashboard, *dashboard.children(recursive=True)]
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                print("listens", process.name(), connection.laddr.ip)
gone, alive = psutil.wait_procs(family, timeout=30)
print("left of the dashboard:", [process.pid for process in alive])
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_listens_beyond_this_machine() -> None:
    done = subprocess.run([sys.executable, "-c", LISTENING], capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("listens")]
    assert done.returncode == 0, done.stderr
    assert "dashboard 200" in done.stdout.splitlines()  # which starts after Ray, and ends with it
    assert "left of the dashboard: []" in done.stdout.splitlines()
    assert len(lines) >= 5, done.stdout  # GCS, raylet, dashboard, agents, workers
    addresses = [(name, ipaddress.ip_address(ip)) for *_, name, ip in lines]
    outside = [(name, str(ip)) for name, ip in addresses if not (getattr(ip, "ipv4_mapped", None) or ip).is_loopback]
    assert outside == []
