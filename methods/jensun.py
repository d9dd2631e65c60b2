"""JensUn: Jensen-Shannon divergence to a target string on the forget answers (arXiv 2509.02820).

The string's tokens are laid cyclically over each answer's supervised positions, while the model still reads the
original answer. The divergence is at most ln 2 a token and its gradient vanishes where the target is very unlikely:
expect a slow start from a confident model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Needs, Step, Supervised, Term
from unlearn_sweep.methods.retain import Retain, retain_needs, retain_terms
from unlearn_sweep.methods.token_losses import jensen_shannon_one_hot, positions, token_nll


def target_nll(batch: Supervised, ids: Tensor) -> Tensor:
    """NLL [N] of the target: token j of each sequence gets ids[j mod L]. `ids` is [L]."""
    return token_nll(batch.logits, ids[positions(batch.sequence, batch.sequences) % ids.numel()])


def target_tensor(step: Step, text: str, like: Tensor) -> Tensor:
    """The token ids [L] of `text` by the run's tokenizer, on the device of `like`.

    Raises:
        ValueError: the tokenizer makes no token of `text`.
    """
    ids = step.target_ids(text)
    if not ids:
        raise ValueError(f"target {text!r} has no token in this model's vocabulary; choose another text")
    return torch.tensor(ids, device=like.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class JensUn:
    """JSD to the target string on the forget answers plus a retain term, JSD to the original model by default."""

    target: str = "No idea"
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    retain: Retain = "jsd"

    def needs(self) -> Needs:
        return retain_needs(self.retain, self.retain_weight)

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        nll = target_nll(batch, target_tensor(step, self.target, batch.targets))
        total = jensen_shannon_one_hot(nll).sum()
        forget = Term(name="forget", total=total, view="forget", per="token", weight=self.forget_weight)
        return (forget, *retain_terms(self.retain, step, self.retain_weight))
