"""Summarize a finalist over its seeds: mean and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import SeedScore

OBJECTIVES = ("ue", "ut", "rob")


class Seeded(Protocol):
    """A trial with the runs of its other seeds."""

    @property
    def seeds(self) -> list[SeedScore]: ...


class Spread(BaseModel):
    """One objective over `n` seeds. `deviation` is the sample standard deviation, None if `n` < 2."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")

    mean: float
    deviation: float | None
    n: int


class SeedSummary(BaseModel):
    """A finalist over all its seeds, including the trial's own.

    Attributes:
        runs: number of seeds.
        complete: number of complete runs. The spreads are over these.
        spreads: by objective, on the search half and (prefix `report_`) on the report half.
        lost: state and reason of each run that is not complete.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")

    runs: int
    complete: int
    spreads: dict[str, Spread]
    lost: list[str]


def seed_summary(trial: Seeded) -> SeedSummary | None:
    """Return mean and spread over the seeds of a trial, or None if it has only its own seed."""
    if not trial.seeds:
        return None
    runs: list[Any] = [trial, *trial.seeds]
    whole = [run for run in runs if run.state == "complete"]
    names = [f"{prefix}{name}" for prefix in ("", "report_") for name in OBJECTIVES]
    values = {name: [value for run in whole if (value := getattr(run, name)) is not None] for name in names}
    lost = [f"seed {run.seed} {run.state}: {run.reason or 'no reason recorded'}" for run in runs if run not in whole]
    return SeedSummary(
        runs=len(runs),
        complete=len(whole),
        spreads={name: spread(found) for name, found in values.items() if found},
        lost=lost,
    )


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation of one or more numbers."""
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    deviation = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None
    return Spread(mean=mean, deviation=deviation, n=len(values))
