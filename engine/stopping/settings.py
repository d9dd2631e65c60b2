"""`search: {stop_trainings: ...}`: the option as a sweep file gives it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from unlearn_sweep.engine.settings import Count, Settings, rule

Rung = Annotated[float, Field(gt=0, lt=1)]


class StopTrainings(Settings):
    """Stop a training that the front would beat, judged by probes on its way (`engine.stopping.rule`)."""

    rungs: Annotated[tuple[Rung, ...], Field(strict=False, min_length=1, max_length=20)] = Field(
        default=(0.25, 0.5, 0.75), description="shares of a training at which its model is probed"
    )
    sure: float = Field(
        default=0.95, gt=0, le=1, description="share of its possible ends that must be beaten for a training to stop"
    )
    finish_anyway: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="share of the trainings that would stop and run to their ends, to measure what stopping costs",
    )
    learn_from: Count = Field(
        default=10, description="finished trials that show how probes and ends are related, before any training stops"
    )
    rows: Count = Field(default=24, description="forget rows, and as many retain rows, that a probe reads")

    @field_validator("rungs")
    @classmethod
    def _in_order(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        if list(rungs) != sorted(set(rungs)):
            raise rule("not shares in rising order", allowed="[0.25, 0.5, 0.75]: each once, all below 1")
        return rungs


def stopping_of(value: Any) -> Any:
    """The option as a mapping: `true` is all defaults, `false` and nothing are None."""
    if value is True:
        return {}
    return None if value is False else value
