"""Where a start of a sweep happened: command, commit of the code, machine. For provenance; no stage key contains it."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.store.sealed import Record

TIMEOUT_S = 5.0


class Origin(Record):
    """One start of a sweep on the machine of its driver.

    Attributes:
        command: The command line, without secrets.
        commit: Git commit of this package's source, with "+changes" if tracked files differ from it; None if the
            package is not in a git repository or git is missing.
        host: Name of the machine.
        system: Operating system and Python version.
        cpu: Model of the CPU; None if unknown.
        cpus: Logical CPUs that the driver may use.
        memory_gib: Main memory in GiB.
        gpus: Name of every GPU that nvidia-smi lists; empty if there is none.
    """

    command: str
    commit: str | None
    host: str
    system: str
    cpu: str | None
    cpus: int
    memory_gib: float
    gpus: list[str]


def this_origin() -> Origin:
    """Return the origin of a start by this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Origin(
        command=redact(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        commit=commit_of(Path(__file__).resolve().parent),
        host=socket.gethostname(),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        cpu=_cpu_model(),
        cpus=allowed,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        gpus=_output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines(),
    )


def commit_of(folder: Path) -> str | None:
    """Return the commit checked out in the repository of `folder`, with "+changes" if tracked files there differ.

    None if `folder` is not tracked by a git repository, or if git is missing or does not answer.
    """
    git = ["git", "-C", str(folder)]
    if not _output([*git, "ls-files", "."]):  # an environment inside somebody else's repository is not its code
        return None
    commit = _output([*git, "rev-parse", "HEAD"])
    changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    return f"{commit}{'+changes' if changed else ''}" if commit else None


def _output(command: list[str]) -> str:
    """Return what a command prints; empty if it is missing, fails or takes longer than five seconds."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str | None:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor() or None
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == "model name"), None)
