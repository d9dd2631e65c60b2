"""The adversary of latent adversarial training: pushes hidden states behind one layer so that forgotten answers come.

The push is an activation, [B, T, D], so every rank has its own and no weight gradient is made while it is found.
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
from unlearn_sweep.methods.lat import LAT, descend
from unlearn_sweep.methods.token_losses import token_nll


class Adversary:
    """One for a training. It calls the model itself, not the backend, whose forward announces a backward."""

    def __init__(self, lat: LAT, module: SupervisedLM) -> None:
        self.lat = lat
        self.module = module
        # First among the block's hooks: what a method reads of this layer is what the adversary made of it.
        blocks = decoder_layers(module.model)
        blocks[layer_at(lat.lat_layer, len(blocks))].register_forward_hook(self._add, prepend=True)
        self._push: Tensor | None = None
        self._seen: Tensor | None = None

    def worst_push(self, packed: Packed) -> Tensor:
        """After `lat_steps` steps of projected gradient descent on the answers' NLL, from no push at all.

        Only real tokens are pushed. A batch without supervised tokens is not pushed, but goes through as many forwards.
        """
        with self._head():
            with torch.no_grad():
                self.module.outputs(packed)
            states = self._states()
            real = torch.arange(states.shape[1], device=states.device) < packed.lengths[:, None]
            radius = self.lat.lat_radius * states.norm(dim=-1, keepdim=True) * real[..., None]
            push = torch.zeros_like(states)
            for _ in range(self.lat.lat_steps):
                push = descend(push, self._gradient(push, packed), rate=self.lat.lat_rate, radius=radius)
        return push

    @contextmanager
    def pushed(self, push: Tensor) -> Iterator[None]:
        """Inside, every forward of this batch is made under the push."""
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
        """The adversary needs logits, also where the method's forward stops below them."""
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
