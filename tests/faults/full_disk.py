"""Runs a sweep on a disk of its own and fills that disk under it; then makes room and lets the sweep go on.

Started inside a mount namespace of its own, where the disk is a small tmpfs that vanishes with this process:

    unshare -rm python -m tests.faults.full_disk recorded|ray DISK OUT LINES

LINES: how many events the log has when the disk fills up. Prints one JSON object; OUT gets a copy of what is left.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import SweepRun, write_sweep
from tests.faults.conftest import LOCAL, LOCAL_TRIALS, RUN_S
from tests.faults.recorded_sweep import run

DISK_MIB = 96
BLOCK = bytes(1 << 16)


def main(kind: str, disk: Path, out: Path, lines: int) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(disk)], check=True)
    ended = {"recorded": _recorded, "ray": _over_ray}[kind](disk, lines)
    shutil.copytree(disk, out)
    print(json.dumps(ended))


def _recorded(disk: Path, lines: int) -> dict[str, Any]:
    first = multiprocessing.get_context("fork").Process(target=run, args=(str(disk),))
    first.start()
    _fill_behind(disk, lines, first.is_alive)
    first.join()
    left = _left(disk)
    (disk / "ballast").unlink()
    run(str(disk))
    return {"first": first.exitcode, **left}


def _over_ray(disk: Path, lines: int) -> dict[str, Any]:
    sweep: SweepRun = write_sweep(disk, "sweep", trials=LOCAL_TRIALS, training=LOCAL, at_once=2)
    process = sweep.start()
    _fill_behind(disk, lines, lambda: process.poll() is None)
    output, _ = process.communicate()
    left = _left(disk)
    (disk / "ballast").unlink()
    sweep.run(timeout_s=RUN_S)
    return {"first": process.returncode, "output": output, **left}


def _fill_behind(disk: Path, lines: int, running: Callable[[], bool]) -> None:
    """Take all the room there is once the log has so many lines."""
    log = disk / "sweep" / "events.jsonl"
    while running() and not (log.exists() and log.read_bytes().count(b"\n") >= lines):
        time.sleep(0.002)
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(BLOCK)
        except OSError:
            return


def _left(disk: Path) -> dict[str, Any]:
    """States of the trials that were settled before there was room again."""
    records = [json.loads(path.read_bytes()) for path in (disk / "sweep" / "trials").glob("*.json")]
    return {"states": [record["state"] for record in records]}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
