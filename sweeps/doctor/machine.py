"""Checks of the machine: cores, memory, disk, shared memory, open files, compiler, Ray settings, MLflow database."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import sysconfig
import tempfile
from collections.abc import Mapping
from pathlib import Path

from unlearn_sweep.engine.on_ray.obstacles import LONGEST_PID, address_obstacle, folder_obstacle
from unlearn_sweep.engine.tracking.runs import default_tracking_uri, sqlite_file
from unlearn_sweep.sweeps.doctor.finding import Finding, Status
from unlearn_sweep.sweeps.machine import free_disk_bytes, this_machine

GIB = 2**30
# A small model with a few trials needs about 1 GiB, a sweep of a 1B-parameter model about 30 GiB.
DISK_FAIL_GIB, DISK_WARN_GIB = 1, 20
SHM_WARN_GIB = 1.0
MEMORY_FAIL_GIB, MEMORY_WARN_GIB = 2, 8
OPEN_FILES_WARN = 4096
# Ray stops writing objects if the used share of the file system is above this.
RAY_DISK_SHARE = 0.95
SQLITE_LOW = (3, 31, 0)
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_machine(storage: Path) -> list[Finding]:
    """Run all checks of the machine that need no library import."""
    return [
        check_cores(this_machine().cpus),
        check_memory(memory_gib()),
        check_disk(storage),
        check_temporary(Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())),
        check_socket_path(os.environ),
        check_ray_address(os.environ),
        check_shared_memory(Path("/dev/shm")),
        check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        check_compiler(),
        check_stale_builds(extensions_folder()),
        check_database(storage),
    ]


def check_cores(cores: int) -> Finding:
    advice = "a sweep runs one trial at a time here" if cores < 2 else None
    return Finding(name="cores", status="warn" if cores < 2 else "ok", detail=f"{cores} usable", advice=advice)


def memory_gib() -> float:
    """Return the memory (GiB) this process may use: the machine's, or the container limit if lower."""
    limits = [this_machine().memory_gib]
    for path in CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max", or no such file: no limit
            limits.append(int(path.read_text()) / GIB)
    return min(limits)


def check_memory(gib: float) -> Finding:
    detail = f"{gib:.1f} GiB usable"
    if gib < MEMORY_FAIL_GIB:
        advice = f"Ray, the driver and one trial need {MEMORY_FAIL_GIB} GiB"
        return Finding(name="memory", status="fail", detail=detail, advice=advice)
    if gib < MEMORY_WARN_GIB:
        return Finding(name="memory", status="warn", detail=detail, advice="set search.max_concurrent: 1")
    return Finding(name="memory", status="ok", detail=detail)


def check_disk(storage: Path) -> Finding:
    """Check that the storage folder is writable and has space for models and stages."""
    place = nearest_existing(storage)
    if not os.access(place, os.W_OK):
        advice = "give a folder you can write to: `storage:` in the sweep file"
        return Finding(name="storage", status="fail", detail=f"{place} is not writable", advice=advice)
    free = free_disk_bytes(storage.absolute()) / GIB
    status: Status = "fail" if free < DISK_FAIL_GIB else "warn" if free < DISK_WARN_GIB else "ok"
    advice = "free some space, or set `storage:` in the sweep file to a larger disk" if status != "ok" else None
    return Finding(name="storage", status=status, detail=f"{free:.0f} GiB free at {place}", advice=advice)


def nearest_existing(path: Path) -> Path:
    """Return the path itself, or its nearest parent that exists."""
    absolute = path.absolute()
    return next(parent for parent in (absolute, *absolute.parents) if parent.exists())


def check_temporary(folder: Path) -> Finding:
    """Check the space for Ray's session folder and for objects that Ray spills to disk."""
    usage = shutil.disk_usage(nearest_existing(folder))
    share, free = usage.used / usage.total, usage.free / GIB
    detail = f"{folder}: {free:.0f} GiB free, {share:.0%} full"
    if share > RAY_DISK_SHARE or free < 1:
        advice = "Ray stops writing there: free some space or set RAY_TMPDIR"
        return Finding(name="temporary files", status="warn", detail=detail, advice=advice)
    return Finding(name="temporary files", status="ok", detail=detail)


def check_socket_path(environment: Mapping[str, str]) -> Finding:
    """Check that Ray's temporary folder is short enough: socket paths have a maximum length."""
    obstacle = folder_obstacle(environment, pid=LONGEST_PID)
    if obstacle is None:
        return Finding(name="Ray's sockets", status="ok", detail="their paths are short enough")
    detail, _, advice = obstacle.partition(". ")
    return Finding(name="Ray's sockets", status="warn", detail=detail, advice=advice)


def check_ray_address(environment: Mapping[str, str]) -> Finding:
    """Check that the cluster at RAY_ADDRESS, which `run` joins, can be reached."""
    address = environment.get("RAY_ADDRESS")
    if not address:
        return Finding(name="Ray cluster", status="ok", detail="RAY_ADDRESS is not set: `run` starts a Ray of its own")
    dead = address_obstacle(address, environment, tries_s=0.0)
    if dead is None:
        return Finding(name="Ray cluster", status="ok", detail=f"RAY_ADDRESS: `run` joins {address}")
    advice = "start the cluster, or unset RAY_ADDRESS to run on this machine"
    return Finding(name="Ray cluster", status="warn", detail=f"RAY_ADDRESS: {dead}", advice=advice)


def check_shared_memory(folder: Path) -> Finding:
    """Check the space for Ray's object store, which uses the disk if shared memory is too small."""
    if not folder.is_dir():
        detail = f"no {folder}: Ray keeps its objects on disk"
        return Finding(name="shared memory", status="ok", detail=detail)
    free = shutil.disk_usage(folder).free / GIB
    if free < SHM_WARN_GIB:
        advice = "start the container with --shm-size=2g or more"
        detail = f"{free:.2f} GiB free at {folder}"
        return Finding(name="shared memory", status="warn", detail=detail, advice=advice)
    return Finding(name="shared memory", status="ok", detail=f"{free:.1f} GiB free")


def check_open_files(limit: int) -> Finding:
    detail = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit} for each process"
    if limit != resource.RLIM_INFINITY and limit < OPEN_FILES_WARN:
        return Finding(name="open files", status="warn", detail=detail, advice=f"ulimit -n {4 * OPEN_FILES_WARN}")
    return Finding(name="open files", status="ok", detail=detail)


def check_compiler() -> Finding:
    """Check for a C++ compiler and ninja: DeepSpeed compiles an operator on its first start on a CPU."""
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    # pip installs ninja in the scripts folder of the interpreter, which may not be on PATH.
    ninja = shutil.which("ninja") or shutil.which("ninja", path=sysconfig.get_path("scripts"))
    lacking = [name for name, found in (("a C++ compiler", compiler), ("ninja", ninja)) if not found]
    if lacking:
        advice = "install g++ and ninja, or keep `training: {backend: torch}`"
        detail = f"{' and '.join(lacking)} missing: `backend: deepspeed` cannot start"
        return Finding(name="compiler", status="warn", detail=detail, advice=advice)
    return Finding(name="compiler", status="ok", detail=f"{compiler}, {ninja}")


def extensions_folder() -> Path:
    """Return the folder of torch's compiled operators."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    return Path(given) if given else Path.home() / ".cache" / "torch_extensions"


def check_stale_builds(folder: Path) -> Finding:
    """Check for `lock` files of killed builds. The next start would wait for them forever."""
    locks = sorted(folder.glob("**/lock")) if folder.is_dir() else []
    if locks:
        names = ", ".join(str(lock.parent) for lock in locks)
        advice = f"if no build is running: rm {' '.join(str(lock) for lock in locks)}"
        return Finding(name="compiled operators", status="warn", detail=f"locked in {names}", advice=advice)
    return Finding(name="compiled operators", status="ok", detail=f"no build is under way in {folder}")


def check_database(storage: Path) -> Finding:
    """Check that MLflow's database in the storage folder is writable and not locked by another process."""
    path = sqlite_file(default_tracking_uri(storage))
    name = "MLflow database"
    if sqlite3.sqlite_version_info < SQLITE_LOW:
        advice = "set `tracking: {mlflow: off}` or a tracking server's address"
        return Finding(name=name, status="fail", detail=f"sqlite {sqlite3.sqlite_version} is too old", advice=advice)
    if path is None or not path.exists():
        return Finding(name=name, status="ok", detail=f"does not exist yet; created on first use at {path}")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as database:
            database.execute("begin immediate")
            database.rollback()
    except sqlite3.Error as error:
        advice = (
            "close the program that locks it, check the folder's permissions, or name another address under `tracking:`"
        )
        return Finding(name=name, status="warn", detail=f"{path}: {error}", advice=advice)
    return Finding(name=name, status="ok", detail=str(path))
