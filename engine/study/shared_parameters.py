"""Parameters that methods share, such as learning rate and epochs: what the trials of all methods say about them.

A method's first trials say little about where its good settings lie. Where other methods search a parameter of the same
name over the same dimension, their trials say something about it too. TPE's ratio of two densities, those of the good
quarter of trials and of the others, is taken over the shared parameters of all these trials, and added to the method's
own with a weight that fades as the method gets trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import logsumexp, ndtr

from unlearn_sweep.engine.samplers.unit_interval import share_of
from unlearn_sweep.engine.search_space import Choice, Dimension, MethodSpace, end_values
from unlearn_sweep.engine.study.sampling import distribution_of

FADES = 4
"""Trials of a method after which what others say counts half."""
GOOD_SHARE, GOOD_AT_MOST = 0.25, 25
WIDTH = 0.2
"""Standard deviation of the kernel of a single trial on [0, 1]; it shrinks with the number of trials (Scott's rule)."""
STAYS = 0.8
"""Probability that the kernel of a trial puts on its own word of a choice; the rest is spread over all words."""


@dataclass(frozen=True, slots=True)
class SharedRatio:
    """Densities over the shared parameters of a method, from good and other trials of all methods that have them.

    Attributes:
        dimensions: The shared dimensions by their names in the study (`npo.learning_rate`).
        good, rest: Coordinates of the trials, [trials, dimensions]: a share of the range, or the index of a word.
        weight: Of the ratio, in (0, 1].
    """

    dimensions: Mapping[str, Dimension]
    good: np.ndarray
    rest: np.ndarray
    weight: float

    def log_ratio(self, samples: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the weighted log ratio of the two densities for Optuna's internal values of n candidates, [n]."""
        points = np.column_stack([_coordinates(one, samples[name]) for name, one in self.dimensions.items()])
        kinds = list(self.dimensions.values())
        return self.weight * (log_density(points, self.good, kinds) - log_density(points, self.rest, kinds))


class SharingTPE(TPESampler):
    """TPE that adds `shared` to what it maximises over its candidates, or maximises it `alone`."""

    def __init__(self, shared: SharedRatio | None, *, alone: bool, **options: Any) -> None:
        super().__init__(**options)
        self._shared, self._alone = shared, alone

    def _compute_acquisition_func(self, samples: dict[str, np.ndarray], mpe_below: Any, mpe_above: Any) -> np.ndarray:
        if self._shared is None:
            return super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        ratio = self._shared.log_ratio(samples)
        return ratio if self._alone else ratio + super()._compute_acquisition_func(samples, mpe_below, mpe_above)


def shared_ratio(
    space: MethodSpace, spaces: Mapping[str, MethodSpace], trials: Sequence[FrozenTrial], *, startup: int
) -> SharedRatio | None:
    """Return what all trials say about the parameters that this method shares; None if it shares none.

    Also None before `startup` trials are finished in all, and before one of them is of this method. Good trials have
    the highest product of their objectives, which are maximised and lie in [0, 1]; broken ones have none.
    """
    names = _shared_names(space, spaces)
    found: list[tuple[float, list[float]]] = []
    others = 0
    for trial in trials:
        other = spaces.get(str(trial.params.get("method")))
        if other is None or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            continue
        if all(other.params.get(name) == space.params[name] for name in names):
            found.append((_merit(trial), [_coordinate(space.params[name], trial, other, name) for name in names]))
            others += other.method != space.method
    own = sum(trial.params.get("method") == space.method and trial.state.is_finished() for trial in trials)
    if not names or not own or not others or sum(trial.state.is_finished() for trial in trials) < startup:
        return None
    found.sort(key=lambda one: one[0], reverse=True)
    points = np.array([point for _, point in found])
    good = min(math.ceil(GOOD_SHARE * len(found)), GOOD_AT_MOST)
    dimensions = {f"{space.method}.{name}": space.params[name] for name in names}
    return SharedRatio(dimensions, points[:good], points[good:], FADES / (FADES + own))


def log_density(points: np.ndarray, centers: np.ndarray, kinds: Sequence[Dimension]) -> np.ndarray:
    """Return the log of a Parzen density at `points` [n, d]: a kernel on each of `centers` [m, d] and a uniform one.

    Kernels on ranges are Gaussians cut to [0, 1]. The density of a choice is that of its words.
    """
    width = WIDTH * max(1, len(centers)) ** (-1 / (len(kinds) + 4))
    logs = np.zeros((len(points), len(centers) + 1))
    for place, kind in enumerate(kinds):
        at, center = points[:, place, None], centers[None, :, place]
        if isinstance(kind, Choice):
            words = len(kind.values)
            logs[:, :-1] += np.log(np.where(at == center, STAYS, 0.0) + (1 - STAYS) / words)
            logs[:, -1] -= math.log(words)
        else:
            inside = ndtr((1 - center) / width) - ndtr(-center / width)
            logs[:, :-1] -= ((at - center) / width) ** 2 / 2 + np.log(width * math.sqrt(2 * math.pi) * inside)
    return logsumexp(logs, axis=1) - math.log(len(centers) + 1)


def _shared_names(space: MethodSpace, spaces: Mapping[str, MethodSpace]) -> list[str]:
    """Return the searched parameters that another method searches over the same dimension."""
    others = [other for other in spaces.values() if other.method != space.method]
    return [
        name
        for name, dimension in space.searched().items()
        if any(other.params.get(name) == dimension for other in others)
    ]


def _merit(trial: FrozenTrial) -> float:
    return math.prod(trial.values) if trial.state is TrialState.COMPLETE else -1.0


def _coordinate(dimension: Dimension, trial: FrozenTrial, space: MethodSpace, name: str) -> float:
    value = trial.params[f"{space.method}.{name}"]
    return float(_coordinates(dimension, np.array([distribution_of(dimension).to_internal_repr(value)]))[0])


def _coordinates(dimension: Dimension, internal: np.ndarray) -> np.ndarray:
    """Return Optuna's internal values as coordinates: the index of a word, or a share of the range."""
    if isinstance(dimension, Choice):
        return internal
    low, high = (float(end) for end in end_values(dimension))
    external = distribution_of(dimension).to_external_repr
    return np.array([share_of(dimension, min(max(external(value), low), high)) for value in internal.tolist()])
