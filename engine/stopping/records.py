"""What a training needs to probe its model and to stop: plain data of a trial's task and of a training job."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.engine.stopping.settings import Rung


class _Facts(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


class EndedTrial(_Facts):
    """A trial that ran to its end, as `rule.Ended`: provisional (UE, UT) at each rung, and its point."""

    rungs: tuple[tuple[float, float], ...]
    end: tuple[float, float, float] | None


class StopFacts(_Facts):
    """What one decision knows of the sweep.

    Attributes:
        sure: As in `StopTrainings`.
        learn_from: As in `StopTrainings`.
        ended: The trials to learn from, each with all rungs.
        front: (UE, UT, Rob) of the non-dominated trials.
        attacked: Whether the sweep has attacks.
    """

    sure: float
    learn_from: int
    ended: tuple[EndedTrial, ...]
    front: tuple[tuple[float, float, float], ...]
    attacked: bool


class Probing(_Facts):
    """The probes of one training.

    Attributes:
        rungs: Shares of its steps.
        rows: Rows of each of the two splits.
        facts: By which it stops; None: it is probed and runs to its end.
        finish_anyway: It runs to its end although it would stop, to measure what stopping costs.
    """

    rungs: tuple[Rung, ...]
    rows: Annotated[int, Field(ge=1)]
    facts: StopFacts | None = None
    finish_anyway: bool = False
