"""Greedy answers to many prompts: batches of similar length, left padding, a cache, rows leave as soon as they end.

Only token ids are handled here. What was generated is what came after the prompt's last token; nothing is cut out of
decoded text. Sampling settings a model carries (temperature, repetition penalty) play no part: tokens are the argmax,
or drawn from the nucleus that the caller gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearn_sweep.evaluators.inference import forward_cached, pad_left, rows_selectable, token_batches
from unlearn_sweep.evaluators.likelihood import TokenScores
from unlearn_sweep.evaluators.model_batches import run_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_COMPACT_BELOW = 0.75
"""Share of unfinished rows below which finished ones leave the batch: copying the cache costs about a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Answers in the order of the prompts, and how many times the model was called for them.

    Each answer ends with its end-of-text token where the model wrote one, else it has `max_new_tokens` tokens.
    """

    tokens: tuple[tuple[int, ...], ...]
    forward_passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nucleus:
    """What tokens are drawn from: the likeliest ones that have `top_p` of the probability at a temperature, above 0."""

    temperature: float
    top_p: float

    def pick(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Draw one token a row by inverse transform.

        Args:
            logits: scores, [rows, vocabulary].
            uniforms: random numbers in [0, 1), [rows].

        Returns:
            token ids, [rows].
        """
        shares, tokens = torch.softmax(logits.double() / self.temperature, -1).sort(descending=True, stable=True)
        reached = shares.cumsum(-1)
        inside = reached - shares < self.top_p  # the token that crosses top_p belongs to the nucleus
        mass = (shares * inside).sum(-1, keepdim=True)
        place = (reached <= uniforms[:, None] * mass).sum(-1, keepdim=True)
        last = inside.sum(-1, keepdim=True) - 1
        return tokens.gather(-1, place.minimum(last)).squeeze(-1)


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
    pad_id: int,
    cache_tokens: int = 16384,
    openings: Sequence[Sequence[int]] | None = None,
    nucleus: Nucleus | None = None,
    uniforms: Sequence[NDArray[np.float64]] | None = None,
) -> Generated:
    """The model's greedy continuation of every prompt (token ids), up to an id of `end_ids` or `max_new_tokens`.

    `cache_tokens` bounds rows times full length of a batch. `openings` are beginnings that are already known to be the
    model's own greedy answer (see `known_opening`); generation goes on behind them and they count as generated.
    With `nucleus` tokens are drawn, with the random numbers of `uniforms`: for each prompt `max_new_tokens` of them.
    Raises ValueError for an empty prompt, `max_new_tokens` below 1, or a nucleus without random numbers.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    empty = [index for index, prompt in enumerate(prompts) if not prompt]
    if empty:
        raise ValueError(f"prompt {empty[0]} has no token; a model needs at least one to go on from")
    answers = [list(opening[:max_new_tokens]) for opening in openings or [()] * len(prompts)]
    if len(answers) != len(prompts):
        raise ValueError(f"{len(answers)} openings for {len(prompts)} prompts; there must be one for each")
    if (nucleus is None) != (uniforms is None) or (uniforms is not None and len(uniforms) != len(prompts)):
        raise ValueError("a nucleus needs random numbers for each prompt, and random numbers need a nucleus")
    waiting = [index for index, answer in enumerate(answers) if not _ended(answer, end_ids, max_new_tokens)]
    batches = [
        _WritingBatch(
            indices=tuple(waiting[position] for position in batch),
            prompts=tuple(tuple(prompts[waiting[position]]) for position in batch),
            answers=tuple(tuple(answers[waiting[position]]) for position in batch),
            uniforms=None if uniforms is None else tuple(uniforms[waiting[position]] for position in batch),
            max_new_tokens=max_new_tokens,
            end_ids=end_ids,
            pad_id=pad_id,
            nucleus=nucleus,
        )
        for batch in token_batches([len(prompts[index]) + max_new_tokens for index in waiting], cache_tokens)
    ]
    done = run_batches(model, batches)
    for batch, written in zip(batches, done, strict=True):
        for index, tokens in zip(batch.indices, written.tokens, strict=True):
            answers[index] = list(tokens)
    return Generated(
        tokens=tuple(tuple(answer) for answer in answers), forward_passes=sum(one.forward_passes for one in done)
    )


def known_opening(
    scores: TokenScores, answer_ids: Sequence[int], *, end_ids: frozenset[int], max_new_tokens: int
) -> tuple[int, ...]:
    """How the model's greedy answer begins, read off a teacher-forced pass over `answer_ids` behind the same prompt.

    As long as the argmax agrees with the fed answer, both are the same text; at the first difference the argmax is the
    model's own next token. At least one token is known, and all of them where the model knows the answer by heart.
    """
    agreed = int(scores.correct.argmin()) if not scores.correct.all() else len(scores.correct)
    known = (*answer_ids[:agreed], *(int(token) for token in scores.argmax[agreed : agreed + 1]))[:max_new_tokens]
    stop = next((place + 1 for place, token in enumerate(known) if token in end_ids), len(known))
    return known[:stop]


@dataclass(slots=True)
class _Row:
    """One unfinished answer: what is fed first, the list that collects what is generated, and its random numbers."""

    fed: list[int]
    answer: list[int]
    uniforms: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _WritingBatch:
    """Prompts that are answered at once, from what is known of their answers.

    `indices`: what the prompts are among all that are answered.
    """

    indices: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    uniforms: tuple[NDArray[np.float64], ...] | None
    max_new_tokens: int
    end_ids: frozenset[int]
    pad_id: int
    nucleus: Nucleus | None

    @property
    def size(self) -> int:
        return len(self.prompts) * (max(map(len, self.prompts)) + self.max_new_tokens)

    def run(self, model: PreTrainedModel) -> Generated:
        numbers = self.uniforms or (None,) * len(self.prompts)
        rows = [
            _Row([*prompt, *answer], list(answer), own)
            for prompt, answer, own in zip(self.prompts, self.answers, numbers, strict=True)
        ]
        passes = _continue(model, rows, self.max_new_tokens, self.end_ids, self.pad_id, self.nucleus)
        return Generated(tokens=tuple(tuple(row.answer) for row in rows), forward_passes=passes)


def _ended(answer: Sequence[int], end_ids: frozenset[int], max_new_tokens: int) -> bool:
    return len(answer) >= max_new_tokens or (bool(answer) and answer[-1] in end_ids)


def _next(logits: Tensor, rows: Sequence[_Row], nucleus: Nucleus | None) -> Tensor:
    """The next token of each row, [rows]. A row that has ended gets one too, which is not kept."""
    if nucleus is None:
        return logits.argmax(-1)
    numbers = [
        0.0 if row.uniforms is None else row.uniforms[min(len(row.answer), len(row.uniforms) - 1)] for row in rows
    ]
    return nucleus.pick(logits, torch.tensor(numbers, dtype=torch.float64, device=logits.device))


def _continue(
    model: PreTrainedModel,
    rows: list[_Row],
    max_new_tokens: int,
    end_ids: frozenset[int],
    pad_id: int,
    nucleus: Nucleus | None,
) -> int:
    """Generate until every row has ended; answers grow in place. Returns the number of forward passes."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    selectable = rows_selectable(cache)
    ids, mask = (part.to(model.device) for part in pad_left([row.fed for row in rows], pad_id))
    passes = 0
    while True:
        tokens = _next(forward_cached(model, cache, ids, mask, 1)[:, -1], rows, nucleus)
        passes += 1
        open_rows = _append(rows, tokens.tolist(), end_ids, max_new_tokens)
        if not open_rows:
            return passes
        ids = tokens[:, None]
        if selectable and len(open_rows) < _COMPACT_BELOW * len(rows):
            kept = torch.tensor(open_rows, device=model.device)
            cache.batch_select_indices(kept)
            ids, mask, rows = ids[kept], mask[kept], [rows[index] for index in open_rows]
        mask = _grown(mask)


def _append(rows: Sequence[_Row], tokens: Sequence[int], end_ids: frozenset[int], max_new_tokens: int) -> list[int]:
    """Give each unfinished row its token; returns the indices that are still unfinished."""
    open_rows = []
    for index, (row, token) in enumerate(zip(rows, tokens, strict=True)):
        if _ended(row.answer, end_ids, max_new_tokens):
            continue
        row.answer.append(token)
        if not _ended(row.answer, end_ids, max_new_tokens):
            open_rows.append(index)
    return open_rows


def _grown(mask: Tensor) -> Tensor:
    return torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
