"""What examples that are scored together have in common, and which of them are read at once.

Examples with one prompt are a family. A family that one sequence scores needs no cache: it is one example, or its
answers have one token each (the letters of a choice), which the prompt's last position predicts. Prompts that begin
with the same tokens (the examples of a few-shot question) read their common opening once a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.inference import token_batches
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.rows import Example

Family = tuple[int, ...]
"""Indices of examples with the same prompt."""

OPENING_TOKENS = 64
"""Prompts that agree in more than so many first tokens read their common opening once."""
OPENING_PROMPTS = 4
"""Fewer prompts than this read their beginning each: a cache's attention mask has a price, too."""
CACHED_SHARE = 4
"""Times `batch_tokens` that a batch behind an opening may hold in its cache; what it feeds stays within it."""


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Families that are read at once. `cached`: prompts first, then answers; `opening`: first tokens of all prompts
    that are read once before them."""

    families: tuple[Family, ...]
    cached: bool
    opening: int = 0


def one_by_one(examples: Sequence[Example], batch_tokens: int) -> Iterator[SharedBatch]:
    """Yield batches in which every example is read in full."""
    return _at_once(examples, [(index,) for index in range(len(examples))], batch_tokens)


def sharing(examples: Sequence[Example], batch_tokens: int, *, openings: bool) -> Iterator[SharedBatch]:
    """Yield batches that read each prompt once, and with `openings` what prompts have in common."""
    families = by_prompt(examples)
    alone, together = _by_opening(families) if openings else (list(families.values()), [])
    yield from _at_once(examples, [family for family in alone if _needs_no_cache(examples, family)], batch_tokens)
    yield from _cached(examples, [family for family in alone if not _needs_no_cache(examples, family)], batch_tokens)
    for opening, behind in together:
        yield from _cached(examples, behind, batch_tokens, opening=opening)


def by_prompt(examples: Sequence[Example]) -> dict[Ids, Family]:
    """Return the examples of each prompt, in order."""
    families: dict[Ids, list[int]] = {}
    for index, example in enumerate(examples):
        families.setdefault(example.prompt_ids, []).append(index)
    return {prompt: tuple(family) for prompt, family in families.items()}


def _needs_no_cache(examples: Sequence[Example], family: Family) -> bool:
    return len(family) == 1 or all(len(examples[index].answer_ids) == 1 for index in family)


def _by_opening(families: Mapping[Ids, Family]) -> tuple[list[Family], list[tuple[int, list[Family]]]]:
    """Return families that are read by themselves, and those with a common opening of so many tokens."""
    groups: dict[Ids, list[Ids]] = {}
    for prompt in families:
        groups.setdefault(prompt[: OPENING_TOKENS + 1], []).append(prompt)
    alone: list[Family] = []
    together: list[tuple[int, list[Family]]] = []
    for beginning, prompts in groups.items():
        found = [families[prompt] for prompt in prompts]
        if len(beginning) > OPENING_TOKENS and len(prompts) >= OPENING_PROMPTS:
            together.append((common_opening(prompts), found))
        else:
            alone += found
    return alone, together


def common_opening(prompts: Sequence[Ids]) -> int:
    """Return how many first tokens all prompts share, one of each prompt left out at least."""
    first, last = min(prompts), max(prompts)
    agreed = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return min(agreed, min(map(len, prompts)) - 1)


def _at_once(examples: Sequence[Example], families: Sequence[Family], batch_tokens: int) -> Iterator[SharedBatch]:
    firsts = [examples[family[0]] for family in families]
    widths = [len(example.prompt_ids) + len(example.answer_ids) for example in firsts]
    for batch in token_batches(widths, batch_tokens):
        yield SharedBatch(tuple(families[position] for position in batch), cached=False)


def _cached(
    examples: Sequence[Example], families: Sequence[Family], batch_tokens: int, *, opening: int = 0
) -> Iterator[SharedBatch]:
    prompts = [len(examples[family[0]].prompt_ids) for family in families]
    widths = [max(length - opening, -(-length // CACHED_SHARE)) if opening else length for length in prompts]
    for batch in token_batches(widths, batch_tokens):
        yield SharedBatch(tuple(families[position] for position in batch), cached=True, opening=opening)
