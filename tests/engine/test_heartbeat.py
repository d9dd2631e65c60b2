"""When a head service counts as gone, and who is told. Oracle: a server on the loopback, closed and opened again."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from unlearn_sweep.engine.on_ray import head_failure, heartbeat
from unlearn_sweep.engine.on_ray.heartbeat import HeadLostError, HeadWatch, Patience, Service, answers

SAID = "the head is gone"


@contextlib.contextmanager
def server(port: int = 0) -> Iterator[int]:
    """Something that listens and never replies, as a service too busy to."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def resorted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A watch in a hurry; what its last resort leaves."""
    monkeypatch.setattr(heartbeat, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(heartbeat, "INTERRUPT_EVERY_S", 0.05)
    return []


def watch(port: int, resorted: list[str], seconds: float = 0.5, *, beside: int | None = None) -> HeadWatch:
    """A watch of a head, and of another service that is asked before it."""
    services = [_service(port, seconds, SAID)]
    if beside is not None:
        services.insert(0, _service(beside, seconds, "the other is gone"))
    return HeadWatch(services, last_resort=resorted.append)


def _service(port: int, seconds: float, reason: str) -> Service:
    return Service(address=f"127.0.0.1:{port}", patience=Patience(looks=3, seconds=seconds), reason=reason)


def test_a_service_is_gone_after_enough_failed_looks_in_a_row_over_enough_time() -> None:
    patience = Patience(looks=3, seconds=8.0)
    looks = [(False, 0.0), (False, 9.0), (False, 9.5)]
    assert [patience.is_over(answered=answered, now=now) for answered, now in looks] == [False, False, True]
    patience = Patience(looks=3, seconds=8.0)
    assert [patience.is_over(answered=False, now=float(now)) for now in range(10)] == [False] * 8 + [True] * 2


def test_one_answer_in_between_begins_the_count_again() -> None:
    patience = Patience(looks=3, seconds=4.0)
    told = [patience.is_over(answered=now == 4, now=float(now)) for now in range(12)]
    assert told.index(True) == 9  # the first failed look of the second row is at 5


def test_a_look_sees_a_server_closed_and_opened_again() -> None:
    with server() as port:
        assert answers(f"127.0.0.1:{port}")
    assert not answers(f"127.0.0.1:{port}")
    with server(port):
        assert answers(f"127.0.0.1:{port}")
    assert not answers("a-host-that-is-not.invalid:6379")


def test_the_main_thread_is_interrupted_where_it_waits(resorted: list[str]) -> None:
    with contextlib.ExitStack() as listening:
        port = listening.enter_context(server())
        threading.Timer(0.3, listening.close).start()
        began = time.monotonic()
        with pytest.raises(HeadLostError, match=SAID), watch(port, resorted):
            threading.Event().wait(30)
        assert 0.7 < time.monotonic() - began < 10
    assert resorted == []


def test_each_service_has_a_patience_of_its_own(resorted: list[str]) -> None:
    with server() as other:
        with server() as port:
            pass
        with pytest.raises(HeadLostError, match=SAID), watch(port, resorted, beside=other):
            threading.Event().wait(30)
    with server() as port, pytest.raises(HeadLostError, match="the other"), watch(port, resorted, beside=other):
        threading.Event().wait(30)


def test_a_block_that_waits_for_its_threads_is_interrupted_there_too(resorted: list[str]) -> None:
    """As the preparation does: its threads wait for Ray, and leaving their pool waits for them."""
    release = threading.Event()
    pool = ThreadPoolExecutor(1)
    with server() as port:
        pass
    with pytest.raises(HeadLostError, match=SAID), watch(port, resorted), pool:
        pool.submit(release.wait, 30).result()
    release.set()
    assert resorted == []


def test_a_service_that_comes_back_in_time_is_not_missed(resorted: list[str]) -> None:
    with server() as port:
        pass
    with watch(port, resorted, seconds=2.0) as head:
        time.sleep(0.5)
        with server(port):
            time.sleep(2.5)
    assert not head.lost


def test_an_interrupt_by_a_person_stays_one(resorted: list[str]) -> None:
    with server() as port, pytest.raises(KeyboardInterrupt), watch(port, resorted):
        raise KeyboardInterrupt


def test_a_main_thread_that_does_not_leave_meets_the_last_resort(resorted: list[str]) -> None:
    with server() as port:
        pass
    with watch(port, resorted) as head:
        while not resorted:
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(0.01)
    assert head.lost
    assert resorted == [SAID]


def test_the_last_resort_says_what_to_do_and_ends_the_process() -> None:
    code = (
        "import contextlib, time\n"
        "from unlearn_sweep.engine.on_ray import head_failure, heartbeat\n"
        "heartbeat.LOOK_EVERY_S = heartbeat.INTERRUPT_EVERY_S = 0.05\n"
        "head_failure.JOINED_AWAY_S, head_failure.OWN_AWAY_S = 0.2, 60\n"
        "with head_failure.watch_head('127.0.0.1:1', '127.0.0.1:1', joined=True):\n"
        "    while True:\n"
        "        with contextlib.suppress(KeyboardInterrupt): time.sleep(0.01)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "head (127.0.0.1:1) is gone" in done.stderr
    assert "Make sure that it is up before the next run" in done.stderr
    assert head_failure.GO_ON in done.stderr


def test_only_programs_of_ray_are_killed() -> None:
    """A stand-in for one: a process with a path of Ray's package among its arguments, and a child of its own."""
    import ray

    nap = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    theirs = subprocess.Popen([sys.executable, "-c", f"{nap}time.sleep(60)", ray.__file__])
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        while not (below := psutil.Process(theirs.pid).children()):
            time.sleep(0.02)
        head_failure.kill_own_processes()
        assert theirs.wait(10) < 0
        psutil.wait_procs(below, timeout=10)
        assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in below)
        assert ours.poll() is None
    finally:
        ours.kill()
        ours.wait()
