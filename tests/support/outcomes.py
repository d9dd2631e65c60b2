"""Outcomes of stages whose work is not done for real."""

from __future__ import annotations

from pydantic import BaseModel

from unlearn_sweep.engine.store.outcomes import (
    AttackOutcome,
    AttackState,
    MeasureOutcome,
    PeakMemory,
    StartOutcome,
    TrainOutcome,
)

OUTCOME = TrainOutcome(
    steps=1, planned_steps=1, epochs=1, seconds=0, reference_seconds=0, tokens=1, terms={}, curve=[],
    stopped_early=None, stop_reason=None, weights_finite=True, parameters=1, peak_memory_mib=0, world_size=1,
    backend="recorded", dtype="float32", global_batch_rows=1, mean_answer_tokens=1, conventions={},
)  # fmt: skip
"""The outcome of a training of one step."""

ANY_OUTCOME: dict[type[BaseModel], BaseModel] = {
    StartOutcome: StartOutcome(),
    TrainOutcome: OUTCOME,
}


def trained(**changes: object) -> TrainOutcome:
    """The outcome of a training; `changes` replace fields, and are checked like the others."""
    return TrainOutcome.model_validate(OUTCOME.model_dump(exclude_unset=True) | changes)


def measured(rows: int = 0, *, peak: PeakMemory | None = None) -> MeasureOutcome:
    """The outcome of measuring so many rows."""
    return MeasureOutcome(
        rows=rows, forward_passes=1, generated_tokens=0, dropped={}, judging={}, peak_memory=peak or PeakMemory()
    )


def attacked(*strengths: float, unit: str = "x") -> AttackOutcome:
    """The outcome of an attack with these strengths."""
    states = [AttackState(strength=strength, unit=unit, notes={}) for strength in strengths]
    return AttackOutcome(points=states, judging={}, peak_memory=PeakMemory())
