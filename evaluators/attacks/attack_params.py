"""What every attack's parameters have in common. No model library: `validate` reads the parameters of all attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Steps = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class AttackParams(BaseModel):
    """Base of all attack parameters: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @property
    def leaves_plain_model(self) -> bool:
        """Whether every state is an ordinary model asked by unchanged prompts, which can be saved and loaded again."""
        return False


class WeightsParams(AttackParams):
    """Base of the attacks that change a model's weights and nothing else."""

    @property
    def leaves_plain_model(self) -> bool:
        return True


def curve(value: int | Sequence[int], *, name: str, falling: bool = False) -> tuple[int, ...]:
    """The strengths of an attack from weak to strong: one number, or several that rise (or fall) strictly.

    Raises:
        ValueError: the list is empty, repeats a value or is out of order.
    """
    points = (value,) if isinstance(value, int) else tuple(value)
    ordered = tuple(sorted(set(points), reverse=falling))
    if not points or points != ordered:
        direction = "fall" if falling else "rise"
        raise ValueError(
            f"{name} must be non-empty and strictly {direction}, weak to strong; got {value}, try {list(ordered)}"
        )
    return points
