"""Gradient surgery: combine forget and retain gradients that disagree (PCGrad 2001.06782, NGDiff 2410.22086).

Every rule here gives `a * forget + b * retain`, where a and b depend on three inner products only. So a sharded run
adds the products of its shards (one reduction of three numbers, or of P x 3 per tensor) and combines each shard by
itself. `forget` is the gradient of the forget *objective* (what is minimised), not of the forget likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped

Rule = Literal["protect_retain", "symmetric", "normalised"]
Scope = Literal["global", "per_tensor"]
ROUNDING = 1e-5


def inner_products(forget: Sequence[Tensor], retain: Sequence[Tensor]) -> Tensor:
    """<f, r>, <f, f>, <r, r> of each of P tensors, [P, 3], in fp32 (fp64 where the gradients are).

    Sum over the first axis for one decision over all parameters; keep it for one decision a tensor.

    Raises:
        ValueError: the two lists differ in length.
    """
    rows = []
    for f, r in zip(forget, retain, strict=True):
        f, r = _flat(f), _flat(r)
        rows.append(torch.stack([f @ r, f @ f, r @ r]))
    return torch.stack(rows)


def weights(products: Tensor, rule: Rule) -> Tensor:
    """The factors (a, b) of forget and retain gradient, [..., 2], from products [..., 3].

    protect_retain  under conflict (<f, r> < 0) the forget gradient loses its part along the retain gradient
    symmetric       under conflict each loses its part along the other, both parts taken from the original gradients
    normalised      both at length 1, conflict or not (NGDiff); a zero gradient stays zero

    A gradient shorter than 1e-5 of the other counts as zero.

    Raises:
        ValueError: unknown rule.
    """
    dot, forget_squared, retain_squared = products.unbind(-1)
    one = torch.ones_like(dot)
    forget_inverse = _inverse(_unless_rounding(forget_squared, retain_squared))
    retain_inverse = _inverse(_unless_rounding(retain_squared, forget_squared))
    if rule == "normalised":
        return torch.stack([forget_inverse.sqrt(), retain_inverse.sqrt()], -1)
    conflict = dot.clamp(max=0)
    if rule == "protect_retain":
        return torch.stack([one, one - conflict * retain_inverse], -1)
    if rule == "symmetric":
        return torch.stack([one - conflict * forget_inverse, one - conflict * retain_inverse], -1)
    raise ValueError(f"rule {rule!r}: expected protect_retain, symmetric or normalised")


def combine(forget: Sequence[Tensor], retain: Sequence[Tensor], factors: Tensor) -> list[Tensor]:
    """a * forget + b * retain for each tensor; `factors` is [2], or [P, 2] with a row a tensor."""
    rows = factors.expand(len(forget), 2)
    return [a.to(f.dtype) * f + b.to(r.dtype) * r for f, r, (a, b) in zip(forget, retain, rows.unbind(0), strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surgery:
    """Combines the two gradients by a rule, over all weights at once or for each weight by itself."""

    surgery_rule: Rule = "protect_retain"
    surgery_scope: Scope = "global"

    def extend(self, needs: Needs) -> Needs:
        return grouped(needs)

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        products = probe.total(inner_products(gradients.forget, gradients.retain))
        total = products.sum(0)
        probe.report("forget_retain_cosine", float(total[0] * _inverse((total[1] * total[2]).sqrt())))
        factors = weights(total if self.surgery_scope == "global" else products, self.surgery_rule)
        whole = combine(gradients.forget, gradients.retain, factors)
        return Gradients(forget=whole, retain=[torch.zeros_like(gradient) for gradient in whole])


def _flat(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat if flat.dtype == torch.float64 else flat.float()


def _unless_rounding(squared: Tensor, other_squared: Tensor) -> Tensor:
    """0 where a gradient is so much shorter than the other that its direction is rounding.

    At the original model a KL to it has no gradient but rounding's, whose direction must decide nothing.
    """
    return torch.where(squared > ROUNDING**2 * other_squared, squared, torch.zeros_like(squared))


def _inverse(value: Tensor) -> Tensor:
    return torch.where(value > 0, 1 / value.where(value > 0, 1), 0)
