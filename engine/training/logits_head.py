"""A model's head as a function of hidden states, where it is a linear layer and what follows it is known.

What a class does to its head's output is read from its configuration, and compared once with what the model itself
returns, at one position of the first batch. A head that is something else, or does not agree, is not taken apart: the
model then computes whole logits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.zero.shards import is_sharded, made_whole, stays_whole, whole_shape
from unlearn_sweep.methods.chunked_logits import ChunkedLogits
from unlearn_sweep.methods.logit_sizes import Logits, wants_chunks
from unlearn_sweep.methods.row_chunks import Finish, Head, unchanged

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
DIVISORS = ("logits_scaling",)
CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Names in configurations: Cohere, MuP models, Falcon-H1; Granite; Gemma 2 and 3, RecurrentGemma."""


def linear_head(model: PreTrainedModel, autocast: torch.dtype | None) -> Head | None:
    """The model's head; None where it is no plain linear layer."""
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear:
        return None
    parameters = list(layer.parameters(recurse=False))
    return Head(
        weight=layer.weight,
        bias=layer.bias,
        entries=whole_shape(layer.weight)[0],
        finish=_finish(model),
        dtype=autocast,
        whole=partial(made_whole, parameters),
        fetch=partial(stays_whole, parameters),
    )


class ChunkedHead:
    """Whether and how a model's logits are computed in chunks.

    Attributes:
        model: The model; its head is looked up when it is first needed.
        setting: What the training asks for.
        autocast: Number format in which the model runs; None: that of its weights.
    """

    def __init__(self, model: PreTrainedModel, setting: Logits, autocast: torch.dtype | None) -> None:
        self.model = model
        self.setting: Logits = setting
        self.autocast = autocast
        self._head: Head | None = None
        self._refused = setting == "whole"
        self._compared = False

    def wanted(self, rows: int) -> bool:
        """Whether the logits of so many rows are computed in chunks."""
        if self._refused:
            return False
        if self._head is None:
            self._head = linear_head(self.model, self.autocast)
            self._refused = self._head is None
        head = self._head
        return head is not None and wants_chunks(
            self.setting, rows=rows, vocabulary=head.entries, sharded=is_sharded(head.weight)
        )

    def of(self, hidden: Tensor) -> Tensor:
        """The logits [N, V] of the states [N, D] that the head reads."""
        if self._head is None:
            raise RuntimeError("logits in chunks of a head that was not looked up")
        return ChunkedLogits.of(hidden, self._head)

    @contextmanager
    def catching(self) -> Iterator[list[Tensor]]:
        """Catch what the head reads, [B, T, D], and let it compute the logits of the first position only."""
        caught: list[Tensor] = []

        def catch(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            caught.append(args[0])
            return (args[0][:1, :1].detach(), *args[1:])

        layer = self.model.get_output_embeddings()
        if not isinstance(layer, nn.Module):
            raise RuntimeError(f"{type(self.model).__name__} has no output embedding any more")
        handle = layer.register_forward_pre_hook(catch)
        try:
            yield caught
        finally:
            handle.remove()

    @property
    def compared(self) -> bool:
        """Whether the head as it is known here was compared with the model's own logits."""
        return self._compared

    def agrees(self, caught: Sequence[Tensor], logits: Tensor) -> bool:
        """Whether the head as it is known here gives the model's `logits` at the first position; looked at once."""
        if self._compared:
            return True
        self._compared = True
        if len(caught) != 1 or logits.shape[:2] != (1, 1) or not _equal(self.of(caught[0][0, :1]), logits[0]):
            self._refused = True
            name = type(self.model).__name__
            logger.warning("%s does more to its logits than is known here: they are computed whole", name)
        return not self._refused


def _equal(own: Tensor, logits: Tensor) -> bool:
    """Whether chunked logits [1, V] are what the model computed, but for rounding. NaN equals NaN."""
    with torch.no_grad():
        found, expected = own.detach() + 0, logits.to(own.dtype)
    rounding = 1e-4 if logits.dtype in (torch.float32, torch.float64) else 0.05
    largest = float(expected.detach().abs().max().nan_to_num(0.0))
    return bool(torch.allclose(found, expected, rtol=0, atol=rounding * largest, equal_nan=True))


def _finish(model: PreTrainedModel) -> Finish:
    config = model.config.get_text_config()
    factor = 1.0
    for name in FACTORS:
        factor *= _number(config, name) or 1.0
    for name in DIVISORS:
        factor /= _number(config, name) or 1.0
    cap = next((value for name in CAPS if (value := _number(config, name))), None)
    return unchanged if factor == 1.0 and cap is None else partial(_scaled, factor=factor, cap=cap)


def _number(config: object, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _scaled(logits: Tensor, *, factor: float, cap: float | None) -> Tensor:
    wide = logits * factor
    return wide if cap is None else cap * torch.tanh(wide / cap)
