"""Pruning that looks at no forgotten answer: by magnitude, and by magnitude times activation (Wanda).

Source: Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (arXiv 2306.11695), and its
released code. Like quantisation it is what is done to models anyway; what unlearning wrote in small weights goes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.inference import measuring
from unlearn_sweep.evaluators.model_parts import (
    Matrix,
    UnsupportedModelError,
    decoder_layers,
    is_transposed_linear,
    linear_matrices,
)
from unlearn_sweep.evaluators.rows import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Enough(Exception):
    """Ends a forward pass behind the block whose inputs are wanted."""


def smallest_share(weight: Tensor, percent: float) -> Tensor:
    """Mask [out, in] of the `percent` of a matrix's weights with the smallest magnitude, cut to a whole count."""
    mask = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    count = int(percent / 100 * weight.numel())
    mask[torch.topk(weight.detach().abs().flatten().float(), count, largest=False).indices] = True
    return mask.view(weight.shape)


def wanda_share(weight: Tensor, energy: Tensor, percent: float) -> Tensor:
    """Mask [out, in] of the `percent` of each output's weights with the smallest |w| times the norm of its input.

    `energy` [in]: sum of squares of each input over all tokens. Equal scores go in order of place.
    """
    scores = weight.detach().abs().float() * energy.sqrt()[None]
    count = int(percent / 100 * weight.shape[1])
    mask = torch.zeros(weight.shape, dtype=torch.bool, device=weight.device)
    return mask.scatter_(1, torch.sort(scores, dim=1, stable=True).indices[:, :count], True)


def block_matrices(model: PreTrainedModel) -> list[list[Matrix]]:
    """The linear matrices of each block, first to last; what lies outside the blocks is not pruned."""
    known = {id(model.get_parameter(matrix.name)): matrix for matrix in linear_matrices(model, include_lm_head=False)}
    return [[known[id(one)] for one in block.parameters() if id(one) in known] for block in decoder_layers(model)]


@torch.no_grad()
def prune_by_magnitude(model: PreTrainedModel, percent: float) -> tuple[int, int]:
    """Zero weights in place, matrix by matrix. Return how many, and of how many."""
    zeroed = total = 0
    for matrix in (matrix for block in block_matrices(model) for matrix in block):
        for weight in matrix.views(model.get_parameter(matrix.name)):
            mask = smallest_share(weight, percent)
            weight.masked_fill_(mask, 0.0)
            zeroed, total = zeroed + int(mask.sum()), total + mask.numel()
    return zeroed, total


@torch.no_grad()
def prune_by_wanda(model: PreTrainedModel, examples: Sequence[Example], percent: float) -> tuple[int, int]:
    """Zero weights in place, block by block: each block reads what the pruned ones before it write.

    Return how many, and of how many.

    Raises:
        UnsupportedModelError: a matrix is no layer of its own (experts), so that its input cannot be read.
    """
    zeroed = total = 0
    for place, block in enumerate(block_matrices(model)):
        for matrix, energy in zip(block, _energies(model, examples, place, block), strict=True):
            (weight,) = matrix.views(model.get_parameter(matrix.name))
            mask = wanda_share(weight, energy, percent)
            weight.masked_fill_(mask, 0.0)
            zeroed, total = zeroed + int(mask.sum()), total + mask.numel()
    return zeroed, total


def _energies(
    model: PreTrainedModel, examples: Sequence[Example], place: int, matrices: Sequence[Matrix]
) -> list[Tensor]:
    """Sum of squares [in] of each matrix's inputs in the block at `place`, over all tokens of all examples."""
    layers = [_layer(model, matrix) for matrix in matrices]
    found = [torch.zeros(_inputs(model, matrix), dtype=torch.float32, device=model.device) for matrix in matrices]

    def reader(number: int) -> Any:
        def read(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[number] += given[0].float().reshape(-1, given[0].shape[-1]).square().sum(0)

        return read

    hooks = [layer.register_forward_pre_hook(reader(number)) for number, layer in enumerate(layers)]
    with measuring(model), _ended_behind(decoder_layers(model)[place]):
        try:
            for example in examples:
                ids = torch.tensor([[*example.prompt_ids, *example.answer_ids]], device=model.device)
                try:
                    model(input_ids=ids, use_cache=False)
                except _Enough:
                    continue
        finally:
            for hook in hooks:
                hook.remove()
    return found


@contextmanager
def _ended_behind(block: nn.Module) -> Iterator[None]:
    def end(*_: object) -> None:
        raise _Enough

    hook = block.register_forward_hook(end)
    try:
        yield
    finally:
        hook.remove()


def _layer(model: PreTrainedModel, matrix: Matrix) -> nn.Module:
    layer = model.get_submodule(matrix.name.rpartition(".")[0])
    if not isinstance(layer, nn.Linear) and not is_transposed_linear(layer):
        raise UnsupportedModelError(
            f"{type(model).__name__} keeps its experts in one parameter, so the input of each cannot be read; use by: "
            "magnitude"
        )
    return layer


def _inputs(model: PreTrainedModel, matrix: Matrix) -> int:
    return matrix.views(model.get_parameter(matrix.name))[0].shape[1]
