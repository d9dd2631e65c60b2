"""The gradient of an input embedding that is the head's weight too, without a second tensor of its size.

The head's share of that gradient is [V, D], and so is the embedding's, most of it zeros: filling it and adding both up
takes as long as AdamW's step. As a sparse tensor of the tokens' rows, torch adds it to the head's share in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def tokens_rows_only(model: PreTrainedModel) -> Iterator[None]:
    """In forward passes inside, let a tied embedding's share of the gradient name its tokens' rows only.

    What is differentiated must depend on the head: the gradient is sparse otherwise. Does nothing to other models, and
    off a CPU, where sums over rows are in no fixed order.
    """
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding) or not _worth(model, embedding):
        yield
        return
    embedding.sparse = True
    try:
        yield
    finally:
        embedding.sparse = False


def _worth(model: PreTrainedModel, embedding: nn.Embedding) -> bool:
    head = model.get_output_embeddings()
    weight = embedding.weight
    plain = type(embedding) is nn.Embedding and not (embedding.sparse or embedding.scale_grad_by_freq)
    tied = isinstance(head, nn.Linear) and head.weight is weight
    return plain and tied and weight.requires_grad and weight.device.type == "cpu" and torch.is_grad_enabled()
