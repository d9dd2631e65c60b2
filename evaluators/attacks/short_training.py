"""The attacker's own training loop: short, plain and independent of how the model was unlearned.

AdamW at a constant rate after a linear warm-up, answers supervised only, gradients clipped, no dropout, one forward and
one backward a step. All randomness comes from one private generator, so a run is a function of the model and its plan.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.attacks.answer_likelihood import collate, token_nll
from unlearn_sweep.evaluators.attacks.attack import AttackDivergedError, AttackError, Target, TrainedState
from unlearn_sweep.evaluators.attacks.training_params import TrainingParams
from unlearn_sweep.evaluators.model_parts import expert_names
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.evaluators.tied_gradient import tokens_rows_only

if TYPE_CHECKING:
    from peft import LoraModel
    from transformers import PreTrainedModel


@torch.inference_mode(False)
def private_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy the attacker owns: same values, evaluation mode, every floating parameter trainable, no gradients."""
    owned = copy.deepcopy(model).eval()
    for parameter in owned.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
        parameter.grad = None
    return owned


def trained_states(target: Target, examples: Sequence[Example], params: TrainingParams) -> Iterator[TrainedState]:
    """States of the target's model trained on `examples`: those trained elsewhere, or those of `train_copy`.

    Raises:
        AttackError: as `train_copy`.
    """
    if target.trained is not None:
        return target.trained()
    return train_copy(target.model, examples, params, seed=target.seed)


def refuse_no_examples(examples: Sequence[Example]) -> None:
    """Raise AttackError where there is nothing to train on."""
    if not examples:
        raise AttackError("no rows to train on: every answer is empty or cut away")


def refuse_divergence(loss: float, norm: float, learning_rate: float) -> None:
    """Raise AttackDivergedError where a step's loss or gradient norm is not finite; NaN for `norm` counts too."""
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise AttackDivergedError(
            f"training diverged: loss {loss}, gradient norm {norm}; lower learning_rate ({learning_rate:g})"
        )


@torch.inference_mode(False)  # What is made in the caller's inference mode could never be trained.
def train_copy(
    model: PreTrainedModel, examples: Sequence[Example], params: TrainingParams, *, seed: int
) -> Iterator[TrainedState]:
    """Train a private copy and yield it at every asked step count; it is trained further when the caller comes back.

    Raises:
        AttackError: there is nothing to train on, or a loss or gradient is not finite.
    """
    refuse_no_examples(examples)
    owned = private_copy(model)
    adapted = _with_lora(owned, params, seed) if params.lora_rank else None
    optimizer = MasterAdamW(owned, weight_decay=params.weight_decay)
    batches = draw_batches(len(examples), params.batch_size, seed)
    done, first, loss = 0, None, None
    for wanted in params.curve:
        for step in range(done, wanted):
            rate = params.learning_rate * warmup_factor(step, params.curve[-1], enabled=params.warmup)
            loss = _train_step(owned, [examples[i] for i in next(batches)], optimizer, rate)
            first = loss if first is None else first
        done = wanted
        state = owned if adapted is None else _merged(adapted, last=wanted == params.curve[-1])
        yield TrainedState(step=wanted, model=state, loss=loss, first_loss=first)


def warmup_factor(step: int, total_steps: int, *, enabled: bool) -> float:
    """Share of the learning rate at `step` (from 0): rises linearly over max(1, total / 10) steps and is never 0."""
    return min(1.0, (step + 1) / max(1, total_steps // 10)) if enabled else 1.0


def draw_batches(rows: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Row indices of batch after batch, for ever: every row once an epoch, each epoch shuffled anew, no gap between."""
    generator = torch.Generator().manual_seed(seed)
    size = min(batch_size, rows)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting.extend(torch.randperm(rows, generator=generator).tolist())
        yield waiting[:size]
        waiting = waiting[size:]


class MasterAdamW:
    """AdamW over a model's trainable parameters, with fp32 master weights where a parameter is narrower.

    bf16 keeps 8 bits of a weight: an update of 2e-5 on a weight of 0.02 is rounded away, and relearning would look
    harmless for a reason that has nothing to do with unlearning.
    """

    def __init__(self, model: nn.Module, *, weight_decay: float, max_gradient_norm: float = 1.0) -> None:
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.masters = [p if p.dtype is torch.float32 else nn.Parameter(p.detach().float()) for p in self.parameters]
        fused = all(master.device.type in ("cpu", "cuda") for master in self.masters)
        self.optimizer = torch.optim.AdamW(
            self.masters, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, fused=fused
        )
        self.max_gradient_norm = max_gradient_norm

    def step(self, learning_rate: float) -> float:
        """Clip and apply the gradients, then drop them. Returns their norm before clipping."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if master is not parameter and parameter.grad is not None:
                master.grad = parameter.grad.float()
        norm = float(nn.utils.clip_grad_norm_(self.masters, self.max_gradient_norm))
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
            self._write_back()
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            parameter.grad = master.grad = None
        return norm

    @torch.no_grad()
    def _write_back(self) -> None:
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if master is not parameter:
                parameter.copy_(master)


def _train_step(
    model: PreTrainedModel, examples: Sequence[Example], optimizer: MasterAdamW, learning_rate: float
) -> float:
    with torch.enable_grad():
        with tokens_rows_only(model):
            loss: Tensor = token_nll(model, collate(examples, model.device)).mean()
        value = float(loss.detach())
        loss.backward()
        norm = optimizer.step(learning_rate)
    refuse_divergence(value, norm, learning_rate)
    return value


def _with_lora(model: PreTrainedModel, params: TrainingParams, seed: int) -> LoraModel:
    """Put LoRA layers into `model` itself and freeze the rest."""
    from peft import LoraConfig, LoraModel

    config = LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        target_parameters=expert_names(model) or None,
    )
    # peft draws the adapters from torch's global CPU generator; the caller finds it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        adapted = LoraModel(model, config, "default")
    return adapted.eval()


def _merged(adapted: LoraModel, *, last: bool) -> PreTrainedModel:
    """An ordinary model with the adapters added to its weights; a copy, unless training is over."""
    merged = (adapted if last else copy.deepcopy(adapted)).merge_and_unload()
    return cast("PreTrainedModel", merged).eval()
