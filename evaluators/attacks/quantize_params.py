"""Parameters of `quantize`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork, WeightsParams, curve, work_without_training

Bits = Literal[2, 3, 4, 5, 6, 7, 8, 16]


class QuantizeParams(WeightsParams):
    """Round-to-nearest weight quantisation."""

    bits: Bits | list[Bits] = Field(default=4, description="bits a weight; 16 leaves the weights as they are")
    granularity: Literal["per_tensor", "per_channel", "group"] = Field(
        default="per_channel", description="which weights share a step: the matrix, an output row, or a group in a row"
    )
    group_size: int = Field(
        default=128, ge=1, description="inputs in a group, for granularity group; the last may be short"
    )
    include_lm_head: bool = Field(
        default=False, description="quantise the output head too, and so the input embedding where both are one matrix"
    )

    backend: Literal["plain", "torchao", "bitsandbytes"] = Field(
        default="plain", description="whose rounding: our own, torchao's, or bitsandbytes' (nf4 and int8; needs a GPU)"
    )

    @model_validator(mode="after")
    def _check_bits(self) -> QuantizeParams:
        points = curve(self.bits, name="bits", falling=True)
        if self.backend == "bitsandbytes" and not set(points) <= {4, 8, 16}:
            raise ValueError(f"backend bitsandbytes knows 8 and 4 bits (16: unchanged); got {list(points)}")
        if self.backend == "bitsandbytes" and {"granularity", "group_size"} & self.model_fields_set:
            raise ValueError("backend bitsandbytes has a granularity of its own; leave granularity and group_size out")
        if self.backend == "torchao" and self.granularity == "per_tensor":
            raise ValueError("backend torchao rounds per_channel or by group; got per_tensor")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.bits, name="bits", falling=True)

    def work(self) -> AttackWork:
        return work_without_training(states=len(self.curve))
