"""Several answers to one question, drawn at a temperature, and what the worst of k of them gives away.

Source: leak@k (Reisizadeh et al.), arXiv 2511.04934; the estimator is that of pass@k (Chen et al., arXiv 2107.03374)
for values in place of successes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.nucleus import Nucleus

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Answer = tuple[int, ...]
"""Token ids of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are drawn: `draws` for each question, of which an attacker reads `best_of`.

    Draws depend on `seed`, the row and the draw's number, and not on the batch: original, gold and trials meet the
    same random numbers. `known` keeps what one model answered, so that several `best_of` share the draws.
    """

    draws: int
    best_of: int
    nucleus: Nucleus
    seed: int
    known: dict[tuple[Answer, int], tuple[Answer, ...]] = field(default_factory=dict, compare=False)

    def uniforms(self, row_id: str, draw: int, tokens: int) -> NDArray[np.float64]:
        """Random numbers in [0, 1) of one draw, one for each token."""
        return np.random.default_rng([self.seed, zlib.crc32(row_id.encode()), draw]).random(tokens)


def expected_best(values: Sequence[float], k: int) -> float:
    """Return the mean, over all choices of `k` of the values, of the largest one: the unbiased estimate of leak@k.

    NaN where there are fewer than `k` values.
    """
    count = len(values)
    if count < k:
        return float("nan")
    shares = [comb(place, k - 1) / comb(count, k) for place in range(count)]
    return float(np.dot(shares, np.sort(np.asarray(values, dtype=np.float64))))


def draw_answers(
    model: PreTrainedModel,
    prompts: Sequence[tuple[str, Answer]],
    sampling: Sampling,
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
    pad_id: int,
    cache_tokens: int,
) -> tuple[list[tuple[Answer, ...]], int]:
    """Draw answers to each prompt, a pair of row id and token ids. Return them and the number of forward passes."""
    new = [(row_id, ids) for row_id, ids in prompts if (ids, max_new_tokens) not in sampling.known]
    draws = [(row_id, ids, draw) for row_id, ids in new for draw in range(sampling.draws)]
    passes = 0
    if draws:
        done = generate(
            model,
            [ids for _, ids, _ in draws],
            max_new_tokens=max_new_tokens,
            end_ids=end_ids,
            pad_id=pad_id,
            cache_tokens=cache_tokens,
            nucleus=sampling.nucleus,
            uniforms=[sampling.uniforms(row_id, draw, max_new_tokens) for row_id, _, draw in draws],
        )
        passes = done.forward_passes
        for place, (_, ids) in enumerate(new):
            first = place * sampling.draws
            sampling.known[ids, max_new_tokens] = done.tokens[first : first + sampling.draws]
    return [sampling.known[ids, max_new_tokens] for _, ids in prompts], passes
