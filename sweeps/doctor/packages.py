"""Check Python and the installed packages against this project's requirements. Reads metadata; imports nothing."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterable

from packaging.requirements import Requirement

from unlearn_sweep.sweeps.doctor.finding import Finding

DISTRIBUTION = "unlearn-sweep"
INSTALL = "pip install -c constraints.txt -e ."
PYTHON_LOW, PYTHON_HIGH = (3, 11), (3, 14)
DEEPSPEED_PYTHON_HIGH = (3, 13)


def check_python(version: tuple[int, int] | None = None) -> Finding:
    """Check the version of Python. DeepSpeed declares support up to 3.12, so 3.13 is a warning."""
    major, minor = version or (sys.version_info[0], sys.version_info[1])
    detail = f"{major}.{minor} at {sys.executable}"
    if not PYTHON_LOW <= (major, minor) < PYTHON_HIGH:
        return Finding(name="Python", status="fail", detail=detail, advice="use Python 3.11 or 3.12")
    if (major, minor) >= DEEPSPEED_PYTHON_HIGH:
        advice = "DeepSpeed declares 3.10 to 3.12: use 3.12 for `backend: deepspeed`"
        return Finding(name="Python", status="warn", detail=detail, advice=advice)
    return Finding(name="Python", status="ok", detail=detail)


def check_packages() -> list[Finding]:
    """Check every required package against its version range."""
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        detail = f"{DISTRIBUTION} itself is not installed"
        return [Finding(name="packages", status="fail", detail=detail, advice=INSTALL)]
    return [check_requirement(requirement) for requirement in required(declared)]


def required(declared: Iterable[str], extra: str = "") -> list[Requirement]:
    """Return the requirements that apply here: those without an extra, or only those that `extra` adds."""
    parsed = [Requirement(text) for text in declared]
    if not extra:
        return [item for item in parsed if item.marker is None or item.marker.evaluate({"extra": ""})]
    return [item for item in parsed if item.marker is not None and _added_by(item, extra)]


def _added_by(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def check_requirement(requirement: Requirement) -> Finding:
    """Check that a package is installed, is in its version range and has the packages of its extras."""
    required = f"{requirement.name}{requirement.specifier}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=requirement.name, status="fail", detail=f"not installed, needs {required}", advice=INSTALL)
    if not requirement.specifier.contains(version, prereleases=True):
        detail = f"{version}, needs {required}"
        return Finding(name=requirement.name, status="fail", detail=detail, advice=INSTALL)
    missing = sorted({name for extra in requirement.extras for name in missing_of_extra(requirement.name, extra)})
    if missing:
        detail = f"{version}, without {', '.join(missing)}"
        advice = f"pip install '{requirement.name}[{','.join(sorted(requirement.extras))}]=={version}'"
        return Finding(name=requirement.name, status="fail", detail=detail, advice=advice)
    return Finding(name=requirement.name, status="ok", detail=version, group="packages")


def missing_of_extra(package: str, extra: str) -> list[str]:
    """Return the packages of `package[extra]` that are not installed.

    Ray's dashboard needs those of ray[default]. Without the State API of the dashboard, a stopped trial does not
    release the resources of its training workers.
    """
    needed = required(importlib.metadata.requires(package) or [], extra)
    return [item.name for item in needed if not _installed(item.name)]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
