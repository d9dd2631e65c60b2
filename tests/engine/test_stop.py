"""Oracle: the statuses a shell gives, and what a process of its own prints."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from unlearn_sweep.engine.stages.spread import spread
from unlearn_sweep.engine.stop import StopSignal, handlers_kept, reason_of_stop, stop_signals


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_ends_the_block_with_its_status(number: signal.Signals, status: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(StopSignal) as caught, stop_signals():
        signal.raise_signal(number)
    assert caught.value.status == status
    assert reason_of_stop(caught.value) == f"stopped by {number.name}"
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_that_a_library_puts_in_place_goes_again() -> None:
    with stop_signals():
        with handlers_kept():
            signal.signal(signal.SIGTERM, lambda *_: None)
        with pytest.raises(StopSignal):
            signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_does_not_cut_off_the_last_words() -> None:
    code = (
        "import signal\n"
        "from unlearn_sweep.engine import stop\n"
        "try:\n"
        "    with stop.stop_signals():\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt as error:\n"
        "    with stop.stops_ignored():\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        print('last words', flush=True)\n"
        "    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "    raise SystemExit(error.status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "last words\n", "")


def test_a_second_signal_later_ends_the_process_at_once() -> None:
    code = (
        "import signal, time\n"
        "from unlearn_sweep.engine import stop\n"
        "stop.ONE_PRESS_S = 0.1\n"
        "try:\n"
        "    with stop.stop_signals():\n"
        "        try:\n"
        "            signal.raise_signal(signal.SIGTERM)\n"
        "        finally:\n"
        "            signal.raise_signal(signal.SIGTERM)\n"
        "            print('one', flush=True)\n"
        "            time.sleep(0.2)\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "finally:\n"
        "    print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (130, "one\n")


def test_an_interruption_does_not_wait_for_what_runs_and_begins_nothing_more() -> None:
    begun: list[int] = []
    release = threading.Event()

    def work(item: int, hand: str) -> int:
        begun.append(item)
        release.wait(30)
        return item

    started = time.monotonic()
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM))
    timer.start()
    with pytest.raises(StopSignal), stop_signals():
        spread(work, [0, 1, 2, 3], ["a", "b"])
    assert time.monotonic() - started < 5
    release.set()
    time.sleep(0.1)
    assert sorted(begun) == [0, 1]


def test_results_are_in_the_order_of_the_items_and_an_error_is_raised() -> None:
    assert spread(lambda item, hand: item * 2, list(range(20)), ["a", "b", "c"]) == [2 * item for item in range(20)]

    def fail(item: int, hand: str) -> int:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        spread(fail, [0, 1, 2], ["a"])
