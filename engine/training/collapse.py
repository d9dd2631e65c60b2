"""Take out of the forget gradients of MLP matrices what forget tokens have in common (`methods.cir`).

A forward hook on each linear layer of an MLP puts another backward behind its output: the gradient of the inputs is the
usual one, that of the weight is made of inputs and output gradients without their common part. So the data-parallel
wrapper and ZeRO reduce and shard it like any other. Sums over tokens are kept on each rank and added up when they are
due.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearn_sweep.engine.training.forward import Packed
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.evaluators.model_parts import mlp_layers
from unlearn_sweep.methods.interface import CollapseSettings, Common

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIDES = ("inputs", "gradients")
SAVED = "collapse.safetensors"


@dataclass(slots=True)
class Sums:
    """Sums over tokens of vectors [D]: of each, of x x^T, and their number.

    In float64: a variance is the small difference of two of them.
    """

    total: Tensor
    products: Tensor
    count: Tensor

    @classmethod
    def empty(cls, width: int, device: torch.device) -> Sums:
        shapes = (width,), (width, width), ()
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.total, self.products, self.count

    def add(self, vectors: Tensor) -> None:
        """Add vectors [N, D]."""
        vectors = vectors.double()
        self.total += vectors.sum(0)
        self.products += vectors.T @ vectors
        self.count += vectors.shape[0]


@dataclass(slots=True)
class LayerState:
    """Of one linear layer: sums since the last refresh, and what was common before it (None: nothing yet)."""

    sums: dict[str, Sums]
    common: dict[str, Common] | None = None


@dataclass(slots=True)
class Collapse:
    """All layers of one training.

    Attributes:
        settings: How much is taken out, and when it is computed anew.
        layers: State of each layer, by its name.
        steps: Planned optimizer steps.
        mask: The tokens [B, T] of the forget forward under way: no padding, no first token. None outside of one.
    """

    settings: CollapseSettings
    layers: dict[str, LayerState]
    steps: int
    mask: Tensor | None = field(default=None)

    @classmethod
    def of(cls, settings: CollapseSettings, model: PreTrainedModel, steps: int) -> Collapse:
        """Put the hooks on the model's MLP layers. Call before a backend wraps the model."""
        found = dict(mlp_layers(model))
        device = next(iter(found.values())).weight.device
        layers = {
            name: LayerState(
                {
                    "inputs": Sums.empty(layer.in_features, device),
                    "gradients": Sums.empty(layer.out_features, device),
                }
            )
            for name, layer in found.items()
        }
        made = cls(settings, layers, steps)
        for name, layer in found.items():
            layer.register_forward_hook(made._hook(layers[name]))
        return made

    @contextmanager
    def during(self, packed: Packed) -> Iterator[None]:
        """Collapse what is run inside: a forward over forget rows."""
        places = torch.arange(packed.input_ids.shape[1], device=packed.input_ids.device)
        self.mask = (places < packed.lengths[:, None]) & (places > 0)
        try:
            yield
        finally:
            self.mask = None

    @property
    def refresh_every(self) -> int:
        return max(1, round(self.settings.refresh * self.steps))

    def after_step(self, index: int, ranks: Ranks) -> None:
        """Compute anew what is common, if it is due after step `index` (from 0). Every rank must call this."""
        if (index + 1) % self.refresh_every:
            return
        for layer in self.layers.values():
            layer.common = {side: self._common(layer, side, ranks) for side in SIDES}

    def _common(self, layer: LayerState, side: str, ranks: Ranks) -> Common:
        sums, number = layer.sums[side], getattr(self.settings, side)
        total, products, count = (ranks.sum(part.clone()) for part in sums.parts)
        for part in sums.parts:
            part.zero_()
        found = self.settings.common(total, products, float(count), number)
        return Common(found.mean.float(), found.components.float().contiguous())

    def _hook(self, state: LayerState) -> Any:
        def hook(layer: nn.Linear, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self.mask is None or not torch.is_grad_enabled():
                return None
            if args[0].shape[:-1] != self.mask.shape:
                raise ValueError(f"cir needs layers that see every token of a row; got inputs {tuple(args[0].shape)}")
            return _Collapsed.apply(args[0], layer.weight, layer.bias, output, self, state, self.mask)

        return hook

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def save(self, folder: Path, ranks: Ranks) -> None:
        """Write sums of all ranks together and what is common. Every rank must call this."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            for side in SIDES:
                tensors |= {
                    f"{name}|{side}|{place}": ranks.sum(part) for place, part in enumerate(layer.sums[side].parts)
                }
                if layer.common is not None:
                    tensors[f"{name}|{side}|mean"] = layer.common[side].mean
                    tensors[f"{name}|{side}|components"] = layer.common[side].components
        if ranks.first:
            save_file({name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, folder / SAVED)

    def load(self, folder: Path, ranks: Ranks) -> None:
        """Restore what `save` wrote; the sums go on on rank 0."""
        tensors = load_file(folder / SAVED)
        for name, layer in self.layers.items():
            known: dict[str, Common] = {}
            for side in SIDES:
                device = layer.sums[side].total.device
                for place, part in enumerate(layer.sums[side].parts):
                    part.copy_(tensors[f"{name}|{side}|{place}"]) if ranks.first else part.zero_()
                if f"{name}|{side}|mean" in tensors:
                    # A loaded tensor lies anywhere in a file's bytes, and products of it may round otherwise.
                    parts = (tensors[f"{name}|{side}|{part}"].clone().to(device) for part in ("mean", "components"))
                    known[side] = Common(*parts)
            layer.common = known or None


class _Collapsed(torch.autograd.Function):
    """A linear layer's output, with the weight's gradient of collapsed inputs and output gradients."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, output: Tensor, all_layers: Collapse,
        state: LayerState, mask: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(inputs, mask)
        # Under ZeRO-3 the weight is gathered anew for the backward pass, in place: no saved tensor would know of it.
        ctx.weight, ctx.has_bias, ctx.all_layers, ctx.state = weight, bias is not None, all_layers, state
        return output.detach().clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (slope,), (inputs, mask) = outer, ctx.saved_tensors
        weight: Tensor = ctx.weight
        to_inputs = slope @ weight.detach().to(slope.dtype)
        vectors = {"inputs": inputs.detach()[mask].float(), "gradients": slope[mask].float()}
        for side, found in vectors.items():
            ctx.state.sums[side].add(found)
        bias = slope.flatten(0, -2).sum(0) if ctx.has_bias else None
        if ctx.state.common is None:
            return to_inputs, torch.zeros_like(weight, dtype=slope.dtype), bias, None, None, None, None
        remove = ctx.all_layers.settings.remove
        left = {side: remove(found, ctx.state.common[side]) for side, found in vectors.items()}
        own = (left["gradients"].T @ left["inputs"]).to(weight.dtype)
        return to_inputs, own, bias, None, None, None, None
