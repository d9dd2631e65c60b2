"""The package as a stranger gets it: source archive, wheel and an installation, all made in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("engine", "evaluators", "methods", "sweeps")


def tracked_files() -> list[str]:
    """Every file of the project that git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in listed if (ROOT / name).exists())


def copy_of_the_project(target: Path) -> Path:
    """What a clone holds, links included; so building leaves nothing in the real folder."""
    for name in tracked_files():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            place.symlink_to(os.readlink(ROOT / name))
        else:
            place.write_bytes((ROOT / name).read_bytes())
    return target


def run_backend(project: Path, hook: str, out: Path) -> Path:
    """Call one hook of the build backend in the project's folder; returns what it made."""
    out.mkdir(parents=True, exist_ok=True)
    code = f"import setuptools.build_meta as backend, sys; print('MADE', backend.{hook}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out / next(line for line in done.stdout.splitlines() if line.startswith("MADE ")).removeprefix("MADE ")


def unpacked(archive: Path, target: Path) -> Path:
    """The one folder inside a source archive."""
    with tarfile.open(archive) as file:
        file.extractall(target, filter="data")
    (folder,) = target.iterdir()
    return folder


def installed(wheel: Path, target: Path) -> Path:
    """A wheel installed into a folder of its own, without its dependencies."""
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return target


def environment_of(target: Path) -> Mapping[str, str]:
    """An environment in which `unlearn_sweep` is the installation in `target` and nothing of this checkout."""
    return {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
