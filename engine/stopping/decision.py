"""Apply the rule of `engine.stopping.rule` to the probes of one training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from unlearn_sweep.engine.stopping.records import StopFacts
from unlearn_sweep.engine.stopping.rule import Ended, Provisional, provisional, stops_at
from unlearn_sweep.engine.store.outcomes import ProbePoint


def stopping_rung(probes: Sequence[ProbePoint], facts: StopFacts, wanted: int) -> int | None:
    """Return the first of `wanted` rungs at which a training stops, or None. See `rule.stops_at`.

    `probes` begin with that of the original model, before the first step. Where a number is missing, or the original
    model does not know the answers, no training stops.
    """
    return stops_at(
        provisional_of(probes),
        [Ended(one.rungs, one.end) for one in facts.ended],
        facts.front,
        wanted=wanted,
        sure=facts.sure,
        learn_from=facts.learn_from,
        attacked=facts.attacked,
    )


def provisional_of(probes: Sequence[ProbePoint]) -> list[Provisional]:
    """Return provisional UE and UT at the rungs; only those before the first that has none."""
    found: list[Provisional] = []
    if not probes or probes[0].forget is None or probes[0].retain is None:
        return found
    known = probes[0].forget, probes[0].retain
    for probe in probes[1:]:
        if probe.forget is None or probe.retain is None:
            break
        now = provisional(probe.forget, probe.retain, known)
        if now is None:
            break
        found.append(now)
    return found


def are_probes_of(probes: Sequence[ProbePoint], rungs: Sequence[float], rows: int) -> bool:
    """Whether these are the first probes of a training that is probed at these rungs, of as many rows."""
    first = [0.0, *rungs][: len(probes)]
    return [probe.share for probe in probes] == first and all(probe.rows == rows for probe in probes)


def are_whole(probes: Sequence[ProbePoint], rungs: Sequence[float], rows: int) -> bool:
    """Whether a training has the probes of the original model and of all these rungs, of as many rows."""
    return len(probes) == len(rungs) + 1 and are_probes_of(probes, rungs, rows)


def runs_anyway(share: float, *, seed: int, number: int) -> bool:
    """Whether a trial that would stop runs to its end: drawn by the sweep's seed and the trial's number alone."""
    draw = hashlib.sha256(f"{seed}:finish anyway:{number}".encode()).digest()
    return int.from_bytes(draw[:8], "big") / 2**64 < share
