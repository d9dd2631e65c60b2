"""Greedy answers to many prompts: batches of similar length, left padding, a cache, rows leave as soon as they end.

Only token ids are handled here. What was generated is what came after the prompt's last token; nothing is cut out of
decoded text. Sampling settings a model carries (temperature, repetition penalty) play no part: tokens are the argmax,
or drawn from the nucleus that the caller gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unlearn_sweep.evaluators.generation_batch import Generated, WritingBatch, ended, places_of
from unlearn_sweep.evaluators.inference import token_batches
from unlearn_sweep.evaluators.likelihood import TokenScores
from unlearn_sweep.evaluators.model_batches import run_batches
from unlearn_sweep.evaluators.nucleus import Nucleus

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: frozenset[int],
    pad_id: int,
    cache_tokens: int = 16384,
    openings: Sequence[Sequence[int]] | None = None,
    texts: Sequence[Sequence[Sequence[int]]] | None = None,
    nucleus: Nucleus | None = None,
    uniforms: Sequence[NDArray[np.float64]] | None = None,
) -> Generated:
    """The model's greedy continuation of every prompt (token ids), up to an id of `end_ids` or `max_new_tokens`.

    `cache_tokens` bounds rows times full length of a batch. `openings` are beginnings that are already known to be the
    model's own greedy answer (see `known_opening`); generation goes on behind them and they count as generated.
    `texts`: for each prompt, what its answer may repeat, likeliest first. Several of their tokens are then verified in
    one pass (`drafts.Drafter`), which changes no answer but for rounding where two tokens are equally likely. A model
    that cannot take tokens back, or that knows no positions apart from its cache's, goes on one by one.
    With `nucleus` tokens are drawn, with the random numbers of `uniforms`: for each prompt `max_new_tokens` of them.
    Raises ValueError for an empty prompt, `max_new_tokens` below 1, a nucleus without random numbers or with texts.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    empty = [index for index, prompt in enumerate(prompts) if not prompt]
    if empty:
        raise ValueError(f"prompt {empty[0]} has no token; a model needs at least one to go on from")
    answers = [list(opening[:max_new_tokens]) for opening in openings or [()] * len(prompts)]
    if len(answers) != len(prompts):
        raise ValueError(f"{len(answers)} openings for {len(prompts)} prompts; there must be one for each")
    if texts is not None and (nucleus is not None or len(texts) != len(prompts)):
        raise ValueError(f"texts are for greedy answers, one list for each prompt; got {len(texts)} for {len(prompts)}")
    if (nucleus is None) != (uniforms is None) or (uniforms is not None and len(uniforms) != len(prompts)):
        raise ValueError("a nucleus needs random numbers for each prompt, and random numbers need a nucleus")
    waiting = [index for index, answer in enumerate(answers) if not ended(answer, end_ids, max_new_tokens)]
    places = places_of(max_new_tokens, drafts=texts is not None)
    batches = [
        WritingBatch(
            indices=tuple(waiting[position] for position in batch),
            prompts=tuple(tuple(prompts[waiting[position]]) for position in batch),
            answers=tuple(tuple(answers[waiting[position]]) for position in batch),
            uniforms=None if uniforms is None else tuple(uniforms[waiting[position]] for position in batch),
            texts=None if texts is None else tuple(_tuples(texts[waiting[position]]) for position in batch),
            max_new_tokens=max_new_tokens,
            end_ids=end_ids,
            pad_id=pad_id,
            nucleus=nucleus,
        )
        for batch in token_batches([len(prompts[index]) + places for index in waiting], cache_tokens)
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


def _tuples(texts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(text) for text in texts)
