"""GAO: ascend on paraphrases of the forget rows, on the weights where their gradients agree in sign.

Semantics of the released code (repository Zhong-Zhengyi/Ignore): for K paraphrases with gradients g_k of their NLL,

    v = clamp(mean_k g_k, -1, 1) where at least `gao_agree` of the K signs are equal, else 0

and the gradient of the step gets -gao_rho * v. A zero gradient agrees with nobody. The release asks for
|mean sign| > 0.1; in votes that is 4 of 6. The paper's own constants were not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Gradients, Needs, Probe, grouped


def agreement(gradients: Sequence[Tensor], votes: int) -> Tensor:
    """clamp(mean, -1, 1) of K gradients where at least `votes` of them have the majority's sign, else 0."""
    stacked = torch.stack(list(gradients))
    agreeing = torch.maximum((stacked > 0).sum(0), (stacked < 0).sum(0)) >= votes
    return stacked.mean(0).clamp(-1, 1) * agreeing


@dataclass(frozen=True, slots=True, kw_only=True)
class GAO:
    """`gao_scope`: one mask for each forget row, as released, or one for the whole batch, which costs B times less."""

    gao_rho: float = 0.5
    gao_paraphrases: int = 3
    gao_agree: int = 3
    gao_scope: Literal["row", "batch"] = "batch"

    def __post_init__(self) -> None:
        if self.gao_agree > self.gao_paraphrases:
            raise ValueError(
                f"gao_agree: {self.gao_agree} votes of {self.gao_paraphrases} paraphrases can never be reached"
            )

    def extend(self, needs: Needs) -> Needs:
        return replace(grouped(needs), views=(*needs.views, *self.views), logits=True)

    @property
    def views(self) -> tuple[str, ...]:
        """The forget rows in other words, one view for each wording."""
        return tuple(f"forget_paraphrase_{number}" for number in range(self.gao_paraphrases))

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients:
        rows: Sequence[int | None] = [None] if self.gao_scope == "batch" else range(probe.rows(self.views[0]))
        forget = list(gradients.forget)
        for row in rows:
            wordings = [probe.nll_gradient(view, row=row) for view in self.views]
            for place, each in enumerate(zip(*wordings, strict=True)):
                forget[place] = forget[place] - self.gao_rho / len(rows) * agreement(each, self.gao_agree)
        return Gradients(forget=forget, retain=gradients.retain)
