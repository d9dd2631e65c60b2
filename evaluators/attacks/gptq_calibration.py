"""Second moments of what goes into a model's linear layers on calibration rows, block by block for GPTQ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.inference import pad_right
from unlearn_sweep.evaluators.model_parts import Matrix, decoder_layers, is_transposed_linear
from unlearn_sweep.evaluators.rows import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS_AT_ONCE = 8


def calibration_examples(target: Target, view: str, samples: int) -> list[Example]:
    """At most `samples` rows of a training view, drawn by the target's seed.

    Raises:
        AttackError: no such view, or it is empty.
    """
    rows = target.benchmark.train.get(view, ())
    if not rows:
        known = ", ".join(sorted(name for name, found in target.benchmark.train.items() if found))
        raise AttackError(f"scheme gptq calibrates on view {view!r}, which has no rows; views with rows: {known}")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(target.seed)).tolist()
    return encode_rows(target.tokenizer, [rows[place] for place in order[:samples]], target.benchmark.template)


def in_blocks(model: PreTrainedModel, matrices: Sequence[Matrix]) -> list[tuple[nn.Module | None, list[Matrix]]]:
    """The matrices of each block in order, then those outside all blocks under None.

    Raises:
        AttackError: a matrix belongs to no linear layer (experts).
    """
    blocks = list(decoder_layers(model))
    places = {name: place for place, block in enumerate(blocks) for name in _parameter_names(model, block)}
    found: list[list[Matrix]] = [[] for _ in (*blocks, None)]
    for matrix in matrices:
        layer = _layer(model, matrix)
        if not (isinstance(layer, nn.Linear) or is_transposed_linear(layer)):
            raise AttackError(
                f"scheme gptq needs linear layers, and {matrix.name} is in a {type(layer).__name__}; use scheme: rtn"
            )
        found[places.get(matrix.name, -1)].append(matrix)
    return [(block, kept) for block, kept in zip((*blocks, None), found, strict=True) if kept]


def second_moments(
    model: PreTrainedModel, block: nn.Module | None, matrices: Sequence[Matrix], examples: Sequence[Example]
) -> dict[str, Tensor]:
    """Sum of x x^T [in, in] in fp32 over all tokens of the examples, for the layer of each matrix, by its name.

    The model runs as far as `block`; None: to its end. Padding does not count.
    """
    moments: dict[str, Tensor] = {}
    for start in range(0, len(examples), ROWS_AT_ONCE):
        rows = [(*one.prompt_ids, *one.answer_ids) for one in examples[start : start + ROWS_AT_ONCE]]
        ids = pad_right(rows, 0).to(model.device)
        real = torch.arange(ids.shape[1], device=ids.device) < torch.tensor([[len(row)] for row in rows]).to(ids.device)
        with ExitStack() as hooks:
            for matrix in matrices:
                hook = partial(_add_moments, moments, matrix.name, real)
                hooks.callback(_layer(model, matrix).register_forward_pre_hook(hook).remove)
            if block is not None:
                hooks.callback(block.register_forward_hook(_stop).remove)
            try:
                model(input_ids=ids, use_cache=False)
            except _BlockDone:
                continue
    return moments


class _BlockDone(Exception):
    """The block has run, and what comes behind it is of no interest."""


def _stop(module: nn.Module, args: Any, output: Any) -> None:
    raise _BlockDone


def _add_moments(moments: dict[str, Tensor], name: str, real: Tensor, module: nn.Module, args: Any) -> None:
    states = args[0].detach()[real].float()
    product = states.T @ states
    moments[name] = moments[name] + product if name in moments else product


def _layer(model: PreTrainedModel, matrix: Matrix) -> nn.Module:
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight is model.get_parameter(matrix.name):
        return head  # named by the embedding where both are one matrix
    return model.get_submodule(matrix.name.rpartition(".")[0])


def _parameter_names(model: PreTrainedModel, block: nn.Module) -> Iterator[str]:
    inside = {id(parameter) for parameter in block.parameters()}
    return (name for name, parameter in model.named_parameters() if id(parameter) in inside)
