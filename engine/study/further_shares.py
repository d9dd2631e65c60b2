"""Trials that measure further shares of a training: each follows the first trial of its training, under its own number.

The sampler proposes a training, measured at its end. The other shares are decided without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from unlearn_sweep.engine.search_space import CHECKPOINT, MethodSpace, Scalar, at_share

FOLLOWER = "follower"
"""User attribute of an ask that measures a further share of another trial's training."""

Shares = Callable[[Mapping[str, Scalar]], Sequence[float]]
"""The shares at which a training with these parameters is measured; none if the sweep names none."""


class Asked(Protocol):
    """A trial that was proposed."""

    @property
    def method(self) -> str: ...

    @property
    def params(self) -> Mapping[str, Scalar]: ...


def next_share(
    proposals: Iterable[Asked], spaces: Mapping[str, MethodSpace], shares: Shares
) -> dict[str, Scalar] | None:
    """Return the point of a proposed training that has a share to be measured yet; None if there is none."""
    known = list(proposals)
    asked = {_setting(proposal.method, proposal.params) for proposal in known}
    for proposal in known:
        for share in shares(proposal.params) if CHECKPOINT in proposal.params else ():
            params = at_share(proposal.params, share)
            if _setting(proposal.method, params) not in asked:
                point = {f"{proposal.method}.{name}": params[name] for name in spaces[proposal.method].searched()}
                return {"method": proposal.method, **point}
    return None


def from_the_end(point: dict[str, Scalar], spaces: Mapping[str, MethodSpace], *, given: bool) -> dict[str, Scalar]:
    """Return a point whose training is measured at its end; at the point's own share if it was `given` by a user."""
    space = spaces[str(point["method"])]
    if CHECKPOINT not in space.params:
        return point
    name = f"{space.method}.{CHECKPOINT}"
    return {name: 1.0, **point} if given else {**point, name: 1.0}


def at_measured_share(params: dict[str, Scalar], shares: Shares) -> dict[str, Scalar]:
    """Return the parameters with the end of the training in place of a share that is not measured."""
    if CHECKPOINT not in params or params[CHECKPOINT] in shares(params):
        return params
    return at_share(params, 1.0)


def _setting(method: str, params: Mapping[str, Scalar]) -> tuple[str, frozenset[tuple[str, Scalar]]]:
    return method, frozenset(params.items())
