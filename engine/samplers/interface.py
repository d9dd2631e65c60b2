"""What a sampler of a plugin implements: one point of one method's space for each ask. Imports no Optuna.

A sampler has no state. It is built anew for each ask and gets all it may use: the space, the trials so far and a seed.
A sweep can therefore be stopped at any time and continued with the same proposals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from unlearn_sweep.engine.search_space import MethodSpace, Scalar

TrialOutcome = Literal["complete", "collapsed", "failed", "running"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One trial of the method that was asked before.

    Attributes:
        number: number of the trial in the sweep.
        params: its searched parameters, by name.
        outcome: "collapsed" if the model broke, or its training was stopped, since the front would beat its end;
            "failed" if it has no result for another reason, or repeats an earlier trial; "running" if its result is not
            known yet.
        values: objectives in [0, 1], higher is better, by name ("ue", "ut", "rob"); empty unless complete.
        feasible: whether it meets the constraints of the search; False unless complete.
        errors: standard error over facts of each objective, by name; one that is unknown is left out.
        rob_is_bound: whether "rob" is an upper bound, because attacks were skipped: the trial is not on the front.
    """

    number: int
    params: Mapping[str, Scalar]
    outcome: TrialOutcome
    values: Mapping[str, float]
    feasible: bool
    errors: Mapping[str, float] = field(default_factory=dict)
    rob_is_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request for a point.

    Attributes:
        space: the method and its search space. `space.searched()` are the parameters to choose.
        trials: the method's earlier trials, by number.
        number: number of the trial to propose in the sweep.
        seed: the only randomness a sampler may use; another one for each ask.
    """

    space: MethodSpace
    trials: tuple[Tried, ...]
    number: int
    seed: int


class Sampler(Protocol):
    """Built as `cls(params)`, with the model that its card names in `params`."""

    def point(self, ask: Ask) -> Mapping[str, Scalar]:
        """Return a value for each searched parameter of the space, inside its range, and for nothing else."""
        ...
