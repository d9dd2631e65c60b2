"""Parameters of `quantize`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork, WeightsParams, curve, work_without_training

Bits = Literal[2, 3, 4, 5, 6, 7, 8, 16]
Granularity = Literal["per_tensor", "per_channel", "group"]
ASSUMED_BLOCKS = 32
"""Blocks of a model of unknown depth: GPTQ reads its rows up to each of them."""


class QuantizeParams(WeightsParams):
    """Weight quantisation: round to nearest, or GPTQ."""

    bits: Bits | list[Bits] = Field(default=4, description="bits a weight; 16 leaves the weights as they are")
    scheme: Literal["rtn", "gptq"] = Field(
        default="rtn",
        description="rtn: each weight to the nearest code; gptq: later weights make up for what rounding the earlier "
        "ones changed, on calibration rows",
    )
    granularity: Granularity = Field(
        default="per_channel", description="which weights share a step: the matrix, an output row, or a group in a row"
    )
    group_size: int = Field(
        default=128, ge=1, description="inputs in a group, for granularity group; the last may be short"
    )
    include_lm_head: bool = Field(
        default=False, description="quantise the output head too, and so the input embedding where both are one matrix"
    )

    calibration: str = Field(default="retain", min_length=1, description="training view that gptq calibrates on")
    samples: int = Field(default=128, ge=1, description="rows of it, drawn by seed; fewer where it has fewer")
    backend: Literal["plain", "torchao", "bitsandbytes"] = Field(
        default="plain", description="whose rounding: our own, torchao's, or bitsandbytes' (nf4 and int8; needs a GPU)"
    )

    @model_validator(mode="after")
    def _check_bits(self) -> QuantizeParams:
        points = curve(self.bits, name="bits", falling=True)
        if self.backend == "bitsandbytes" and not set(points) <= {4, 8, 16}:
            raise ValueError(f"backend bitsandbytes knows 8 and 4 bits (16: unchanged); got {list(points)}")
        if self.backend == "bitsandbytes" and self.differs("granularity", "group_size"):
            raise ValueError("backend bitsandbytes has a granularity of its own; leave granularity and group_size out")
        if self.backend == "torchao" and self.granularity == "per_tensor":
            raise ValueError("backend torchao rounds per_channel or by group; got per_tensor")
        if self.scheme == "gptq" and self.backend != "plain":
            raise ValueError(f"scheme gptq has its own rounding (backend plain); got backend {self.backend}")
        if self.scheme == "rtn" and self.differs("calibration", "samples"):
            raise ValueError("scheme rtn reads no rows; leave calibration and samples out, or take scheme: gptq")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.bits, name="bits", falling=True)

    def work(self) -> AttackWork:
        rounded = sum(bits < 16 for bits in self.curve) if self.scheme == "gptq" else 0
        half_of_blocks = (ASSUMED_BLOCKS + 1) // 2  # a pass goes as far as the block that is rounded
        return work_without_training(states=len(self.curve), read_rows=rounded * self.samples * half_of_blocks)
