"""Running a model in order to measure it: modes left as found, and batches of similar length under a token budget."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unlearn_sweep.evaluators.rows import Template, turn_end_ids

if TYPE_CHECKING:
    from transformers import DynamicCache, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@contextmanager
def measuring(model: PreTrainedModel) -> Iterator[None]:
    """Eval mode without gradients; every module's own training flag is back as it was afterwards, also on an error.

    `no_grad` and not `inference_mode`: a rotary buffer that a model recomputes during a measurement must stay usable in
    the training that may follow on the same model.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Indices in batches of similar length: rows times the longest row stays within `batch_tokens`.

    A row longer than the budget gets a batch of its own. Rows of equal length keep their order.
    Raises ValueError for a budget below 1.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; it must be at least 1")
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda position: lengths[position]):
        # Ascending order: the newcomer is the longest, so it alone sets the padded width.
        if batches and (len(batches[-1]) + 1) * lengths[index] <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pad_right(rows: Sequence[Sequence[int]], pad_id: int) -> Tensor:
    """[B, T] token ids with padding after each row."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """[B, T] token ids with padding before each row, and the attention mask [B, T] (1 on real tokens)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*[pad_id] * (width - len(row)), *row] for row in rows])
    mask = torch.tensor([[*[0] * (width - len(row)), *[1] * len(row)] for row in rows])
    return ids, mask


def forward_cached(
    model: PreTrainedModel, cache: DynamicCache, ids: Tensor, mask: Tensor, keep: int | Tensor
) -> Tensor:
    """Logits of new tokens `ids` [B, T] after what `cache` holds; `mask` [B, cached + T] is 1 on every real token.

    Positions count real tokens only, so left padding does not shift them. `keep` is transformers' `logits_to_keep`:
    1 for the last position ([B, 1, V]), or a boolean mask [B, T] for the chosen ones ([N, V]).
    """
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
    if "position_ids" in forward_parameters(model):
        inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return model(**inputs, logits_to_keep=keep).logits


def forward_parameters(model: PreTrainedModel) -> frozenset[str]:
    """Names a model's forward takes; a PEFT wrapper, which passes everything on, answers for the model inside."""
    get_base_model = getattr(model, "get_base_model", None)
    inner = get_base_model() if get_base_model is not None else model
    return frozenset(inspect.signature(inner.forward).parameters)


def rows_selectable(cache: DynamicCache) -> bool:
    """Whether rows can be taken out of or repeated in this cache (attention layers can, recurrent states cannot)."""
    return all(hasattr(layer, "batch_select_indices") for layer in cache.layers)


def has_window(cache: DynamicCache) -> bool:
    """Whether a layer sees the last tokens of its cache only. Padding between tokens then takes the place of some."""
    return any(getattr(layer, "is_sliding", False) for layer in cache.layers)


def context_tokens(model: PreTrainedModel) -> int | None:
    """The longest sequence the model has positions for, or None where its configuration names no limit."""
    return positions(model.config)


def positions(config: PretrainedConfig) -> int | None:
    """`context_tokens` of a configuration."""
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to fill batches with. Any id serves, because padding is never attended to and never scored."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    return 0


def end_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, templates: Iterable[Template] = ()
) -> frozenset[int]:
    """Every id that ends an answer: the tokenizer's end-of-text, those of the model's generation settings, if it has
    any, and what ends a turn in `templates`."""
    ids = {tokenizer.eos_token_id} if isinstance(tokenizer.eos_token_id, int) else set()
    settings = getattr(model, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    if isinstance(named, int):
        ids.add(named)
    elif named is not None:
        ids.update(int(token_id) for token_id in named)
    return frozenset(ids).union(*(turn_end_ids(tokenizer, template) for template in templates))
