"""Cold start of commands that need no torch: `python bench/speed_start.py`. CPU seconds of a whole process.

The plain figure beside each is a process that imports what every command needs: typer, pydantic and yaml.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 7
COMMANDS = ("methods", "validate sweeps/quickstart.yaml", "plan sweeps/quickstart.yaml")
CODE = "import sys; sys.argv = ['unlearn-sweep', *sys.argv[1:]]; from unlearn_sweep.sweeps.cli import main; main()"


def main() -> None:
    root = Path(__file__).parent.parent
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}\n")
    print("| command | CPU s: median (min to max) |\n| --- | --- |")
    bare = ["-c", "import typer, pydantic, yaml"]
    for name, words in [("(imports alone)", bare), *((text, ["-c", CODE, *text.split()]) for text in COMMANDS)]:
        taken = sorted(cpu_seconds(words, root) for _ in range(ROUNDS + 1))[:-1]  # the first writes byte code
        print(f"| {name} | {statistics.median(taken):.2f} ({taken[0]:.2f} to {taken[-1]:.2f}) |", flush=True)


def cpu_seconds(words: list[str], root: Path) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
