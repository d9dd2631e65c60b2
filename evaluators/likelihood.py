"""How likely a model finds given answers: one teacher-forced pass serves every likelihood metric.

Padding goes on the right of whole sequences, where a causal model cannot see it, so no attention mask is needed. The
LM head runs at supervised positions only. Examples that share a prompt (an answer, its paraphrase and its perturbed
answers) read that prompt once: its keys and values are cached and repeated for each answer (`prompt_sharing`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearn_sweep.evaluators.inference import (
    forward_cached,
    has_window,
    pad_left,
    pad_right,
    rows_selectable,
    token_batches,
)
from unlearn_sweep.evaluators.model_batches import run_batches
from unlearn_sweep.evaluators.prompt_sharing import Family, SharedBatch, one_by_one, sharing
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.evaluators.vocabulary import token_statistics

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


class NonFiniteLogits(ArithmeticError):
    """A model gave NaN or infinite scores, so nothing can be measured on it. `row_ids` are the examples concerned."""

    def __init__(self, row_ids: tuple[str, ...], of: int) -> None:
        self.row_ids = row_ids
        super().__init__(
            f"the model's log-probabilities are not finite in {len(row_ids)} of {of} examples (first: {row_ids[0]!r}); "
            "its weights have most likely diverged"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """One example under teacher forcing. n answer tokens, the end-of-text token included where the example has one.

    `logp` [n] float32: log-probability of each answer token, in nats, at most 0. `argmax` [n] int64: the token the
    model itself would have put there. `correct` [n] bool: whether that is the answer's token. `mean`, `variance` [n]
    float32: of log p under p over the whole vocabulary, where they were asked for.
    """

    logp: NDArray[np.float32]
    argmax: NDArray[np.int64]
    correct: NDArray[np.bool_]
    mean: NDArray[np.float32] | None = None
    variance: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodPass:
    """Scores in the order of the examples, and how many times the model was called for them."""

    scores: tuple[TokenScores, ...]
    forward_passes: int


def score(
    model: PreTrainedModel,
    examples: Sequence[Example],
    *,
    pad_id: int,
    batch_tokens: int = 4096,
    share_prompts: bool = True,
    moments: Collection[int] = (),
) -> LikelihoodPass:
    """Score every answer token of every example, on the model's device and in its dtype, with log-softmax in float32.

    Batching, order and padding change nothing beyond rounding, and copies of the model (`model_batches`) change
    nothing. `batch_tokens` bounds rows times width of a batch. `share_prompts=False` reads every sequence in full: the
    plain form, for comparison. `moments` are the indices of examples of which mean and variance of log p at each place
    are wanted too, from the same forward passes.
    Raises ValueError for an example without prompt or answer tokens, `NonFiniteLogits` for a broken model.
    """
    _check(examples)
    cache = _new_cache(model)
    if share_prompts and rows_selectable(cache):
        planned = sharing(examples, batch_tokens, openings=not has_window(cache))
    else:
        planned = one_by_one(examples, batch_tokens)
    batches = [
        _ScoringBatch.of(examples, one, moments=moments, pad_id=pad_id, batch_tokens=batch_tokens) for one in planned
    ]
    sheet = _Sheet([len(example.answer_ids) for example in examples], moments=frozenset(moments))
    for batch, scored in zip(batches, run_batches(model, batches), strict=True):
        sheet.put(batch.indices, scored)
    return LikelihoodPass(scores=sheet.rows(examples), forward_passes=sheet.forward_passes)


def _check(examples: Sequence[Example]) -> None:
    for example in examples:
        if not example.prompt_ids:
            raise ValueError(f"row {example.row_id!r} has no prompt token for its first answer token to follow")
        if not example.answer_ids:
            raise ValueError(f"row {example.row_id!r} has no answer token to score; leave such rows out")


class _Sheet:
    """All answer tokens laid end to end: example i owns positions `starts[i]` up to `starts[i + 1]`."""

    def __init__(self, lengths: Sequence[int], *, moments: frozenset[int]) -> None:
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.starts = starts
        self.with_moments = moments
        self.moments = np.full((2, int(starts[-1])), np.nan, dtype=np.float32) if moments else None
        self._wanted = np.zeros(int(starts[-1]), dtype=np.bool_)
        for index in moments:
            self._wanted[starts[index] : starts[index + 1]] = True
        self.logp = np.empty(int(starts[-1]), dtype=np.float32)
        self.argmax = np.empty(int(starts[-1]), dtype=np.int64)
        self.forward_passes = 0

    def write(self, positions: NDArray[np.int64], logits: Tensor, targets: Sequence[int]) -> None:
        """Score `targets` [N] under `logits` [N, V] and keep them at `positions` [N]. Counts one forward pass."""
        labels = torch.tensor(targets, device=logits.device)
        wanted = self._wanted[positions]
        found = token_statistics(
            logits, labels, moments=torch.from_numpy(wanted).to(logits.device) if wanted.any() else None
        )
        self.logp[positions] = found.logp.cpu().numpy()
        self.argmax[positions] = found.argmax.cpu().numpy()
        if self.moments is not None and found.mean is not None and found.variance is not None:
            self.moments[:, positions] = torch.stack([found.mean, found.variance]).cpu().numpy()
        self.forward_passes += 1

    def put(self, indices: Sequence[int], scored: _Scored) -> None:
        """Take over the scores of the examples `indices`, which were scored as one batch."""
        if not indices:
            return
        positions = np.concatenate([self.positions(index) for index in indices])
        self.logp[positions], self.argmax[positions] = scored.logp, scored.argmax
        if self.moments is not None and scored.moments is not None:
            self.moments[:, positions] = scored.moments
        self.forward_passes += scored.forward_passes

    def positions(self, index: int, skip: int = 0) -> NDArray[np.int64]:
        return np.arange(self.starts[index] + skip, self.starts[index + 1])

    def rows(self, examples: Sequence[Example]) -> tuple[TokenScores, ...]:
        labels = np.array([token for example in examples for token in example.answer_ids], dtype=np.int64)
        correct = self.argmax == labels
        spans = [slice(int(a), int(b)) for a, b in zip(self.starts[:-1], self.starts[1:], strict=True)]
        broken = tuple(
            example.row_id
            for example, span in zip(examples, spans, strict=True)
            if not np.isfinite(self.logp[span]).all()
        )
        if broken:
            raise NonFiniteLogits(broken, len(examples))
        return tuple(
            TokenScores(
                logp=self.logp[span],
                argmax=self.argmax[span],
                correct=correct[span],
                mean=None if self.moments is None or index not in self.with_moments else self.moments[0, span],
                variance=None if self.moments is None or index not in self.with_moments else self.moments[1, span],
            )
            for index, span in enumerate(spans)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """Scores of all answer tokens of a batch, end to end (N tokens): `logp`, `argmax` [N], `moments` [2, N]."""

    logp: NDArray[np.float32]
    argmax: NDArray[np.int64]
    moments: NDArray[np.float32] | None
    forward_passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ScoringBatch:
    """Examples that are scored at once, one family after the other.

    `indices`: what the examples are among all that are scored. `families`, `moments`: places in the batch. `cached` and
    `opening` are those of `SharedBatch`.
    """

    indices: tuple[int, ...]
    examples: tuple[Example, ...]
    families: tuple[Family, ...]
    cached: bool
    opening: int
    moments: frozenset[int]
    pad_id: int
    batch_tokens: int

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        planned: SharedBatch,
        *,
        moments: Collection[int],
        pad_id: int,
        batch_tokens: int,
    ) -> _ScoringBatch:
        """Return the planned batch, without the texts of its examples."""
        indices = [index for family in planned.families for index in family]
        firsts = np.cumsum([0, *(len(family) for family in planned.families)]).tolist()
        chosen = (examples[index] for index in indices)
        wanted = frozenset(moments)
        return cls(
            indices=tuple(indices),
            examples=tuple(
                Example(row_id=one.row_id, prompt_ids=one.prompt_ids, answer_ids=one.answer_ids) for one in chosen
            ),
            families=tuple(tuple(range(first, last)) for first, last in pairwise(firsts)),
            cached=planned.cached,
            opening=planned.opening,
            moments=frozenset(place for place, index in enumerate(indices) if index in wanted),
            pad_id=pad_id,
            batch_tokens=batch_tokens,
        )

    @property
    def size(self) -> int:
        widest = max(len(example.prompt_ids) for example in self.examples)
        return len(self.families) * widest + sum(len(example.answer_ids) for example in self.examples)

    def run(self, model: PreTrainedModel) -> _Scored:
        sheet = _Sheet([len(example.answer_ids) for example in self.examples], moments=self.moments)
        if self.cached:
            _score_shared(model, self, sheet)
        else:
            _score_whole(model, self, sheet)
        return _Scored(logp=sheet.logp, argmax=sheet.argmax, moments=sheet.moments, forward_passes=sheet.forward_passes)


def _score_whole(model: PreTrainedModel, batch: _ScoringBatch, sheet: _Sheet) -> None:
    """One sequence a family: prompt and first answer, of which the last token is predicted but never fed."""
    firsts = [batch.examples[family[0]] for family in batch.families]
    ids = pad_right([(*example.prompt_ids, *example.answer_ids[:-1]) for example in firsts], batch.pad_id)
    keep = torch.zeros_like(ids, dtype=torch.bool)
    for row, example in enumerate(firsts):
        first = len(example.prompt_ids) - 1
        keep[row, first : first + len(example.answer_ids)] = True
    logits = model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=keep.to(model.device)).logits
    targets = [token for example in batch.examples for token in example.answer_ids]
    if len(targets) > len(logits):  # several answers of one token
        logits = logits[_rows_of_targets(batch).to(logits.device)]
    sheet.write(np.arange(len(targets)), logits, targets)


def _rows_of_targets(batch: _ScoringBatch) -> Tensor:
    """The row of the logits [kept positions, V] that predicts each answer token of the batch."""
    rows: list[int] = []
    first = 0
    for family in batch.families:
        length = len(batch.examples[family[0]].answer_ids)
        rows += [first + place for _ in family for place in range(length)]
        first += length
    return torch.tensor(rows)


def _score_shared(model: PreTrainedModel, batch: _ScoringBatch, sheet: _Sheet) -> None:
    """The opening once, each family's prompt once behind it, then all answers after their own prompt's cache."""
    examples, families, skipped = batch.examples, batch.families, batch.opening
    ids, mask = pad_left([examples[family[0]].prompt_ids[skipped:] for family in families], batch.pad_id)
    mask = torch.cat([mask.new_ones(len(mask), skipped), mask], dim=1).to(model.device)
    prompts = _new_cache(model)
    if skipped:
        opening = torch.tensor([examples[0].prompt_ids[:skipped]], device=model.device)
        forward_cached(model, prompts, opening, torch.ones_like(opening), 1)
        prompts.batch_repeat_interleave(len(families))
        sheet.forward_passes += 1
    last = forward_cached(model, prompts, ids.to(model.device), mask, 1)[:, -1]
    members = [(owner, index) for owner, family in enumerate(families) for index in family]
    firsts = torch.tensor([owner for owner, _ in members], device=model.device)
    starts = sheet.starts[[index for _, index in members]]
    sheet.write(starts, last[firsts], [examples[index].answer_ids[0] for _, index in members])
    rest = [(owner, index) for owner, index in members if len(examples[index].answer_ids) > 1]
    widths = [mask.shape[1] + len(examples[index].answer_ids) for _, index in rest]
    for chosen in token_batches(widths, batch.batch_tokens):
        _score_answers(model, examples, [rest[position] for position in chosen], prompts, mask, batch.pad_id, sheet)


def _score_answers(
    model: PreTrainedModel,
    examples: Sequence[Example],
    batch: Sequence[tuple[int, int]],
    prompts: DynamicCache,
    prompt_mask: Tensor,
    pad_id: int,
    sheet: _Sheet,
) -> None:
    """Answer tokens from the second on. `batch` holds (row of the prompt in the cache, example)."""
    owners = torch.tensor([owner for owner, _ in batch], device=model.device)
    answers = [examples[index].answer_ids for _, index in batch]
    ids = pad_right([answer[:-1] for answer in answers], pad_id).to(model.device)
    fed = torch.tensor([len(answer) - 1 for answer in answers], device=model.device)
    keep = torch.arange(ids.shape[1], device=model.device)[None] < fed[:, None]
    mask = torch.cat([prompt_mask[owners], torch.ones_like(ids)], dim=1)
    logits = forward_cached(model, _repeated(prompts, owners), ids, mask, keep)
    targets = [token for answer in answers for token in answer[1:]]
    sheet.write(np.concatenate([sheet.positions(index, skip=1) for _, index in batch]), logits, targets)


def _new_cache(model: PreTrainedModel) -> DynamicCache:
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def _repeated(cache: DynamicCache, owners: Tensor) -> DynamicCache:
    """A cache whose row i is row `owners[i]` of `cache`, which stays as it is: selecting makes new tensors."""
    repeated = copy.copy(cache)
    repeated.layers = [copy.copy(layer) for layer in cache.layers]
    repeated.batch_select_indices(owners)
    return repeated
