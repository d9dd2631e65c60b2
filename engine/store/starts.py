"""The starts of a sweep, as recorded in `spec.lock.yaml`: time, package versions and code version of each.

    starts: [{date: ..., versions: {package: version}, code: <digest>, origin: {command: ..., commit: ..., ...}}]
                                          every start, oldest first, append-only
    code: {<digest>: {module: digest of its code}}                          each code version the sweep was started with

A start is not listed if it has nothing to run because every trial is settled.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from unlearn_sweep.engine.store.code import changed_modules, version_of
from unlearn_sweep.engine.store.origin import Origin, this_origin
from unlearn_sweep.engine.store.sealed import Record

PACKAGES = ("ray", "torch", "transformers", "deepspeed", "optuna", "mlflow", "pandas", "datasets", "unlearn-sweep")


class Start(Record):
    """One start: UTC time in ISO format, version of each package (None if not installed), digest of the code, origin.

    `origin` is None if an older version wrote the start.
    """

    date: str
    versions: dict[str, str | None]
    code: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """All starts of a sweep, oldest first. `code` maps the digest of a code version to the digest of each module."""

    all: tuple[Start, ...] = ()
    code: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def last(self) -> Start | None:
        return self.all[-1] if self.all else None

    def knows(self, code: Mapping[str, str]) -> bool:
        """Return whether the sweep was started with this code before."""
        return any(start.code == version_of(code) for start in self.all)

    def changed_since_last(self, code: Mapping[str, str]) -> list[str]:
        """Return the modules that differ from the last start; empty if that start's modules are not recorded."""
        before = self.code.get(self.last.code) if self.last is not None else None
        return [] if before is None else changed_modules(before, code)

    def with_one_more(self, code: Mapping[str, str]) -> Starts:
        """Return these starts plus one at the current time."""
        versions = {name: _version(name) for name in PACKAGES}
        version = version_of(code)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        start = Start(date=date, versions=versions, code=version, origin=this_origin())
        return Starts(all=(*self.all, start), code={**self.code, version: dict(code)})

    def for_lock_file(self) -> dict[str, Any]:
        return {
            "starts": [start.model_dump(mode="json") for start in self.all],
            "code": {version: dict(sorted(modules.items())) for version, modules in self.code.items()},
        }


def read_starts(lock: Mapping[str, Any]) -> Starts:
    """Read the starts from a parsed lock file; empty if it lists no starts.

    Raises:
        pydantic.ValidationError: `starts` or `code` does not have the expected structure.
    """
    starts = TypeAdapter(tuple[Start, ...]).validate_python(lock.get("starts") or ())
    code = TypeAdapter(dict[str, dict[str, str]]).validate_python(lock.get("code") or {})
    return Starts(all=starts, code=code)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
