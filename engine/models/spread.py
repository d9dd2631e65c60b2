"""Place a model over several devices: its blocks in turn, everything else on the first device.

Embedding, final norm and head stay together, so that what goes in and what comes out is on one device: positions, masks
and logits need no moving. accelerate's hooks move states from block to block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from unlearn_sweep.evaluators.model_parts import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def accelerators_here() -> list[str]:
    """Return the GPUs that this process sees, first to last; none without CUDA."""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []


def device_map(model: PreTrainedModel, devices: Sequence[str]) -> dict[str, str]:
    """Return the device of each part of a model, which may lie on the meta device.

    Blocks stay in order. Each device gets about the same number of weights; the first has fewer blocks for what else it
    holds. With fewer blocks than devices, some devices stay empty.
    """
    blocks = decoder_layers(model)
    own = {id(block): number for number, block in enumerate(blocks)}
    named = {own[id(module)]: name for name, module in model.named_modules() if id(module) in own}
    sizes = [_weights(block) for block in blocks]
    beside = _weights(model) - sum(sizes)
    share = (beside + sum(sizes)) / len(devices)
    placed: dict[str, str] = {}
    before = float(beside)
    for number, size in enumerate(sizes):
        middle = before + size / 2
        placed[named[number]] = devices[min(len(devices) - 1, int(middle / share))]
        before += size
    inside = tuple(f"{name}." for name in named.values())
    others = [*model.named_parameters(), *model.named_buffers()]
    return placed | {name: devices[0] for name, _ in others if not name.startswith(inside)}


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
