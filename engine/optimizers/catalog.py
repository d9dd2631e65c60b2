"""The optimizers that `training.optimizer` names, with source, memory and limits. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

OptimizerName = Literal["adamw", "lion", "sophia", "sign_sgd", "zeroth_order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerCard:
    """One optimizer.

    Attributes:
        name: As in the sweep file. Its settings are in the section of `training` of the same name; AdamW's are
            `betas` and `adam_epsilon`.
        summary: What a step does.
        paper: Source of the update.
        states: Float32 numbers that it keeps for each trained weight.
        gradients: Whether it needs gradients.
    """

    name: OptimizerName
    summary: str
    paper: str
    states: int
    gradients: bool = True


_CARDS = (
    OptimizerCard(
        name="adamw", summary="mean gradient over the root of its mean square", paper="arXiv 1711.05101", states=2
    ),
    OptimizerCard(name="lion", summary="sign of an interpolated momentum", paper="arXiv 2302.06675", states=1),
    OptimizerCard(
        name="sophia",
        summary="momentum over a diagonal Hessian, clipped",
        paper="arXiv 2305.14342; for unlearning SOUL, arXiv 2404.18239",
        states=2,
    ),
    OptimizerCard(name="sign_sgd", summary="sign of the gradient", paper="arXiv 1802.04434", states=1),
    OptimizerCard(
        name="zeroth_order",
        summary="loss differences along random directions, without gradients",
        paper="arXiv 2305.17333; for unlearning arXiv 2510.00761",
        states=0,
        gradients=False,
    ),
)
OPTIMIZERS: Mapping[str, OptimizerCard] = MappingProxyType({card.name: card for card in _CARDS})
SECTIONS: tuple[OptimizerName, ...] = tuple(name for name in get_args(OptimizerName) if name != "adamw")
"""Optimizers with a section of settings in `training`."""
