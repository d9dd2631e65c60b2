"""Prompt setting `thinking`: the model that is measured writes its thoughts first, and is asked behind them.

Rows that are asked in a chat get a thought behind all that an attack puts into their prompt; rows of running text, and
rows whose thought an attack has written already, stay as they are. All answers to a row are scored behind one thought.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.inference import context_tokens
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.row_encoder import EXCEEDS_CONTEXT, AskedRow
from unlearn_sweep.evaluators.rows import Asked, Example, Row, encode_asked
from unlearn_sweep.evaluators.thought_marks import ANSWER_ROOM, ThinkingSettings
from unlearn_sweep.evaluators.thoughts import (
    Thought,
    ThoughtCount,
    behind,
    count,
    open_prompt,
    write_thoughts,
)
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_ROOM = "no room for thoughts within the model's context"


class ThinkingError(UserError):
    """Thoughts cannot be written for any row, or a prompt was edited in a way that leaves no place for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """Rows behind their thoughts. `thoughts`: by row_id, of rows that were asked to think."""

    asked: list[AskedRow]
    thoughts: dict[str, Thought]
    dropped: dict[str, int]
    forward_passes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """An example of a row, and the prompt behind which its thought is written."""

    example: Example
    text: Asked
    open: Asked
    prompt: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinker:
    """One model that thinks before it answers.

    Attributes:
        answer_tokens: Tokens that an answer may have; the context must have room for them behind the longest thought.
        cache_tokens: Bound on the tokens of a batch in generation.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: ThinkingSettings
    answer_tokens: int
    cache_tokens: int

    def consider(self, asked: Sequence[AskedRow]) -> Considered:
        """Return the rows with the model's thoughts before their answers.

        Raises:
            ThinkingError: no row has room for a thought, or an attack edited a prompt as ids.
        """
        opened = [self._opened(item) for item in asked]
        kept = [place for place, examples in enumerate(opened) if self._fits(examples)]
        thinking = [examples for examples in opened if examples]
        if thinking and not any(opened[place] for place in kept):
            raise ThinkingError(self._too_long(thinking))
        thoughts, passes = self._thoughts([one for place in kept for one in opened[place]])
        dropped = Counter({NO_ROOM: len(asked) - len(kept)})
        found: list[AskedRow] = []
        for place in kept:
            row = self._behind(asked[place], opened[place], thoughts)
            found += [] if row is None else [row]
            dropped[EXCEEDS_CONTEXT] += row is None
        first = {asked[place].row.row_id: opened[place][0].prompt for place in kept if opened[place]}
        return Considered(
            asked=found,
            thoughts={item.row.row_id: thoughts[first[item.row.row_id]] for item in found if item.row.row_id in first},
            dropped={reason: count for reason, count in dropped.items() if count},
            forward_passes=passes,
        )

    def _opened(self, item: AskedRow) -> list[_Opened]:
        """All examples of a row with their open prompts; none for a row that is not asked to think."""
        asked = item.answer.asked
        if asked is None or asked.thought is not None or not asked.template.resolved(self.tokenizer).chat:
            return []
        examples = list(_examples(item))
        texts = [self._text(example) for example in examples]
        opens = [open_prompt(text, self.tokenizer, self.settings) for text in texts]
        return [
            _Opened(example=example, text=text, open=opening, prompt=encoded.prompt_ids)
            for example, text, opening, encoded in zip(
                examples, texts, opens, encode_asked(self.tokenizer, opens), strict=True
            )
        ]

    def _text(self, example: Example) -> Asked:
        if example.text is None:
            raise ThinkingError(
                f"row {example.row_id!r}: an attack edited its prompt as ids, so there is no place for thoughts in it"
            )
        return example.text

    def _fits(self, examples: Sequence[_Opened]) -> bool:
        context = context_tokens(self.model)
        return context is None or all(len(one.prompt) + self._needs(one) <= context for one in examples)

    def _needs(self, one: _Opened) -> int:
        room = max(ANSWER_ROOM, self.answer_tokens, len(one.example.answer_ids))
        return self.settings.max_tokens + room

    def _too_long(self, thinking: Sequence[Sequence[_Opened]]) -> str:
        shortest = min(len(one.prompt) + self._needs(one) for examples in thinking for one in examples)
        context = context_tokens(self.model) or 0
        return (
            f"thoughts of {self.settings.max_tokens} tokens fit into the model's context of {context} for none of "
            f"{len(thinking)} rows; lower prompt.thinking.max_tokens to "
            f"{max(0, self.settings.max_tokens - (shortest - context))} at most"
        )

    def _thoughts(self, opened: Sequence[_Opened]) -> tuple[dict[Ids, Thought], int]:
        """The thought behind each distinct open prompt, and the number of forward passes."""
        distinct = {one.prompt: one.open.template for one in opened}
        if not distinct:
            return {}, 0
        written, passes = write_thoughts(
            self.model,
            self.tokenizer,
            list(distinct),
            list(distinct.values()),
            self.settings,
            self.settings.max_tokens,
            self.cache_tokens,
        )
        budget = self.settings.max_tokens
        thoughts = {
            prompt: text.thought(self.tokenizer, self.settings, budget)
            for prompt, text in zip(distinct, written, strict=True)
        }
        return thoughts, passes

    def _behind(self, item: AskedRow, opened: Sequence[_Opened], thoughts: dict[Ids, Thought]) -> AskedRow | None:
        """The row with its thought; None where prompt, thought and answer exceed the context after all."""
        if not opened:
            return item
        context = context_tokens(self.model)
        examples = [
            behind(one.example, one.text, thoughts[one.prompt], self.tokenizer, self.settings) for one in opened
        ]
        if context is not None and any(len(one.prompt_ids) + len(one.answer_ids) > context for one in examples):
            return None
        rest = iter(examples)
        return replace(
            item,
            answer=next(rest),
            paraphrase=None if item.paraphrase is None else next(rest),
            perturbed=tuple(next(rest) for _ in item.perturbed),
            choices=tuple(next(rest) for _ in item.choices),
        )


def _examples(item: AskedRow) -> Iterator[Example]:
    yield item.answer
    if item.paraphrase is not None:
        yield item.paraphrase
    yield from item.perturbed
    yield from item.choices


def counts(asked: Sequence[AskedRow], thoughts: dict[str, Thought]) -> dict[str, ThoughtCount]:
    """Return the counts of thoughts by split, of the rows that have an entry in `thoughts`."""
    by_split: dict[str, list[Row]] = {}
    for item in asked:
        if item.row.row_id in thoughts:
            by_split.setdefault(item.row.split, []).append(item.row)
    return {split: count(rows, [thoughts[row.row_id] for row in rows]) for split, rows in by_split.items()}
