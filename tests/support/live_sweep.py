"""A sweep that runs on a terminal of its own, with a token and a Ray of its own, as a person starts it."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PRINTED = re.compile(r"Ray dashboard: (http://[\d.:]+)\s+paste this where it asks for a token: ([0-9a-f]+)")
STARTING_S = 120
ENDING_S = 120


@dataclass(frozen=True)
class LiveSweep:
    """What a person sees of it: the dashboard's address and the token that the run printed, and where Ray writes."""

    process: subprocess.Popen[bytes]
    dashboard: str
    token: str
    ray: Path

    @property
    def prometheus_config(self) -> Path:
        """The configuration that Ray writes for Prometheus."""
        return self.ray / "session_latest/metrics/prometheus/prometheus.yml"


@contextmanager
def live_sweep(file: Path, storage: Path, **environment: str) -> Iterator[LiveSweep]:
    """Run a sweep file until the block ends; then stop it as Ctrl-C does.

    Ray's folder and the home folder, into which Ray writes a token, are new ones. Their paths are short: Ray's sockets
    are below them.
    """
    folder = Path(tempfile.mkdtemp(prefix="us-", dir="/tmp"))
    own = {"HOME": str(folder), "RAY_TMPDIR": str(folder), **environment}
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    command = [sys.executable, "-m", "unlearn_sweep.sweeps.cli", "run", str(file), "--storage", str(storage), "--plain"]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env=inherited | own, start_new_session=True)
    os.close(slave)
    printed: list[str] = []
    threading.Thread(target=_read, args=(master, printed), daemon=True).start()
    try:
        found = _printed(process, printed)
        yield LiveSweep(process=process, dashboard=found[1], token=found[2], ray=folder / "ray")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=ENDING_S)
        finally:
            process.kill()
            os.close(master)
            shutil.rmtree(folder, ignore_errors=True)


def _read(master: int, printed: list[str]) -> None:
    while True:
        try:
            text = os.read(master, 4096)
        except OSError:  # the program has closed its terminal
            return
        if not text:
            return
        printed.append(text.decode(errors="replace"))


def _printed(process: subprocess.Popen[bytes], printed: list[str]) -> re.Match[str]:
    for _ in range(STARTING_S * 10):
        if found := PRINTED.search("".join(printed)):
            return found
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"no dashboard was printed: {''.join(printed)}")
