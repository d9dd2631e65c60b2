"""The optimizer that a step backend uses: torch's AdamW, or a rule of `engine.optimizers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.optimizers.lion import Lion
from unlearn_sweep.engine.optimizers.rule import Rule
from unlearn_sweep.engine.optimizers.sign_sgd import SignSgd
from unlearn_sweep.engine.optimizers.sophia import Sophia
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.zero.shards import whole_shape


def create_optimizer(job: TrainJob, module: nn.Module) -> torch.optim.Optimizer:
    """Create the job's optimizer. Weight decay applies to matrices and embeddings only; an attacker's to all weights.

    AdamW's fused kernel is several times faster than the loop over tensors, also on a CPU (bench/training_loop.py).

    Raises:
        ValueError: the optimizer has no step from gradients.
    """
    settings, groups = job.training, weight_groups(job, module)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=job.learning_rate, betas=settings.betas, eps=settings.adam_epsilon, fused=True
        )
    return RuleOptimizer(groups, rule_of(settings), lr=job.learning_rate)


def weight_groups(job: TrainJob, module: nn.Module) -> list[dict[str, Any]]:
    """Return the trained weights with and without weight decay, as torch's optimizers take them."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if job.attack is not None or len(whole_shape(parameter)) >= 2]
    known = set(map(id, decayed))
    groups = [
        {"params": decayed, "weight_decay": job.training.weight_decay},
        {"params": [parameter for parameter in trained if id(parameter) not in known], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def rule_of(settings: TrainingSettings) -> Rule:
    """Return the update rule of an optimizer that torch does not have.

    Raises:
        ValueError: the optimizer has none.
    """
    if settings.optimizer == "lion":
        return Lion(settings.lion)
    if settings.optimizer == "sophia":
        return Sophia(settings.sophia)
    if settings.optimizer == "sign_sgd":
        return SignSgd(settings.sign_sgd)
    raise ValueError(f"optimizer {settings.optimizer!r} has no update rule")


class RuleOptimizer(torch.optim.Optimizer):
    """Apply a rule to every weight. Works on whole weights and on ZeRO's flat parts, as rules treat entries alone.

    Attributes:
        rule: How a weight moves.
        curvature: New estimates for the next step, in the order of all weights; empty if there are none.
    """

    def __init__(self, groups: list[dict[str, Any]], rule: Rule, *, lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.rule = rule
        self.curvature: dict[int, Tensor] = {}

    def estimate(self, weights: Sequence[Tensor], curvature: Sequence[Tensor]) -> None:
        """Take an estimate of the curvature at each of `weights` for the next step."""
        self.curvature = {id(weight): value for weight, value in zip(weights, curvature, strict=True)}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every weight that has a gradient.

        Raises:
            ValueError: a closure is given; the rules take gradients.
        """
        if closure is not None:
            raise ValueError("this optimizer takes no closure")
        for group, weight in self._weights():
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros(())
                state |= {name: torch.zeros_like(weight) for name in self.rule.states}
            state["step"] += 1
            self.rule.update(
                weight,
                weight.grad,
                state,
                step=int(state["step"]),
                rate=float(group["lr"]),
                decay=group["weight_decay"],
                curvature=self.curvature.get(id(weight)),
            )
        self.curvature = {}

    def _weights(self) -> Iterator[tuple[dict[str, Any], Any]]:
        for group in self.param_groups:
            yield from ((group, weight) for weight in group["params"] if weight.grad is not None)
