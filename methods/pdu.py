"""PDU: flatten the logits on the forget answers under a limit on the retain loss (primal-dual, arXiv 2506.05314).

The dual variable is the retain term's weight. It changes once an optimizer step, from the retain loss of the whole
global batch, and lives in the step's state: ranks agree on it and a resumed run goes on with it. Code that updates it
in each micro-batch needs a step size smaller by the number of micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from unlearn_sweep.methods.chunked_logits import row_wise
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.retain import retain_term
from unlearn_sweep.methods.token_losses import full_precision


@row_wise
def logit_margin(logits: Tensor) -> Tensor:
    """(max - mean)^2 of each token's logits, [N]; 0 where all entries are equal."""
    scores = full_precision(logits)
    return (scores.amax(-1) - scores.mean(-1)) ** 2


def dual_update(dual: float, retain_loss: float, *, limit: float, step_size: float) -> float:
    """max(0, dual + step_size (retain_loss - limit)): up while the retain loss is over its limit, down under it."""
    return max(0.0, dual + step_size * (retain_loss - limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class PDU:
    """Primal-dual unlearning. `retain_limit`: nats per token; `dual_warmup`: part of training before the first update.

    The constant `-dual * retain_limit` of the Lagrangian is left out of the loss: it has no gradient.
    """

    forget_weight: float = 1.0
    retain_limit: float = 0.3
    dual_start: float = 100.0
    dual_step_size: float = 5.0
    dual_warmup: float = 0.5

    def needs(self) -> Needs:
        return Needs(views=("forget", "retain"), state=True)

    def dual(self, step: Step) -> float:
        """The dual variable this step uses."""
        return float(step.state.get("dual", self.dual_start))

    def terms(self, step: Step) -> tuple[Term, ...]:
        total = logit_margin(step.forward("forget").logits).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, retain_term("nll", step, self.dual(step)))

    def after_step(self, step: Step, reduced: Mapping[str, float]) -> None:
        """Move the dual variable by the global batch's mean retain loss, once the warm-up is over."""
        dual = self.dual(step)
        if step.progress >= self.dual_warmup:
            dual = dual_update(dual, reduced["retain"], limit=self.retain_limit, step_size=self.dual_step_size)
        step.state["dual"] = dual
