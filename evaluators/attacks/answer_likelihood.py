"""Likelihood of answers as attacks need it: with gradients to train by, and as plain numbers to choose and check by.

B sequences of at most T tokens, N supervised tokens of all of them laid end to end, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from unlearn_sweep.evaluators.inference import pad_right
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode_many
from unlearn_sweep.evaluators.rows_by_length import by_length, logits_in_groups, pass_places

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Right-padded sequences [B, T], which a causal model reads without a mask.

    `predicts` [B, T] marks positions whose next token is supervised: `targets` [N].
    """

    input_ids: Tensor
    predicts: Tensor
    targets: Tensor


def collate(examples: Sequence[Example], device: torch.device) -> AnswerBatch:
    """One batch of prompts with their answers; the last answer token is predicted but never fed.

    Raises:
        ValueError: a prompt or an answer is empty, so that nothing can be supervised.
    """
    for example in examples:
        if not example.prompt_ids or not example.answer_ids:
            side = "answer" if example.prompt_ids else "prompt"
            raise ValueError(f"row {example.row_id!r} has an empty {side}: nothing to supervise; drop the row")
    input_ids = pad_right([(*example.prompt_ids, *example.answer_ids[:-1]) for example in examples], 0)
    predicts = torch.zeros_like(input_ids, dtype=torch.bool)
    for row, example in enumerate(examples):
        first = len(example.prompt_ids) - 1
        predicts[row, first : first + len(example.answer_ids)] = True
    targets = torch.tensor([token for example in examples for token in example.answer_ids])
    return AnswerBatch(*(part.to(device) for part in (input_ids, predicts, targets)))


def token_nll(model: PreTrainedModel, batch: AnswerBatch) -> Tensor:
    """Negative log-likelihood [N] of each supervised token in nats, with gradients; the head runs only at these."""
    logits = _in_groups(model, batch) if model.device.type == "cpu" else None
    if logits is None:
        logits = model(input_ids=batch.input_ids, use_cache=False, logits_to_keep=batch.predicts).logits
    return functional.cross_entropy(logits.float(), batch.targets, reduction="none")


def _in_groups(model: PreTrainedModel, batch: AnswerBatch) -> Tensor | None:
    """Logits [N, V] from rows in groups of like length; None where one pass over all of them is best."""
    positions = batch.predicts.flatten().nonzero()[:, 0]
    groups = by_length(batch.input_ids.shape, positions, pass_places=pass_places(model))
    return None if groups is None else logits_in_groups(model, batch.input_ids, groups)


def answer_nll(model: PreTrainedModel, examples: Sequence[Example], *, batch_tokens: int = 4096) -> list[float]:
    """Mean negative log-likelihood of each answer's tokens, in nats; no gradients, no dropout.

    Raises:
        ValueError: an example has an empty prompt or answer.
        NonFiniteLogits: the model is broken.
    """
    scores = score(model, examples, pad_id=0, batch_tokens=batch_tokens).scores
    return [-float(row.logp.mean()) for row in scores]


def encode_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], template: Template, *, max_tokens: int = 512
) -> list[Example]:
    """Rows as examples; a row whose answer does not fit into `max_tokens` at all is left out."""
    asked = [(row.row_id, row.question, row.answer) for row in rows]
    templates = [row.template or template for row in rows]
    examples = encode_many(tokenizer, asked, templates, max_tokens=max_tokens)
    return [example for example in examples if example.prompt_ids and example.answer_ids]
