"""How much hypervolume a candidate adds to a front that is itself uncertain.

Two or three objectives in [0, 1], all maximised, above the reference point 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.evaluators.front import non_dominated

Array = NDArray[np.float64]


def expected_gains(front: Array, candidates: Array) -> Array:
    """Return the mean gain of each candidate [c] over joint draws: `front` [s, k, m] and `candidates` [s, c, m].

    Raises:
        ValueError: as for `gains`.
    """
    return np.mean([gains(points, values) for points, values in zip(front, candidates, strict=True)], axis=0)


def gains(front: Array, candidates: Array) -> Array:
    """Return the hypervolume [c] that each of `candidates` [c, m] alone adds to `front` [k, m].

    The cube is cut at the coordinates of the front. Above each cell of the first two objectives, the front covers the
    third up to one height, so that a gain is a sum over cells of base area times what is above that height.

    Raises:
        ValueError: not 1 to 3 objectives, or a value outside [0, 1].
    """
    if front.shape[1:] != candidates.shape[1:] or not 1 <= front.shape[1] <= 3:
        raise ValueError(f"shapes {front.shape} and {candidates.shape}: 1 to 3 objectives are possible")
    if not all(((values >= 0) & (values <= 1)).all() for values in (front, candidates)):
        raise ValueError("objectives must lie in [0, 1]")
    members = front[non_dominated(front.tolist())] if len(front) else front
    (x, y, z), new = _three(members).T, _three(candidates)
    edges_x, edges_y = (np.concatenate([[0.0], np.sort(axis), [1.0]]) for axis in (x, y))
    inside = (x >= edges_x[1:, None])[:, None, :] & (y >= edges_y[1:, None])[None, :, :]
    height = np.where(inside, z, 0.0).max(axis=2, initial=0.0)
    wide, deep = _overlap(edges_x, new[:, 0]), _overlap(edges_y, new[:, 1])
    above = np.clip(new[:, 2, None, None] - height, 0.0, None)
    return np.einsum("ci,cj,cij->c", wide, deep, above)


def _three(points: Array) -> Array:
    """Return points with missing objectives as 1, which changes no volume."""
    return np.hstack([points, np.ones((len(points), 3 - points.shape[1]))])


def _overlap(edges: Array, values: Array) -> Array:
    """Return how much of each interval between edges lies below each value: [c, intervals]."""
    return np.clip(values[:, None] - edges[:-1], 0.0, np.diff(edges))
