"""Batches that keep prompts and padding, for losses that published code computes at every position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearn_sweep.engine.training.forward import Outputs, Packed, Part
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.methods.interface import IGNORED, Padded, Supervised


def pack_padded(view: str, items: Sequence[Item], pad_id: int, device: torch.device) -> tuple[Packed, Tensor]:
    """Pack all tokens of the rows, including the last, padded on the right with an attention mask.

    Return the batch and its labels [B, T]. Without rows, the batch has one unused position, so that the forward pass
    still takes part in collectives, and the labels have no row.
    """
    rows = [([*item.example.prompt_ids, *item.example.answer_ids], len(item.example.prompt_ids)) for item in items]
    width = max((len(ids) for ids, _ in rows), default=1)
    lengths = [len(ids) for ids, _ in rows] or [1]
    padded = [ids + [pad_id] * (width - len(ids)) for ids, _ in rows] or [[pad_id]]
    labels = [[IGNORED] * prompt + ids[prompt:] + [IGNORED] * (width - len(ids)) for ids, prompt in rows]
    places = torch.arange(width, device=device)
    sizes = torch.tensor(lengths, device=device)
    packed = Packed(
        input_ids=torch.tensor(padded, dtype=torch.long, device=device),
        positions=torch.arange(len(padded) * width, device=device),
        targets=torch.empty(0, dtype=torch.long, device=device),
        parts={view: Part(start=0, stop=0, sequence=places[:0], sequences=len(rows))},
        tokens=sum(lengths) if rows else 0,
        lengths=sizes,
        attention_mask=(places < sizes[:, None]).long(),
    )
    return packed, torch.tensor(labels, dtype=torch.long, device=device).reshape(len(rows), width)


def unpack(outputs: Outputs, labels: Tensor) -> Padded:
    """Reshape the model's outputs for the batch of `labels` [B, T] back to rows."""
    rows, width = labels.shape

    def in_rows(values: Tensor) -> Tensor:
        return values.reshape(max(1, rows), width, values.shape[-1])[:rows]

    hidden = {layer: in_rows(states) for layer, states in outputs.hidden.items()}
    return Padded(logits=in_rows(outputs.logits), labels=labels, hidden=hidden)


def supervised_part(padded: Padded) -> Supervised:
    """Select the supervised positions: those whose next token has a label."""
    wanted = padded.labels[:, 1:] != IGNORED
    rows = torch.arange(len(wanted), device=wanted.device)[:, None].expand_as(wanted)
    return Supervised(
        logits=padded.logits[:, :-1][wanted],
        targets=padded.labels[:, 1:][wanted],
        sequence=rows[wanted],
        sequences=len(wanted),
        hidden={layer: states[:, :-1][wanted] for layer, states in padded.hidden.items()},
    )
