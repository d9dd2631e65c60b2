"""Cold start of commands that need no torch, and of `run`: `python bench/speed_start.py`.

Commands: CPU seconds of a whole process. The plain figure beside them is a process that imports what every command
needs: typer, pydantic and yaml.

`run`: seconds from the start of the process until each step, and CPU seconds of all its processes until the first
stage works. The quickstart is started in an empty storage and stopped once its dashboard is up. The first stage works
from the moment when its process, all libraries loaded, calls the function that makes the start model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROUNDS = 7
COMMANDS = ("methods", "validate sweeps/quickstart.yaml", "plan sweeps/quickstart.yaml")
CODE = "import sys; sys.argv = ['unlearn-sweep', *sys.argv[1:]]; from unlearn_sweep.sweeps.cli import main; main()"


HOOK = """
import builtins, os, time
load = builtins.__import__
def noted(name, globals=None, locals=None, fromlist=(), level=0):
    if name == "unlearn_sweep.engine.models.start_model" and "create_start_model" in (fromlist or ()):
        with open(os.environ["FIRST_WORK"], "a") as file:
            file.write(f"{time.time()}\\n")
    return load(name, globals, locals, fromlist, level)
builtins.__import__ = noted
"""
"""A `sitecustomize.py` for all processes of a run: notes when the first stage's work asks for its function."""
STEPS = ("file checked and planned", "Ray is up", "first stage begins", "first stage works", "dashboard is up")
STARTED_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("commands", "run"), help="one of the two tables")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is started")
    options = parser.parse_args()
    root = Path(__file__).parent.parent
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} of {os.cpu_count()} cores, Python {platform.python_version()}, load {load}\n")
    if options.only != "run":
        commands(root, options.rounds)
    if options.only != "commands":
        runs(root, options.rounds)


def commands(root: Path, rounds: int) -> None:
    print("| command | CPU s: median (min to max) |\n| --- | --- |")
    bare = ["-c", "import typer, pydantic, yaml"]
    for name, words in [("(imports alone)", bare), *((text, ["-c", CODE, *text.split()]) for text in COMMANDS)]:
        taken = sorted(cpu_seconds(words, root) for _ in range(rounds + 1))[:-1]  # the first writes byte code
        print(f"| {name} | {shown(taken)} |", flush=True)


def runs(root: Path, rounds: int) -> None:
    found = [one_run(root) for _ in range(rounds + 1)][1:]  # the first reads the libraries from disk
    print("\n| `run sweeps/quickstart.yaml` until | s: median (min to max) |\n| --- | --- |")
    for step in STEPS:
        print(f"| {step} | {shown([times[step] for times, _ in found])} |")
    print(f"| CPU s of all processes until the first stage works | {shown([cpu for _, cpu in found])} |", flush=True)


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def one_run(root: Path) -> tuple[dict[str, float], float]:
    """Start a sweep and stop it. Return the seconds until each step, and the CPU seconds until the first stage works.

    Raises:
        TimeoutError: a step was not reached within `STARTED_S` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        hooks, first = Path(folder, "hooks"), Path(folder, "first")
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(HOOK)
        paths = [str(hooks), str(root / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "FIRST_WORK": str(first)}
        words = ["-c", CODE, "run", "sweeps/quickstart.yaml", "--plain", "--storage", folder]
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, *words], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        lines: list[tuple[float, str]] = []
        threading.Thread(target=read_lines, args=(process, lines), daemon=True).start()
        try:
            cpu = cpu_until(first, process)
            dashboard = until(lambda: next((at for at, line in lines if "Ray dashboard: " in line), None), process)
            at = {**event_times(Path(folder, "quickstart")), STEPS[3]: float(first.read_text().split()[0])}
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=STARTED_S)
    return {step: time_of - began for step, time_of in {**at, STEPS[4]: dashboard}.items()}, cpu


def read_lines(process: subprocess.Popen[bytes], lines: list[tuple[float, str]]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append((time.time(), line.decode(errors="replace")))


def until(look: Callable[[], float | None], process: subprocess.Popen[bytes]) -> float:
    limit = time.monotonic() + STARTED_S
    while time.monotonic() < limit and process.poll() is None:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise TimeoutError("the sweep did not get so far")


def cpu_until(first: Path, process: subprocess.Popen[bytes]) -> float:
    """CPU seconds of the sweep's processes when the file appears; processes that have ended are not counted."""
    until(lambda: 0.0 if first.is_file() else None, process)
    driver = psutil.Process(process.pid)
    total = 0.0
    for one in [driver, *driver.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def event_times(directory: Path) -> dict[str, float]:
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    first = {
        STEPS[0]: lambda event: event["event"] == "sweep_started",
        STEPS[1]: lambda event: event.get("reason") == "Ray is up",
        STEPS[2]: lambda event: event["event"] == "stage_started",
    }
    return {step: next(event["time"] for event in events if is_it(event)) for step, is_it in first.items()}


def cpu_seconds(words: list[str], root: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
