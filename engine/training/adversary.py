"""Adversary of latent adversarial training: perturb hidden states after one layer to bring forgotten answers back.

The perturbation ("push") is an activation, [B, T, D]. Every rank computes its own, without any weight gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.training.forward import Packed, SupervisedLM
from unlearn_sweep.evaluators.model_parts import decoder_layers
from unlearn_sweep.methods.hidden_losses import layer_at
from unlearn_sweep.methods.interface import AdversarySettings
from unlearn_sweep.methods.token_losses import token_nll


class Adversary:
    """Create one per training. It calls the model directly: the backend's forward prepares for a backward pass."""

    def __init__(self, settings: AdversarySettings, module: SupervisedLM) -> None:
        self.settings = settings
        self.module = module
        module.by_length = False  # a push is [B, T, D]
        # Run before the block's other hooks, so that a method reads the perturbed states of this layer.
        blocks = decoder_layers(module.model)
        blocks[layer_at(settings.layer, len(blocks))].register_forward_hook(self._add, prepend=True)
        self._push: Tensor | None = None
        self._seen: Tensor | None = None

    def worst_push(self, packed: Packed) -> Tensor:
        """Run `steps` steps of projected gradient descent on the answers' NLL, starting from zero.

        Return the push [B, T, D]. It is zero at padding, and everywhere in a batch without supervised tokens; such a
        batch still takes the same number of forward passes.
        """
        with self._head():
            with torch.no_grad():
                self.module.outputs(packed)
            states = self._states()
            real = torch.arange(states.shape[1], device=states.device) < packed.lengths[:, None]
            radius = self.settings.radius * states.norm(dim=-1, keepdim=True) * real[..., None]
            push = torch.zeros_like(states)
            for _ in range(self.settings.steps):
                gradient = self._gradient(push, packed)
                push = self.settings.descend(push, gradient, rate=self.settings.rate, radius=radius)
        return push

    @contextmanager
    def pushed(self, push: Tensor) -> Iterator[None]:
        """Add the push in every forward pass inside the context."""
        self._push = push
        try:
            yield
        finally:
            self._push = None

    def _gradient(self, push: Tensor, packed: Packed) -> Tensor:
        leaf = push.detach().requires_grad_()
        with torch.enable_grad(), self.pushed(leaf):
            outputs = self.module.outputs(packed)
            loss = token_nll(outputs.logits, packed.targets).sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
        return gradient

    @contextmanager
    def _head(self) -> Iterator[None]:
        """Compute logits inside the context, even if the method's forward pass stops below them."""
        before, self.module.head = self.module.head, True
        try:
            yield
        finally:
            self.module.head = before

    def _states(self) -> Tensor:
        if self._seen is None:
            raise RuntimeError("the model's forward did not pass the adversary's layer")
        states, self._seen = self._seen, None
        return states

    def _add(self, block: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        if self._push is None:
            self._seen = states.detach()
            return None
        moved = states + self._push.to(states.dtype)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved
