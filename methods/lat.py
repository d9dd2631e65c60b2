"""LAT: the forget objective is met under the worst small push on the residual stream (arXiv 2407.15549, section 3).

In each step an adversary moves the forget rows' hidden states behind one layer, each by at most `lat_radius` times its
own length (the released code has one absolute radius, which means another thing in every layer and model). It takes
`lat_steps` steps of projected gradient descent so that the forgotten answers become likely again. The method's forward
over the forget rows is then made under that push.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import AdversarySettings, Needs


def descend(push: Tensor, gradient: Tensor, *, rate: float, radius: Tensor) -> Tensor:
    """One step of the adversary: against its gradient at every position, then back into the ball; [..., D].

    `radius` is [..., 1]; where it is 0 nothing is pushed.
    The step is `rate` times the radius long wherever there is a gradient, so a large rate goes to the border at once.
    """
    length = gradient.norm(dim=-1, keepdim=True)
    direction = torch.where(length > 0, gradient / length.where(length > 0, 1), 0)
    moved = push - rate * radius * direction
    length = moved.norm(dim=-1, keepdim=True)
    return torch.where(length > radius, moved * (radius / length.where(length > 0, 1)), moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class LAT:
    """`lat_layer` as a share of the depth; `lat_radius` relative to the length of each state there."""

    lat_layer: float = 0.25
    lat_radius: float = 0.1
    lat_steps: int = 4
    lat_rate: float = 0.5

    def extend(self, needs: Needs) -> Needs:
        adversary = AdversarySettings(
            layer=self.lat_layer, radius=self.lat_radius, steps=self.lat_steps, rate=self.lat_rate, descend=descend
        )
        return replace(needs, adversary=adversary)
