"""How much a text still moves a model: norm of the gradient of its mean negative log-likelihood (GradNorm).

Texts a model was trained on lie near a minimum and move it little, so a higher norm means less like a member
(Wang et al. 2024, arXiv 2402.17012). One forward and one backward pass a row; nothing of the model is changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from unlearn_sweep.evaluators.likelihood import NonFiniteLogits
from unlearn_sweep.evaluators.model_batches import run_batches
from unlearn_sweep.evaluators.rows import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Form = Literal["global", "open_unlearning"]
AT_A_TIME = 8
"""Examples that one process computes before it is given others."""


def gradient_norms(model: PreTrainedModel, examples: Sequence[Example], *, form: Form = "global") -> list[float]:
    """The norm of each example, at least 0, in evaluation mode (no dropout).

    "global": the 2-norm over all parameters together. "open_unlearning": the mean over parameter tensors of each
    tensor's 2-norm, which depends on how a model is cut into tensors.

    Raises:
        NonFiniteLogits: the model is broken.
    """
    batches = [
        _GradientBatch(examples=tuple(examples[first : first + AT_A_TIME]), form=form)
        for first in range(0, len(examples), AT_A_TIME)
    ]
    norms = [norm for found in run_batches(model, batches) for norm in found]
    broken = tuple(example.row_id for example, norm in zip(examples, norms, strict=True) if not math.isfinite(norm))
    if broken:
        raise NonFiniteLogits(broken, len(examples))
    return norms


@dataclass(frozen=True, slots=True)
class _GradientBatch:
    """Examples whose norms are computed one after the other."""

    examples: tuple[Example, ...]
    form: Form

    @property
    def size(self) -> int:
        return sum(len(example.prompt_ids) + len(example.answer_ids) for example in self.examples)

    def run(self, model: PreTrainedModel) -> list[float]:
        parameters = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
        frozen = [parameter for parameter in parameters if not parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            return [_norm(model, parameters, example, self.form) for example in self.examples]
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)


def _norm(model: PreTrainedModel, parameters: Sequence[torch.nn.Parameter], example: Example, form: Form) -> float:
    ids = torch.tensor([[*example.prompt_ids, *example.answer_ids[:-1]]], device=model.device)
    with torch.enable_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(example.prompt_ids) - 1 :]
        targets = torch.tensor(example.answer_ids, device=model.device)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    norms = torch.stack([gradient.float().norm() for gradient in gradients if gradient is not None])
    return float(norms.mean() if form == "open_unlearning" else norms.norm())
