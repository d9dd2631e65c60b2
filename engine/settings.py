"""Base class, common types and error helper of the pydantic models shared by sweep files and the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Amount = Annotated[float, Field(ge=0)]
Resources = Literal["auto"] | dict[str, Amount]
"""Ray resources of one process by name, or `auto`."""


class Settings(BaseModel):
    """Base of the models shared by sweep files and the engine: strict, frozen, no unknown keys, finite numbers only."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def rule(message: str, *, allowed: str | None = None, advice: str | None = None) -> PydanticCustomError:
    """Create the error for a violated rule between fields. Error reports also show `allowed` and `advice`."""
    return PydanticCustomError("rule", "{message}", {"message": message, "allowed": allowed, "advice": advice})


def resources_of(given: Resources, capacity: Mapping[str, float], processes: int = 1) -> dict[str, float]:
    """Return the resources of a process, or of several that `given` stands for together.

    `auto` is, for each of them, one GPU and a CPU where `capacity` has GPUs, else one CPU.
    """
    if given != "auto":
        return dict(given)
    each = float(processes)
    return {"CPU": each, "GPU": each} if capacity.get("GPU", 0.0) >= 1 else {"CPU": each}
