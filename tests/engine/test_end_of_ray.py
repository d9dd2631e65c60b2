"""The end of a Ray session. Oracle: the process's own exit status and whether an object was freed."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from unlearn_sweep.engine.on_ray.cluster import LOOPBACK_ONLY, SETTINGS, cluster, garbage_kept

SESSIONS = 6
BUSY_THREAD = """
import gc, threading, time
from unlearn_sweep.engine.on_ray.cluster import cluster

def churn(worker, handles):
    while worker.connected:
        time.sleep(0)
    gc.set_threshold(5)
    while handles and hasattr(worker, "core_worker"):
        handles.pop()  # garbage with a handle of Ray's in it, and then some that makes the collector run
        for _ in range(30):
            cycle = []
            cycle.append(cycle)

with cluster(address=None, environment={}):
    import ray
    binary, handles = ray.put(1).binary(), []
    for _ in range(20_000):
        cycle = [ray.ObjectRef(binary)]
        cycle.append(cycle)
        handles.append(cycle)
    worker = ray._private.worker.global_worker
    threading.Thread(target=churn, args=(worker, handles), daemon=True).start()
print("alive")
"""


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_no_thread_collects_garbage_meanwhile() -> None:
    before, meanwhile = Cycle(), Cycle()
    old, new = weakref.ref(before), weakref.ref(meanwhile)
    del before

    def allocate() -> None:
        kept = [[Cycle()] for _ in range(5_000)]
        kept.clear()

    with garbage_kept():
        assert old() is None
        del meanwhile
        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()
        assert new() is not None
    assert gc.isenabled()


@pytest.mark.slow
def test_a_busy_thread_does_not_end_the_process_with_ray() -> None:
    """Without the rule 2 of 17 sessions ended with status 1 and nothing said, on two cores."""
    for _ in range(SESSIONS):
        done = subprocess.run([sys.executable, "-c", BUSY_THREAD], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr


@pytest.mark.slow
def test_the_environment_is_as_it_was_when_a_session_has_ended() -> None:
    """What is set for Ray would reach whatever the process starts later, a cluster of several machines for one."""
    names = (*SETTINGS, LOOPBACK_ONLY, "FOR_WORKERS")
    before = [os.environ.get(name) for name in names]
    with cluster(address=None, environment={"FOR_WORKERS": "1"}):
        assert os.environ["FOR_WORKERS"] == "1"
        assert os.environ[LOOPBACK_ONLY] == "0"
    assert [os.environ.get(name) for name in names] == before
