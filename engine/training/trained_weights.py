"""Which weights a method trains; the others are frozen before the optimizer is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from unlearn_sweep.evaluators.model_parts import decoder_layers, is_down_projection
from unlearn_sweep.methods.interface import Needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCKS_OF_DOWN_PROJECTIONS = 3


def freeze_rest(model: PreTrainedModel, needs: Needs, layers: Sequence[int]) -> None:
    """Freeze what the method does not train, and what no gradient can reach: all above the highest layer it reads.

    An optimizer that got zeros for those weights would still decay them, and data parallelism would wait for them.
    """
    if needs.logits and needs.trainable == "all":
        return
    top = max(layers)
    blocks = decoder_layers(model)
    if needs.trainable == "down_projections":
        kept = [blocks[number] for number in trained_blocks(needs, layers, len(blocks))]
        trained = [weight for block in kept for name, weight in block.named_parameters() if is_down_projection(name)]
        if not trained:
            raise ValueError("trainable: down_projections: this model's blocks have none; use up_to_layer")
    else:
        above = [*blocks[top + 1 :].parameters(), *after_blocks(model, blocks)]
        apart = {id(weight) for weight in above}
        trained = [weight for weight in model.parameters() if id(weight) not in apart]
    model.requires_grad_(False)
    for weight in trained:
        weight.requires_grad_(True)


def trained_blocks(needs: Needs, layers: Sequence[int], depth: int) -> range:
    """The blocks in which a method trains anything."""
    if needs.logits and needs.trainable == "all":
        return range(depth)
    top = max(layers)
    return range(max(0, top + 1 - BLOCKS_OF_DOWN_PROJECTIONS) if needs.trainable == "down_projections" else 0, top + 1)


def after_blocks(model: PreTrainedModel, blocks: nn.ModuleList) -> list[nn.Parameter]:
    """The final norm, and the output embedding where it is not the input embedding too."""
    within = {id(weight) for weight in blocks.parameters()}
    below = {id(weight) for weight in model.get_input_embeddings().parameters()}
    return [
        weight
        for name, weight in model.named_parameters()
        if id(weight) not in within | below and ("norm" in name or "ln_f" in name or "head" in name)
    ]
