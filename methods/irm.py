"""IRM (ILU): be stationary for other tasks too, so that later tuning on them has nowhere to go (arXiv 2506.01339).

IRMv1's penalty on one environment is the square of d/dw CE(w z, y) at w = 1, with w a scale on the logits:

    (1/N) sum over tokens of (sum_v p_v z_v - z_y)

squared. It needs one ordinary backward. The public code of the paper has no such term; the exact form of its equation
was not seen, this is the standard one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.token_losses import full_precision, log_probs


@row_wise
def scale_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """d/dw of CE(w * logits, target) at w = 1, [N]: expected logit less the target's. 0 where scaling gains nothing."""
    scores = full_precision(logits)
    return (log_probs(scores).exp() * scores).sum(-1) - scores.gather(-1, targets[:, None])[:, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class IRM:
    """Adds `irm_weight` times the squared scale gradient over the view `irm_view`, "task:gsm8k" as in the paper.

    `irm_rows`: rows of a task in each step; 0 gives as many as the other views have, and a view of the benchmark always
    has those.
    """

    irm_weight: float = 1.0
    irm_view: str = "retain"
    irm_rows: int = 0

    def extend(self, needs: Needs) -> Needs:
        if self.irm_weight == 0:
            return needs
        views = needs.views if self.irm_view in needs.views else (*needs.views, self.irm_view)
        own = ((self.irm_view, self.irm_rows),) if self.irm_rows and self.irm_view.startswith("task:") else ()
        return replace(needs, views=views, logits=True, rows_a_step=(*needs.rows_a_step, *own))

    def terms(self, step: Step) -> tuple[Term, ...]:
        if self.irm_weight == 0:
            return ()
        batch = step.forward(self.irm_view)
        total = scale_gradient(batch.logits, batch.targets).sum()
        return (Term(name="irm", total=total, view=self.irm_view, per="token", weight=self.irm_weight, squared=True),)
