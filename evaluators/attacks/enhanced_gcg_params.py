"""Parameters of `enhanced_gcg`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork
from unlearn_sweep.evaluators.attacks.text_search_params import TextSearchParams


class EnhancedGcgParams(TextSearchParams):
    """GCG with terms on inner states, texts of changing length and a buffer."""

    place: Literal["prefix", "suffix"] = Field(
        default="prefix", description="whether the text stands before or behind every question"
    )
    text_tokens: int = Field(default=20, ge=1, description="tokens of the neutral text that the search starts from")
    min_tokens: int = Field(default=10, ge=1, description="no token is deleted from a text of this length")
    max_tokens: int = Field(default=120, ge=1, description="no token is inserted into a text of this length")
    warm_start: str | None = Field(
        default=None,
        min_length=1,
        description="a text to start from instead; models are then no longer compared fairly",
    )
    distance_weight: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="weight of the distance from the original under the text"
    )
    turn_weight: float = Field(
        default=10.0, ge=0, allow_inf_nan=False, description="weight of 1 - cosine to the original asked plainly"
    )
    fluency_weight: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="weight of the prompt's own mean loss, in nats a token"
    )
    repetition_weight: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of repeated tokens: sum over the prompt's tokens of (count - 1)^1.5, over its length",
    )
    distance: Literal["relative", "absolute"] = Field(
        default="relative", description="whether the distance is divided by the length of the original's states"
    )
    states: Literal["output", "input"] = Field(
        default="output", description="whether a layer's output is compared, or what it reads (as released)"
    )
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers whose states are compared, counted from 1; null: all"
    )
    search_width: int = Field(default=64, ge=1, description="candidates drawn a step, before doubles are dropped")
    top_k: int = Field(default=64, ge=1, description="tokens considered at each place, by gradient")
    buffer_size: int = Field(default=16, ge=1, description="best texts kept")

    @model_validator(mode="after")
    def _check_lengths(self) -> EnhancedGcgParams:
        if not self.min_tokens <= self.text_tokens <= self.max_tokens:
            raise ValueError(
                f"min_tokens <= text_tokens <= max_tokens must hold; got {self.min_tokens}, {self.text_tokens}, "
                f"{self.max_tokens}"
            )
        return self

    def work(self) -> AttackWork:
        return self.searched(width=self.search_width, models=2)
