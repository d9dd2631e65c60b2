"""Draw tokens from the likeliest ones that together have a share of the probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Nucleus:
    """What tokens are drawn from: the likeliest ones that have `top_p` of the probability at a temperature, above 0."""

    temperature: float
    top_p: float

    def pick(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Draw one token a row by inverse transform.

        Args:
            logits: scores, [rows, vocabulary].
            uniforms: random numbers in [0, 1), [rows].

        Returns:
            token ids, [rows].
        """
        shares, tokens = torch.softmax(logits.double() / self.temperature, -1).sort(descending=True, stable=True)
        reached = shares.cumsum(-1)
        inside = reached - shares < self.top_p  # the token that crosses top_p belongs to the nucleus
        mass = (shares * inside).sum(-1, keepdim=True)
        place = (reached <= uniforms[:, None] * mass).sum(-1, keepdim=True)
        last = inside.sum(-1, keepdim=True) - 1
        return tokens.gather(-1, place.minimum(last)).squeeze(-1)
