"""What the models share that a sweep file and the engine have in common: their base, common types, broken rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Amount = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Base of the models that a sweep file and the engine share: strict, frozen, no unknown keys, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def rule(message: str, *, allowed: str | None = None, advice: str | None = None) -> PydanticCustomError:
    """A broken rule between two fields; a report on the file shows `allowed` and `advice` with it."""
    return PydanticCustomError("rule", "{message}", {"message": message, "allowed": allowed, "advice": advice})
