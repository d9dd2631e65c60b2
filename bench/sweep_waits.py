"""Where the slots of a real sweep wait: `python bench/sweep_waits.py`, or with `--folder` of a sweep that has ended.

Runs `sweeps/quickstart.yaml` with so many trials in an empty folder. Each moment of each slot has one reason: a stage
works in it, or it waits for what its trial or the driver does. The share of moments in stages is the utilisation that
`status` and the report print (from the first event to the last); from process start to exit is printed beside it. CPU
seconds by kind of process tell work from waiting on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.estimate import utilisation
from unlearn_sweep.sweeps.report.timeline import Timeline

CODE = "import sys; sys.argv = ['unlearn-sweep', *sys.argv[1:]]; from unlearn_sweep.sweeps.cli import main; main()"
LOOK_S = 1.0
KINDS = {
    "workbenches": ("workbench", "ray::trial ", "ray::prepare"),
    "trial processes": ("ray::ImplicitFunc", "ray::unlearning_trial"),
    "dashboard": ("dashboard.py", "ray-dashboard", "ray.dashboard"),
    "other processes of Ray": ("ray::", "/ray/"),
}
"""Kinds of process by what their command line holds; the first that fits counts, and the rest is the driver."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="the folder of a sweep that has ended: read it and run nothing")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--slots", type=int, default=2, help="trials at once")
    options = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} cores, load before {load}\n")
    if options.folder is not None:
        print_waits(options.folder, options.slots)
        return
    with tempfile.TemporaryDirectory(prefix="waits-") as folder:
        seconds, cpu = run(Path(folder), options.trials, options.slots)
        within = print_waits(Path(folder, "quickstart"), options.slots)
    print(
        f"\nfrom process start to exit: {seconds:.1f} s, utilisation {100 * within / (seconds * options.slots):.1f} %"
    )
    shown = ", ".join(f"{kind} {value:.0f}" for kind, value in most(cpu))
    share = sum(cpu.values()) / seconds / options.slots
    print(f"CPU s: {shown}; of {options.slots} cores over that time: {100 * share:.0f} %")
    print("load after " + ", ".join(f"{value:.1f}" for value in os.getloadavg()))


def run(storage: Path, trials: int, slots: int) -> tuple[float, dict[str, float]]:
    """Run the sweep. Return its seconds, and the CPU seconds of its processes by kind, as last seen of each."""
    root = Path(__file__).parent.parent
    options = ["--trials", str(trials), "--max-concurrent", str(slots), "--storage", str(storage), "--plain"]
    words = [sys.executable, "-c", CODE, "run", "sweeps/quickstart.yaml", *options]
    began = time.perf_counter()
    process = subprocess.Popen(words, cwd=root, stdout=subprocess.DEVNULL)
    seen: dict[int, tuple[str, float]] = {}
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for one in (driver := psutil.Process(process.pid), *driver.children(recursive=True)):
                note_cpu(one, seen)
        time.sleep(LOOK_S)
    if process.returncode:
        raise SystemExit(f"the sweep ended with status {process.returncode}")
    cpu: dict[str, float] = defaultdict(float)
    for kind, seconds in seen.values():
        cpu[kind] += seconds
    return time.perf_counter() - began, cpu


def note_cpu(process: psutil.Process, seen: dict[int, tuple[str, float]]) -> None:
    with suppress(psutil.NoSuchProcess):
        times, line = process.cpu_times(), " ".join(process.cmdline())
        kind = next((kind for kind, marks in KINDS.items() if any(mark in line for mark in marks)), "driver")
        known = seen.get(process.pid)  # a workbench that stands idle has Ray's title for a moment
        kind = known[0] if known is not None and kind == "other processes of Ray" else kind
        seen[process.pid] = (kind, times.user + times.system)


def print_waits(folder: Path, slots: int) -> float:
    """Print what the slots of a sweep did. Return the slot seconds in stages."""
    events = list(EventLog(folder / "events.jsonl").read())
    timeline = Timeline.of(events)
    elapsed = events[-1].time - events[0].time
    found: dict[str, float] = defaultdict(float)
    for seconds, busy, reasons in moments(events):
        found["in stages"] += seconds * min(busy, slots)
        for reason in idle_reasons(reasons, slots - busy):
            found[reason] += seconds
    print(f"{elapsed:.1f} s in {slots} slots\n\n| slot seconds | s | share |\n| --- | --- | --- |")
    for reason, seconds in most(found):
        print(f"| {reason} | {seconds:.1f} | {100 * seconds / elapsed / slots:.1f} % |")
    share = utilisation(timeline, elapsed=elapsed, slots=slots)
    print(f"\nutilisation as `status` has it: {100 * (share or 0):.1f} %")
    return found["in stages"]


def most(amounts: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(amounts.items(), key=lambda item: -item[1])


def idle_reasons(open_trials: Sequence[str], idle: int) -> Iterator[str]:
    """Why each of the idle slots is idle: first what open trials do between stages, then what no trial is there for."""
    for place in range(max(0, idle)):
        yield open_trials[place] if place < len(open_trials) else open_trials[-1]


def moments(events: Sequence[Event]) -> Iterator[tuple[float, int, list[str]]]:
    """Between each two events: the seconds, how many stages run, and why slots without one are idle."""
    stages: set[tuple[int | None, str | None, str | None]] = set()
    last: dict[int, str] = {}
    phase, asked, wanted = "Ray starts", 0, int(events[0].data["trials"])
    for event, following in pairwise(events):
        place = (event.trial, event.stage, event.stage_key)
        if event.event == "stage_started":
            stages.add(place)
            phase = "the other slot prepares alone" if event.trial is None else phase
        elif event.event in ("stage_finished", "stage_failed", "stage_lost"):
            stages.discard(place)
        if event.event == "trial_asked":
            phase, asked = "no trial: the driver settles and asks", asked + 1
        if event.event == "trial_settled" and event.trial is not None:
            last.pop(event.trial, None)
        elif event.trial is not None:
            last[event.trial] = event.event
        busy_trials = {trial for trial, _, _ in stages}
        waiting = [f"a trial after {name}" for trial, name in last.items() if trial not in busy_trials]
        ended = asked >= wanted and not waiting
        rest = "the last trials end" if ended else phase
        yield following.time - event.time, len(stages), [*waiting, rest]


if __name__ == "__main__":
    main()
