"""Select the weights that a method trains, and freeze the others before the optimizer is created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from unlearn_sweep.evaluators.model_parts import decoder_layers, is_down_projection, mlp_layers
from unlearn_sweep.methods.interface import Needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCKS_OF_DOWN_PROJECTIONS = 3


def freeze_rest(model: PreTrainedModel, needs: Needs, layers: Sequence[int]) -> None:
    """Freeze the weights the method does not train and those without a gradient (above the highest layer it reads).

    Otherwise weight decay would still change them, and DistributedDataParallel would wait for their gradients.

    Raises:
        ValueError: the method trains down projections, and the model's blocks have none.
    """
    _freeze_by_place(model, needs, layers)
    if needs.collapse is not None:
        matrices = {id(layer.weight) for _, layer in mlp_layers(model)}
        for weight in model.parameters():
            weight.requires_grad_(weight.requires_grad and id(weight) in matrices)


def _freeze_by_place(model: PreTrainedModel, needs: Needs, layers: Sequence[int]) -> None:
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
    """Return the blocks, from 0, that contain weights the method trains."""
    if needs.logits and needs.trainable == "all":
        return range(depth)
    top = max(layers)
    return range(max(0, top + 1 - BLOCKS_OF_DOWN_PROJECTIONS) if needs.trainable == "down_projections" else 0, top + 1)


def after_blocks(model: PreTrainedModel, blocks: nn.ModuleList) -> list[nn.Parameter]:
    """Return the weights of the final norm, and of the output embedding unless it is tied to the input embedding."""
    within = {id(weight) for weight in blocks.parameters()}
    below = {id(weight) for weight in model.get_input_embeddings().parameters()}
    return [
        weight
        for name, weight in model.named_parameters()
        if id(weight) not in within | below and ("norm" in name or "ln_f" in name or "head" in name)
    ]
