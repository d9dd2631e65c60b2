"""Warm start: try the settings on another sweep's front as the first trials of this sweep.

The trials are trained, attacked and judged again, because the other sweep may use another model, other data or other
attacks. If these are the same and both sweeps share a storage folder, its finished stages are reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.search_space import MethodSpace, holds
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.snapshot import NotASweepError, read_snapshot
from unlearn_sweep.sweeps.file.paths import absolute
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import shown

PATH = ("search", "warm_start")


def first_settings(folder: Path, spaces: Sequence[MethodSpace]) -> list[Configuration]:
    """Return method and searched parameters of each front member that lies in the space.

    The settings are ordered by trial number, without repetitions. Parameters that this space does not search are left
    out: they take this space's values.
    """
    by_method = {space.method: space for space in spaces}
    found = []
    for record in _front(folder):
        setting = setting_in(record, by_method.get(record.method))
        if setting is not None and setting not in found:
            found.append(setting)
    return found


def check_warm_start(
    text: str | None, spaces: Sequence[MethodSpace], folder: Path, collector: ProblemCollector
) -> None:
    """Check that the folder is a sweep and that at least one trial on its front lies in this space."""
    if text is None or not collector.is_valid(PATH, ("methods",)):
        return
    place = absolute(text, folder)
    try:
        members = len(_front(place))
    except (NotASweepError, OSError) as error:
        collector.add(PATH, str(error), given=shown(text), allowed="the folder of a sweep: <storage>/<name>")
        return
    if not first_settings(place, spaces):
        message = (
            f"none of its {members} trials on the front is in this search space" if members else "it has no front yet"
        )
        collector.add(PATH, message, given=shown(text), advice="widen the ranges, or remove it")


def check_not_begun(text: str | None, sweep: Path, folder: Path, collector: ProblemCollector) -> None:
    """Reject a changed `warm_start` for a sweep that has started: its first settings are fixed, so it has no effect."""
    if text is None or not (sweep / "spec.lock.yaml").exists():
        return
    before = _begun_with(sweep / "spec.yaml")
    if before is not None and (before == text or absolute(before, folder) == absolute(text, folder)):
        return
    collector.add(
        PATH,
        f"{sweep} has already started, so its first settings are fixed",
        given=shown(text),
        allowed="none" if before is None else f"{shown(before)}, as at its first start",
        advice="give this sweep another name: in the same storage it reuses every finished stage",
    )


def _begun_with(spec: Path) -> str | None:
    """Return `search.warm_start` from the sweep's copy of its file; None if it is not set or cannot be read."""
    try:
        document = yaml.safe_load(spec.read_text())
    except (OSError, yaml.YAMLError):
        return None
    search = document.get("search") if isinstance(document, dict) else None
    found = search.get("warm_start") if isinstance(search, dict) else None
    return found if isinstance(found, str) else None


def _front(folder: Path) -> list[TrialRecord]:
    from unlearn_sweep.engine.study.front import members_of

    return sorted(members_of(read_snapshot(folder).records), key=lambda record: record.number)


def setting_in(record: TrialRecord, space: MethodSpace | None) -> Configuration | None:
    """Return a trial's method and searched parameters; None if they do not lie in `space`, or there is none."""
    if space is None:
        return None
    searched = space.searched()
    if not all(name in record.params and holds(searched[name], record.params[name]) for name in searched):
        return None
    return Configuration(method=record.method, params={name: record.params[name] for name in searched})
