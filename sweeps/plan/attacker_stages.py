"""Show a searched attacker as what it is in the file: one attack with several settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlearn_sweep.sweeps.plan.stages import StagePlan


def by_attacker(stages: Sequence[StagePlan], attackers: Mapping[str, str]) -> tuple[StagePlan, ...]:
    """Return the stages with all settings of a searched attacker as one, in the place of its first setting.

    Its seconds are those of all settings together (None if one is unknown), its states their sum. `attackers` has the
    label of the searched attacker by that of each setting.
    """
    members: dict[str, list[StagePlan]] = {}
    for stage in stages:
        members.setdefault(_shown(stage.name, attackers), []).append(stage)
    # Stages of one name, such as `unlearn` of each method, stay apart: only settings of an attacker are one.
    names = {_shown(stage.name, attackers) for stage in stages if stage.name != _shown(stage.name, attackers)}
    found: list[StagePlan] = []
    for stage in stages:
        name = _shown(stage.name, attackers)
        if name not in names:
            found.append(stage)
        elif members[name][0] is stage:
            found.append(_together(name, members[name]))
    return tuple(found)


def _together(name: str, settings: Sequence[StagePlan]) -> StagePlan:
    seconds = [setting.seconds for setting in settings]
    known = [value for value in seconds if value is not None]
    cached = {setting.cached for setting in settings}
    return replace(
        settings[0],
        name=name,
        settings=len(settings),
        seconds=sum(known) if len(known) == len(seconds) else None,
        source="; ".join(dict.fromkeys(setting.source for setting in settings)),
        cached=cached.pop() if len(cached) == 1 else None if None in cached else False,
        states=sum(setting.states for setting in settings),
    )


def _shown(stage: str, attackers: Mapping[str, str]) -> str:
    """Return the name of a stage, with the searched attacker in place of its setting."""
    before, mark, label = stage.partition("attack:")
    return f"{before}{mark}{attackers[label]}" if mark and label in attackers else stage
