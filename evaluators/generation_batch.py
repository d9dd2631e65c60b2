"""One batch of answers under way: a pass for each token, or for several that were guessed and are verified.

Guessed tokens of all rows are fed at once. Those that the model's own choice refuses stay in the cache, masked out, and
count for no position; so rows that accept different numbers stay one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearn_sweep.evaluators.drafts import Drafter
from unlearn_sweep.evaluators.inference import forward_cached, forward_parameters, pad_left, rows_selectable
from unlearn_sweep.evaluators.nucleus import Nucleus

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

COMPACT_BELOW = 0.75
"""Share of unfinished rows below which finished ones leave the batch: copying the cache costs about a step."""
WORTH = {"cpu": 0.5}
WORTH_ELSEWHERE = 0.1
"""Share of the computed guesses that must be right, else a batch stops guessing: on a CPU a verified token costs nearly
what a generated one does; on an accelerator a pass costs about the same for one token as for several."""
TRIED = 2
"""Guesses for each row before that share is looked at."""
VERIFIED_ENTRIES = 2**27
"""Entries of the logits of one pass over drafts, at most."""


@dataclass(slots=True)
class Row:
    """One unfinished answer: what is fed first, the list that collects what is generated, random numbers, drafts."""

    fed: list[int]
    answer: list[int]
    uniforms: NDArray[np.float64] | None = None
    drafter: Drafter | None = None


def ended(answer: Sequence[int], end_ids: frozenset[int], max_new_tokens: int) -> bool:
    """Whether an answer is complete: it has an id of `end_ids`, or as many tokens as it may."""
    return len(answer) >= max_new_tokens or (bool(answer) and answer[-1] in end_ids)


def places_of(max_new_tokens: int, *, drafts: bool) -> int:
    """Places of the cache that an answer may take: with drafts, half as many refused tokens as it may have."""
    return max_new_tokens + (max_new_tokens // 2 if drafts else 0)


def takes_drafts(model: PreTrainedModel, cache: DynamicCache) -> bool:
    """Whether tokens can be taken back by masking them out: positions are given, and every layer sees every place.

    A sliding window counts masked places as well, and a recurrent state keeps what it has read.
    """
    from transformers.cache_utils import DynamicLayer

    full = all(type(layer) is DynamicLayer for layer in cache.layers)
    return full and "position_ids" in forward_parameters(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Answers in the order of the prompts, and how many times the model was called for them.

    Each answer ends with its end-of-text token where the model wrote one, else it has `max_new_tokens` tokens.
    """

    tokens: tuple[tuple[int, ...], ...]
    forward_passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingBatch:
    """Prompts that are answered at once, from what is known of their answers.

    `indices`: what the prompts are among all that are answered. `texts`: what each answer may repeat.
    """

    indices: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    uniforms: tuple[NDArray[np.float64], ...] | None
    texts: tuple[tuple[tuple[int, ...], ...], ...] | None
    max_new_tokens: int
    end_ids: frozenset[int]
    pad_id: int
    nucleus: Nucleus | None

    @property
    def size(self) -> int:
        return len(self.prompts) * (max(map(len, self.prompts)) + self.max_new_tokens)

    def run(self, model: PreTrainedModel) -> Generated:
        rows = [
            Row(
                fed=[*prompt, *answer],
                answer=list(answer),
                uniforms=None if self.uniforms is None else self.uniforms[place],
                drafter=None if self.texts is None else Drafter(texts=self.texts[place], prompt=prompt),
            )
            for place, (prompt, answer) in enumerate(zip(self.prompts, self.answers, strict=True))
        ]
        passes = _Writing(self, model, list(rows)).to_the_end()
        return Generated(tokens=tuple(tuple(row.answer) for row in rows), forward_passes=passes)


class _Writing:
    """The rows of a batch that are still in it, and what the model has read of them."""

    def __init__(self, batch: WritingBatch, model: PreTrainedModel, rows: list[Row]) -> None:
        from transformers import DynamicCache

        self.batch, self.model, self.rows = batch, model, rows
        self.cache = DynamicCache(config=model.config)
        self.selectable = rows_selectable(self.cache)
        self.verifies = batch.texts is not None and takes_drafts(model, self.cache)
        self.passes = 0
        self.guessed = self.right = 0
        self.worth = WORTH.get(model.device.type, WORTH_ELSEWHERE)

    def to_the_end(self) -> int:
        """Generate until every row has ended; answers grow in place. Return the number of forward passes."""
        ids, mask = (part.to(self.model.device) for part in pad_left([row.fed for row in self.rows], self.batch.pad_id))
        places = mask.shape[1] + places_of(self.batch.max_new_tokens, drafts=self.verifies)
        drafts: list[list[int]] = [[] for _ in self.rows]
        chosen = self._forward(ids, mask, 1)
        while True:
            accepted = [self._take(*state) for state in zip(self.rows, drafts, chosen.tolist(), strict=True)]
            open_rows = [index for index, row in enumerate(self.rows) if not self._ended(row)]
            if not open_rows:
                return self.passes
            if any(drafts):
                mask = self._without_refused(mask, accepted, ids.shape[1])
                self._judge(len(self.rows) * (ids.shape[1] - 1), sum(accepted))
            if self.selectable and len(open_rows) < COMPACT_BELOW * len(self.rows):
                kept = torch.tensor(open_rows, device=self.model.device)
                self.cache.batch_select_indices(kept)
                mask, self.rows = mask[kept], [self.rows[index] for index in open_rows]
            drafts = self._drafts(places - mask.shape[1])
            ids, mask = self._inputs(drafts, mask)
            chosen = self._forward(ids, mask, ids.shape[1])

    def _forward(self, ids: Tensor, mask: Tensor, last: int) -> Tensor:
        """Return the model's choices [rows, last] after each of the last tokens."""
        self.passes += 1
        logits = forward_cached(self.model, self.cache, ids, mask, last)[:, -last:]
        if self.batch.nucleus is None:
            return logits.argmax(-1)
        # A row that has ended gets a token too, which is not kept.
        numbers = [
            0.0 if row.uniforms is None else row.uniforms[min(len(row.answer), len(row.uniforms) - 1)]
            for row in self.rows
        ]
        uniforms = torch.tensor(numbers, dtype=torch.float64, device=logits.device)
        return self.batch.nucleus.pick(logits[:, -1], uniforms)[:, None]

    def _take(self, row: Row, draft: Sequence[int], chosen: Sequence[int]) -> int:
        """Add to an answer what the model chose, as far as its draft says the same. Return how much of it was kept."""
        if self._ended(row):
            return 0
        accepted, before = 0, len(row.answer)
        for place, token in enumerate(chosen[: len(draft) + 1]):
            row.answer.append(token)
            if place == len(draft) or token != draft[place] or self._ended(row):
                break
            accepted += 1
        if row.drafter is not None:
            row.drafter.learn(len(draft), accepted, len(row.answer) - before)
        return accepted

    def _judge(self, guessed: int, right: int) -> None:
        """Count the guesses of a pass, padding included; end guessing where too few were right."""
        self.guessed, self.right = self.guessed + guessed, self.right + right
        if self.guessed >= TRIED * len(self.rows) and self.right < self.worth * self.guessed:
            self.verifies = False

    def _drafts(self, free: int) -> list[list[int]]:
        """Guess for each row, as many tokens as half the rows have guesses: the others are computed for nothing."""
        if not self.verifies:
            return [[] for _ in self.rows]
        open_rows = [row for row in self.rows if not self._ended(row)]
        remaining = max(self.batch.max_new_tokens - len(row.answer) for row in open_rows)
        most = free - remaining  # so that the slowest row can still be written to its end
        entries = len(self.rows) * self.model.config.get_text_config().vocab_size
        most = min(most, VERIFIED_ENTRIES // max(1, entries) - 1)
        if most < 1:
            return [[] for _ in self.rows]
        found = [self._draft(row, most) for row in self.rows]
        lengths = sorted(len(draft) for draft, row in zip(found, self.rows, strict=True) if not self._ended(row))
        return [draft[: lengths[len(lengths) // 2]] for draft in found]

    def _draft(self, row: Row, most: int) -> list[int]:
        if row.drafter is None or self._ended(row):
            return []
        return row.drafter.draft(row.answer, min(most, self.batch.max_new_tokens - len(row.answer) - 1))

    def _inputs(self, drafts: Sequence[Sequence[int]], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return each row's last token and its draft, padded on the right, and the mask with their places."""
        width = 1 + max(map(len, drafts))
        fed = [[row.answer[-1], *draft] for row, draft in zip(self.rows, drafts, strict=True)]
        ids = torch.tensor([[*tokens, *[self.batch.pad_id] * (width - len(tokens))] for tokens in fed])
        real = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in fed])
        return ids.to(mask.device), torch.cat([mask, real.to(mask)], dim=1)

    def _without_refused(self, mask: Tensor, accepted: Sequence[int], width: int) -> Tensor:
        """Mask out what the last pass was fed beyond each row's last token and the accepted part of its draft."""
        places = torch.arange(width, device=mask.device)
        kept = places[None] <= torch.tensor(accepted, device=mask.device)[:, None]
        return torch.cat([mask[:, :-width], mask[:, -width:] * kept], dim=1)

    def _ended(self, row: Row) -> bool:
        return ended(row.answer, self.batch.end_ids, self.batch.max_new_tokens)
