"""LoRA: low-rank adapters on a model's linear layers, trained in place of its weights and merged into them at the end.

The frozen start model of a method is then the same model with its adapters off: no second copy in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

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

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "c_attn", "query_key_value", "out_proj", "dense")


def add_adapters(model: PreTrainedModel, settings: LoraSettings, needs: Needs, layers: Sequence[int]) -> None:
    """Put adapters where the method trains; everything else of the model is frozen.

    Raises:
        ValueError: the method trains weights that have no linear layer to adapt here.
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
    """Full names of the linear layers that get an adapter."""
    return [
        name
        for name, module in _chosen(model, needs, layers)
        if is_linear(module)
        and (settings.targets == "all" or name.rpartition(".")[2] in ATTENTION)
        and (needs.trainable != "down_projections" or is_down_projection(name))
    ]


def adapted_experts(model: PreTrainedModel, settings: LoraSettings, needs: Needs, layers: Sequence[int]) -> list[str]:
    """Full names of the parameters of experts whose matrices get an adapter each."""
    if settings.targets == "attention":
        return []
    named = (f"{name}.{own}" for name, module in _chosen(model, needs, layers) for own, _ in expert_parameters(module))
    return [name for name in named if needs.trainable != "down_projections" or is_down_projection(name)]


def _chosen(model: PreTrainedModel, needs: Needs, layers: Sequence[int]) -> Iterator[tuple[str, nn.Module]]:
    """The modules of the blocks in which the method trains."""
    blocks = decoder_layers(model)
    chosen = {
        id(module) for number in trained_blocks(needs, layers, len(blocks)) for module in blocks[number].modules()
    }
    return ((name, module) for name, module in model.named_modules() if id(module) in chosen)


def is_linear(module: nn.Module) -> bool:
    """torch's linear layer, or GPT-2's transposed one."""
    return isinstance(module, nn.Linear) or is_transposed_linear(module)


def adapters(model: nn.Module) -> list[tuple[str, Any]]:
    """Name and module of every adapted layer."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes what it computed before it had adapters.

    They are scaled to nothing and not left out: ZeRO stage 3 fetches weights ahead in the order of modules it has seen.
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
    """Add every adapter to its layer's weights and take it away: an ordinary model is left. Computed in float32."""
    for name, module in reversed(adapters(model)):  # what is inside another adapter comes behind it
        base = module.get_base_layer()
        kept = _dtype(module)
        module.float()
        module.merge(safe_merge=False)
        module.to(kept)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, base)


def _dtype(module: Any) -> torch.dtype:
    """The format of the weights under an adapter: a layer's, or the parameter's of a stack of experts."""
    return (module.get_param() if hasattr(module, "get_param") else module.get_base_layer().weight).dtype


class AdaptersOff:
    """The frozen start model of a training with LoRA: consulted as `FrozenModel` is."""

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
        """Nothing to check: the weights under the adapters have no gradient and are in no optimizer."""
