"""Thin out the loss curve of a training for the report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.outcomes import TrainOutcome

POINTS = 40


class TrainingCurve(BaseModel):
    """Losses of one training over its optimizer steps.

    Attributes:
        steps: Steps of the points, ascending; at most 40, evenly spaced over the recorded ones, both ends included.
        terms: For each term of the loss one value per point, rounded to four significant digits; None if the value is
            not finite or not recorded at that step.
        conventions: What each term is a mean of. Terms of one name in different methods may be different quantities.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    steps: list[int]
    terms: dict[str, list[float | None]]
    conventions: dict[str, str]


def training_curve(outcome: TrainOutcome | None, points: int = POINTS) -> TrainingCurve | None:
    """Return the curve with at most `points` points (two or more); None if nothing was trained or recorded."""
    recorded = [] if outcome is None else [line for line in outcome.curve if line.get("step") is not None]
    if outcome is None or not recorded:
        return None
    last = len(recorded) - 1
    kept = [recorded[place] for place in sorted({round(last * share / (points - 1)) for share in range(points)})]
    names = dict.fromkeys(name for line in kept for name in line if name != "step")
    return TrainingCurve(
        steps=[int(line["step"] or 0) for line in kept],
        terms={name: [_rounded(line.get(name)) for line in kept] for name in names},
        conventions={name: outcome.conventions[name] for name in names if name in outcome.conventions},
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
