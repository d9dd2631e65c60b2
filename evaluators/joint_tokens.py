"""Prompt and answer as one text, tokenised once: the border between them is found afterwards, by characters.

Tokenised apart, an answer may begin with a token that the whole text does not have (SentencePiece puts a blank before
every text), and a model is then trained on and scored by a text that it never sees in use.

A token that lies on both sides of the border belongs to the answer, since it can only be chosen with the answer known.
Where a tokenizer gives no offsets, the border is the longest common beginning of the ids of the whole text and of the
prompt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One text: the prompt up to character `border`, the answer up to `end`, and how its turn is closed.

    `special`: the tokenizer adds its begin-of-text token (never its end-of-text token). `closing` is text behind the
    answer: it is supervised up to its first special token. `closes`: where it has none, and nothing but blanks, the
    tokenizer's end-of-text token stands there. `document`: a prompt without any token gets the begin (or end-of-text)
    token, as before a document in pre-training.
    """

    text: str
    border: int
    special: bool
    closing: str = ""
    closes: bool = False
    document: bool = False

    @property
    def full(self) -> str:
        return self.text + self.closing


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids of a `Whole`. The last `ending` of `answer` close the turn."""

    prompt: Ids
    answer: Ids
    ending: int


def tokenise(tokenizer: PreTrainedTokenizerBase, wholes: Sequence[Whole]) -> list[Tokens]:
    """Ids of prompt and answer of every text, in order; each distinct text is tokenised once."""
    if not tokenizer.is_fast:
        return [_by_common_beginning(tokenizer, whole) for whole in wholes]
    found: dict[tuple[str, bool], tuple[Ids, Ids, list[Span]]] = {}
    for special in (False, True):
        texts = list(dict.fromkeys(whole.full for whole in wholes if whole.special == special))
        if texts:
            found |= {
                (text, special): ids for text, ids in zip(texts, _with_offsets(tokenizer, texts, special), strict=True)
            }
    return [_by_offsets(tokenizer, whole, *found[whole.full, whole.special]) for whole in wholes]


def closing_ids(tokenizer: PreTrainedTokenizerBase, closing: str) -> Ids:
    """The special token that ends a turn in `closing`, or the tokenizer's end-of-text token where it has none."""
    ids = tokenizer.encode(closing, add_special_tokens=False) if closing.strip() else []
    specials = special_ids(tokenizer)
    ends = next(((token,) for token in ids if token in specials), ())
    return ends or (() if closing.strip() else _end_of_text(tokenizer))


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids that are no text: special tokens, and those that were added to the vocabulary as a whole."""
    return frozenset(tokenizer.all_special_ids) | frozenset(
        token for token, added in tokenizer.added_tokens_decoder.items() if added.special
    )


def _end_of_text(tokenizer: PreTrainedTokenizerBase) -> Ids:
    end = tokenizer.eos_token_id
    return (end,) if isinstance(end, int) else ()


def _with_offsets(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], special: bool
) -> list[tuple[Ids, Ids, list[Span]]]:
    """For each text: what the tokenizer puts before it, the ids of the text itself, and their characters."""
    batch = tokenizer(
        texts,
        add_special_tokens=special,
        return_attention_mask=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    columns = (batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"])
    found = []
    for ids, spans, added in zip(*(cast("list[list]", column) for column in columns), strict=True):
        first, last = (_run(added), len(ids) - _run(added[::-1])) if special else (0, len(ids))
        found.append((tuple(ids[:first]), tuple(ids[first:last]), spans[first:last]))
    return found


def _run(added: Sequence[int]) -> int:
    """How many tokens in a row from the first on were added by the tokenizer."""
    return next((place for place, flag in enumerate(added) if not flag), len(added))


def _by_offsets(tokenizer: PreTrainedTokenizerBase, whole: Whole, opening: Ids, ids: Ids, spans: list[Span]) -> Tokens:
    first = next((place for place, (_, stop) in enumerate(spans) if stop > whole.border), len(ids))
    end = len(whole.text)
    last = (
        next((place for place, (start, _) in enumerate(spans) if start >= end), len(ids)) if whole.closing else len(ids)
    )
    last = max(first, last)
    return _put_together(tokenizer, whole, opening, ids[:first], ids[first:last], ids[last:], spans[last:])


def _by_common_beginning(tokenizer: PreTrainedTokenizerBase, whole: Whole) -> Tokens:
    """For tokenizers without offsets. The closing text is found by its own common beginning, text without it."""
    ids, answered, prompt = (
        tuple(tokenizer.encode(text, add_special_tokens=False))
        for text in (whole.full, whole.text, whole.text[: whole.border])
    )
    opening = _opening(tokenizer, whole.full, ids) if whole.special else ()
    first = min(_shared(ids, prompt), len(ids))
    last = max(first, _shared(ids, answered)) if whole.closing else len(ids)
    return _put_together(tokenizer, whole, opening, ids[:first], ids[first:last], ids[last:], None)


def _opening(tokenizer: PreTrainedTokenizerBase, text: str, ids: Ids) -> Ids:
    """What the tokenizer puts before a text of these ids."""
    whole = tuple(tokenizer.encode(text, add_special_tokens=True))
    places = range(len(whole) - len(ids) + 1)
    return next((whole[:place] for place in places if whole[place : place + len(ids)] == ids), ())


def _shared(a: Ids, b: Ids) -> int:
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _put_together(
    tokenizer: PreTrainedTokenizerBase,
    whole: Whole,
    opening: Ids,
    prompt: Ids,
    answer: Ids,
    behind: Ids,
    spans: list[Span] | None,
) -> Tokens:
    if opening and prompt[: len(opening)] == opening:  # the text names its begin-of-text token itself
        opening = ()
    before = opening + prompt
    if not before and whole.document:
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        before = next(((found,) for found in ids if isinstance(found, int)), ())
    ending = _ending(tokenizer, whole, answer, behind, spans)
    return Tokens(before, answer + ending, len(ending))


def _ending(
    tokenizer: PreTrainedTokenizerBase, whole: Whole, answer: Ids, behind: Ids, spans: list[Span] | None
) -> Ids:
    """The tokens that close the turn: up to the first special one, never the newline behind it."""
    specials = special_ids(tokenizer)
    place = next((place for place, token in enumerate(behind) if token in specials), None)
    if place is not None:
        return behind[: place + 1]
    if whole.closing.strip():
        stop = len(whole.text) + len(whole.closing.rstrip())
        return behind if spans is None else tuple(i for i, (_, end) in zip(behind, spans, strict=True) if end <= stop)
    end = _end_of_text(tokenizer) if whole.closes else ()
    return () if answer[-1:] == end else end
