"""Which method gets the next trial under `allocation: free`: a bandit on whose trials entered the front.

Thompson sampling: each method's chance to enter the front is drawn from a Beta distribution of its trials so far, those
that entered against those that did not, and the method with the highest draw is next. Older trials count less, since a
front that has grown is harder to enter. Every method gets its share of the random trials first, and each tenth trial
goes to the method with the fewest: a method is given up for no bad start.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

HALF_LIFE = 10
"""Trials of a method after which an older one counts half."""
LEAST_EVERY = 10


def method_by_front(methods: Sequence[str], trials: Sequence[FrozenTrial], *, seed: int, startup: int) -> str:
    """Return the method of the next trial.

    Args:
        methods: all methods, in the order of the sweep file.
        trials: all trials so far, by number. Objectives are maximised.
        seed: seed of the draw.
        startup: trials that each method gets before any is preferred, the one with the fewest first.
    """
    counts = {method: sum(_of(trial, method) for trial in trials) for method in methods}
    least = min(methods, key=lambda method: counts[method])
    if counts[least] < startup or len(trials) % LEAST_EVERY == LEAST_EVERY - 1:
        return least
    entered = entries(trials)
    draw = random.Random(seed)
    return max(methods, key=lambda method: _drawn(method, trials, entered, draw))


def entries(trials: Sequence[FrozenTrial]) -> dict[int, bool]:
    """Return, for each finished trial by number, whether no trial before it was as good in all objectives."""
    front: list[Sequence[float]] = []
    found = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.values is not None:
            point = trial.values
            feasible = all(value <= 0 for value in trial.constraints.values())
            beaten = any(all(mine <= other for mine, other in zip(point, known, strict=True)) for known in front)
            found[trial.number] = feasible and not beaten
            if found[trial.number]:
                front.append(point)
        elif trial.state.is_finished():
            found[trial.number] = False
    return found


def _drawn(method: str, trials: Sequence[FrozenTrial], entered: dict[int, bool], draw: random.Random) -> float:
    own = [entered[trial.number] for trial in trials if _of(trial, method) and trial.number in entered]
    weights = [0.5 ** ((len(own) - 1 - place) / HALF_LIFE) for place in range(len(own))]
    won = sum(weight for weight, success in zip(weights, own, strict=True) if success)
    return draw.betavariate(1 + won, 1 + sum(weights) - won)


def _of(trial: FrozenTrial, method: str) -> bool:
    return trial.params.get("method") == method
