"""A text put before or behind every question: where it stands in a prompt, and which tokens may stand in it.

What is searched over are token ids, what an attacker sends is text. The two agree only where the tokenizer reads the
text back as the ids that were scored, behind (or before) each of the questions; all else is never taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.prompts import asks, common_prefix, reword, template_of
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.model_parts import vocabulary_embedding
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row, Template, encode_many

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILLER = " x"
Place = Literal["prefix", "suffix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One question the text is searched on: ids before and behind the text, and the answer ids to make likely.

    `reply` is the whole answer, which is tokenised with the question.
    """

    question: str
    before: Ids
    behind: Ids
    answer: Ids
    reply: str = ""
    template: Template = field(default_factory=Template)

    def ids(self, text: Sequence[int]) -> list[int]:
        """The whole sequence as the model is fed; the last answer token is predicted only."""
        return [*self.before, *self.after(text)]

    def after(self, text: Sequence[int]) -> list[int]:
        """The sequence from the text on."""
        return [*text, *self.behind, *self.answer[:-1]]

    def predicts(self, text_tokens: int) -> range:
        """Positions whose next token is an answer token."""
        first = len(self.before) + text_tokens + len(self.behind) - 1
        return range(first, first + len(self.answer))

    def with_prompt(self, prompt: Ids) -> Slot:
        """The same answer behind a whole prompt, with no place left for a text."""
        return replace(self, before=prompt, behind=())


def placed(question: str, text: str, place: Place) -> str:
    """A question with the text before or behind it."""
    return question + text if place == "suffix" else f"{text} {question}"


def ask_with(target: Target, text: str, place: Place) -> PromptEdit:
    """The edit that asks every question of the benchmark with `text` at it, tokenised anew.

    Passages to go on with and texts to be read hold no question, and are asked as they are.
    """
    rows = [row for rows in target.benchmark.evaluation.values() for row in rows if asks(row)]
    return reword(target.tokenizer, {row.row_id: placed(row.question, text, place) for row in rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarialText:
    """The questions a text is searched on, and how ids become text there and text becomes ids."""

    tokenizer: PreTrainedTokenizerBase
    slots: tuple[Slot, ...]
    place: Place

    def read_back_unchanged(self, texts: Sequence[Ids]) -> list[Ids]:
        """Those whose text, at each of the questions, is tokenised into exactly the ids that are scored."""
        examples = iter(self._asked([self.text(ids) for ids in texts]))
        return [ids for ids in texts if all([_as_scored(next(examples), slot, ids) for slot in self.slots])]

    def prompts(self, text: str) -> list[Ids]:
        """The prompts of all slots with this text, tokenised from scratch."""
        return [example.prompt_ids for example in self._asked([text])]

    def text(self, ids: Sequence[int]) -> str:
        """What the ids add to the text. Read behind what stands before: some tokenizers drop a space at the start."""
        before = list(self.slots[0].before)
        written, whole = self._decoded(before), self._decoded([*before, *ids])
        return whole[len(written) :] if whole.startswith(written) else self._decoded(list(ids))

    def _asked(self, texts: Sequence[str]) -> list[Example]:
        asked = [("", placed(slot.question, text, self.place), slot.reply) for text in texts for slot in self.slots]
        templates = [slot.template for _ in texts for slot in self.slots]
        return encode_many(self.tokenizer, asked, templates)

    def _decoded(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _as_scored(example: Example, slot: Slot, ids: Ids) -> bool:
    whole = (*slot.before, *ids, *slot.behind)
    return example.prompt_ids == whole and example.answer_ids[: len(slot.answer)] == slot.answer


def place_text(
    target: Target, rows: Sequence[Row], start: str, *, place: Place, target_tokens: int
) -> tuple[AdversarialText, Ids]:
    """The text's place at each of these questions, and the ids of `start` there.

    Raises:
        AttackError: the tokenizer merges it with the question, or reads it differently at different questions.
    """
    found = [
        token_slot(target.tokenizer, row, template_of(row, target.benchmark), start, target_tokens, place=place)
        for row in rows
    ]
    texts = AdversarialText(tokenizer=target.tokenizer, slots=tuple(slot for slot, _ in found), place=place)
    ids = found[0][1]
    if not texts.read_back_unchanged([ids]):
        raise AttackError(f"the tokenizer reads {start!r} differently at different questions; the search cannot start")
    return texts, ids


def filler(tokenizer: PreTrainedTokenizerBase, tokens: int) -> str:
    """A neutral text of about this many tokens to start from."""
    return FILLER * max(1, tokens // len(tokenizer.encode(FILLER, add_special_tokens=False)))


def token_slot(
    tokenizer: PreTrainedTokenizerBase,
    row: Row,
    template: Template,
    start: str,
    target_tokens: int,
    *,
    place: Place = "suffix",
) -> tuple[Slot, Ids]:
    """Where a text stands in one question's prompt, and the ids of `start` at that place.

    Raises:
        AttackError: the tokenizer merges it with what is around it, so the text has no place of its own.
    """
    asked = [("", placed(row.question, text, place), row.answer) for text in ("", start)]
    plain, full = encode_many(tokenizer, asked, template)
    n = len(full.prompt_ids) - len(plain.prompt_ids)
    # What follows may begin like the text, so the first place at which the rest agrees is the text's own.
    for at in range(common_prefix(plain.prompt_ids, full.prompt_ids) + 1):
        if n > 0 and full.prompt_ids[at + n :] == plain.prompt_ids[at:]:
            slot = Slot(
                question=row.question,
                before=plain.prompt_ids[:at],
                behind=plain.prompt_ids[at:],
                answer=plain.answer_ids[:target_tokens],
                reply=row.answer,
                template=template,
            )
            return slot, full.prompt_ids[at : at + n]
    side = "end" if place == "suffix" else "beginning"
    raise AttackError(
        f"row {row.row_id!r}: the tokenizer merges a {place} with the question's {side}; gcg cannot place one"
    )


def forbidden_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, *, ascii_only: bool) -> Tensor:
    """Mask [V] over the input embedding's entries of those that may not stand in a text."""
    size = vocabulary_embedding(model).num_embeddings
    known = range(min(len(tokenizer), size))
    texts = tokenizer.batch_decode([[token] for token in known], clean_up_tokenization_spaces=False)
    special = set(tokenizer.all_special_ids)
    mask = torch.ones(size, dtype=torch.bool)
    for token, text in zip(known, texts, strict=True):
        printable = bool(text.strip()) and (not ascii_only or (text.isascii() and text.isprintable()))
        mask[token] = token in special or not printable
    return mask
