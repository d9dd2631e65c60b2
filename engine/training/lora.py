"""LoRA: train low-rank adapters on a model's linear layers instead of its weights, and merge them at the end.

A method's frozen start model is then the same model with its adapters disabled, so no second copy is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM
from unlearn_sweep.engine.training.settings import LoraSettings
from unlearn_sweep.engine.training.trained_weights import trained_blocks
from unlearn_sweep.evaluators.model_parts import (
    decoder_layers,
    expert_parameters,
    is_down_projection,
    is_transposed_linear,
)
from unlearn_sweep.methods.interface import Needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

QUERY_VALUE = ("q_proj", "v_proj", "qkv_proj", "c_attn", "query_key_value")
"""Layers that make queries and values; where one layer makes keys as well, that one."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "c_attn", "query_key_value", "out_proj", "dense")
TARGETS = {"attention": ATTENTION, "query_value": QUERY_VALUE}


def add_adapters(model: PreTrainedModel, settings: LoraSettings, needs: Needs, layers: Sequence[int]) -> None:
    """Add adapters to the layers that the method trains, and freeze all other weights.

    Raises:
        ValueError: none of the weights the method trains can be adapted, or `dropout` is set for adapters of experts.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names, experts = adapted_layers(model, settings, needs, layers), adapted_experts(model, settings, needs, layers)
    if not names and not experts:
        raise ValueError("training.lora: no linear layer to adapt among the weights this method trains")
    if experts and settings.dropout:
        raise ValueError("training.lora.dropout: adapters of experts take none; write dropout: 0 or targets: attention")
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType] -- any number; only its quotient is used
        lora_dropout=settings.dropout,
        target_modules=names,
        target_parameters=experts or None,
        bias="none",
    )
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


def adapted_layers(model: PreTrainedModel, settings: LoraSettings, needs: Needs, layers: Sequence[int]) -> list[str]:
    """Return the full names of the linear layers that get an adapter."""
    return [
        name
        for name, module in _chosen(model, settings, needs, layers)
        if is_linear(module)
        and (settings.targets == "all" or name.rpartition(".")[2] in TARGETS[settings.targets])
        and (needs.trainable != "down_projections" or is_down_projection(name))
    ]


def adapted_experts(model: PreTrainedModel, settings: LoraSettings, needs: Needs, layers: Sequence[int]) -> list[str]:
    """Return the full names of the expert parameters whose matrices each get an adapter."""
    if settings.targets != "all":
        return []
    chosen = _chosen(model, settings, needs, layers)
    named = (f"{name}.{own}" for name, module in chosen for own, _ in expert_parameters(module))
    return [name for name in named if needs.trainable != "down_projections" or is_down_projection(name)]


def _chosen(
    model: PreTrainedModel, settings: LoraSettings, needs: Needs, layers: Sequence[int]
) -> Iterator[tuple[str, nn.Module]]:
    """Return the modules, with full names, of the blocks that the method trains and the settings adapt."""
    blocks = decoder_layers(model)
    numbers = half_of(trained_blocks(needs, layers, len(blocks)), settings.layers)
    chosen = {id(module) for number in numbers for module in blocks[number].modules()}
    return ((name, module) for name, module in model.named_modules() if id(module) in chosen)


def half_of(blocks: range, which: Literal["all", "lower", "upper"]) -> range:
    """Return all of these blocks, or their lower or upper half; the middle one of an odd number is in both."""
    lower, upper = math.ceil(len(blocks) / 2), len(blocks) // 2
    return {"all": blocks, "lower": blocks[:lower], "upper": blocks[upper:]}[which]


def is_linear(module: nn.Module) -> bool:
    """Whether a module is torch's linear layer or GPT-2's transposed one."""
    return isinstance(module, nn.Linear) or is_transposed_linear(module)


def adapters(model: nn.Module) -> list[tuple[str, Any]]:
    """Return name and module of every adapted layer."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Disable the adapters inside the context, so that the model computes what it would without them.

    They are scaled to 0 rather than skipped: ZeRO stage 3 prefetches weights in the module order it has recorded.
    """
    found = [(module, dict(module.scaling)) for _, module in adapters(model)]
    for module, scaling in found:
        module.scaling.update(dict.fromkeys(scaling, 0.0))
    try:
        yield
    finally:
        for module, scaling in found:
            module.scaling.update(scaling)


def merge_adapters(model: nn.Module) -> None:
    """Merge every adapter into its layer's weights, computed in float32, and remove it."""
    for name, module in reversed(adapters(model)):  # a nested adapter follows its parent, so merge it first
        base = module.get_base_layer()
        kept = _dtype(module)
        module.float()
        module.merge(safe_merge=False)
        module.to(kept)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, base)


def merged_weight(module: Any, weight: Tensor) -> Tensor:
    """Return a weight of an adapted layer with the adapter merged in, computed in float32; nothing is changed.

    `weight` and the adapter's weights must be whole (`gathered`).
    """
    factors = [layer.weight for parts in (module.lora_A, module.lora_B) for layer in parts.values()]
    kept = [factor.data for factor in factors]
    try:
        for factor in factors:
            factor.data = factor.data.float()
        total = weight.detach().float()
        for name in module.lora_A:
            total = total + module.get_delta_weight(name)
    finally:
        for factor, data in zip(factors, kept, strict=True):
            factor.data = data
    return total


def _dtype(module: Any) -> torch.dtype:
    """Return the number format of the weights under an adapter: a layer's weight, or a parameter of experts."""
    return (module.get_param() if hasattr(module, "get_param") else module.get_base_layer().weight).dtype


class AdaptersOff:
    """The frozen start model of a training with LoRA; same interface as `FrozenModel`."""

    collective = True  # ZeRO stage 3 gathers its weights from all ranks

    def __init__(self, module: SupervisedLM) -> None:
        self.module = module

    @torch.no_grad()
    def outputs(self, packed: Packed) -> Outputs:
        was_training = self.module.training
        self.module.eval()
        try:
            with adapters_off(self.module):
                return self.module.outputs(packed)
        finally:
            self.module.train(was_training)

    def check_unchanged(self) -> None:
        """Do nothing: the weights under the adapters have no gradient and are in no optimizer."""

    def close(self) -> None:
        """Do nothing: the model under training is closed by its backend."""
