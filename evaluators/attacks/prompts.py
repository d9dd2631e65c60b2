"""Edits on what is asked. They change its text, which is then tokenised anew as one text, so they compose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict, Unpack

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row, Template, encode, encode_asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class AskedChanges(TypedDict, total=False):
    """Parts of `Asked` that an attack changes."""

    question: str
    answer: str
    shown: tuple[tuple[str, str], ...]
    opening: str
    given: int
    inserted: Ids


def unchanged(example: Example) -> Example:
    """The edit that asks the row as it is."""
    return example


def compose(first: PromptEdit | None, second: PromptEdit | None) -> PromptEdit | None:
    """The edit that applies `first`, then `second`; a row dropped by either is dropped."""
    if first is None or second is None:
        return first or second

    def edit(example: Example) -> Example | None:
        between = first(example)
        return None if between is None else second(between)

    return edit


def template_of(row: Row, benchmark: Benchmark) -> Template:
    """How a row is asked: by its own template, else by the benchmark's."""
    return row.template or benchmark.template


def asks(row: Row) -> bool:
    """Whether a row asks something: a question or a choice, not a passage to go on with or a text to be read."""
    return row.kind in ("question", "choice")


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str, template: Template) -> Ids:
    """Token ids of one question as the benchmark asks it."""
    return encode(tokenizer, "", question, "", template).prompt_ids


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading ids two sequences share."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def reask(tokenizer: PreTrainedTokenizerBase, example: Example, **changes: Unpack[AskedChanges]) -> Example:
    """The example with parts of its text changed, tokenised anew as one text.

    Raises:
        AttackError: its ids are not those of its text: something else has edited them.
    """
    if example.text is None:
        raise AttackError(
            f"row {example.row_id!r}: its prompt was edited as ids, so its text cannot change; put this attack first"
        )
    return encode_asked(tokenizer, [replace(example.text, **changes)])[0]


def reword(tokenizer: PreTrainedTokenizerBase, wordings: Mapping[str, str]) -> PromptEdit:
    """The edit that asks a row's question in other words; rows it does not know stay as they are."""

    def edit(example: Example) -> Example:
        if example.row_id not in wordings:
            return example
        return reask(tokenizer, example, question=wordings[example.row_id])

    return edit


def insert_ids(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> Callable[[Example], Example]:
    """The edit that puts `ids`, which are no text, behind the begin-of-text token."""

    def edit(example: Example) -> Example:
        before = () if example.text is None else example.text.inserted
        return reask(tokenizer, example, inserted=ids + before)

    return edit
