"""Prompts of a benchmark as token ids, and edits on them that compose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row, Template, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]


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


def begin_ids(tokenizer: PreTrainedTokenizerBase, template: Template) -> Ids:
    """The begin-of-text id where prompts start with one, else nothing."""
    first = prompt_ids(tokenizer, "?", template)[:1]
    return first if tokenizer.bos_token_id is not None and first == (tokenizer.bos_token_id,) else ()


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading ids two sequences share."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def demonstration_ids(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], template: Template) -> tuple[Ids, Ids]:
    """What to insert so that `rows` are answered before the question: the ids it goes behind, and the ids themselves.

    In a chat template demonstrations are earlier turns; else they are questions and answers with blank lines between.
    """
    if template.chat:
        return _chat_turns(tokenizer, rows)
    inserted: list[int] = []
    for row in rows:
        inserted += tokenizer.encode(template.prompt(row.question), add_special_tokens=False)
        inserted += tokenizer.encode(template.answer_lead + row.answer + "\n\n", add_special_tokens=False)
    return begin_ids(tokenizer, template), tuple(inserted)


def insert_behind(example: Example, before: Ids, inserted: Ids) -> Example:
    """The example with `inserted` right behind the leading ids `before`.

    Raises:
        AttackError: the prompt does not begin with `before` (another edit has changed its beginning).
    """
    if example.prompt_ids[: len(before)] != before:
        raise AttackError(
            f"row {example.row_id!r}: the prompt no longer begins as the template does; put this attack first"
        )
    return replace(example, prompt_ids=before + inserted + example.prompt_ids[len(before) :])


def replace_within(example: Example, old: Ids, new: Ids) -> Example:
    """The example with the last occurrence of `old` in its prompt replaced by `new`.

    Raises:
        AttackError: `old` does not occur (another edit has rewritten the question).
    """
    ids = example.prompt_ids
    for start in range(len(ids) - len(old), -1, -1):
        if ids[start : start + len(old)] == old:
            return replace(example, prompt_ids=ids[:start] + new + ids[start + len(old) :])
    raise AttackError(
        f"row {example.row_id!r}: its question is not in the prompt as the template writes it; put this attack first"
    )


def reword(edits: Mapping[str, tuple[Ids, Ids]]) -> PromptEdit:
    """The edit that replaces a row's question ids by others; rows it does not know stay as they are."""

    def edit(example: Example) -> Example:
        if example.row_id not in edits:
            return example
        return replace_within(example, *edits[example.row_id])

    return edit


def question_change(
    tokenizer: PreTrainedTokenizerBase, question: str, wording: str, template: Template
) -> tuple[Ids, Ids]:
    """What to replace in a prompt, and by what, so that `wording` is asked instead of `question`.

    Only what every prompt begins with is left out (begin-of-text, the template's opening), so the part replaced is
    found again after other edits, and is never empty.
    """
    old, new, one, other = (prompt_ids(tokenizer, text, template) for text in (question, wording, "?", "A"))
    shared = min(common_prefix(old, new), common_prefix(one, other))
    return old[shared:], new[shared:]


def _chat_turns(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> tuple[Ids, Ids]:
    asked = [{"role": "user", "content": "?"}]
    turns = [
        message
        for row in rows
        for message in ({"role": "user", "content": row.question}, {"role": "assistant", "content": row.answer})
    ]
    alone, together = (_chat_ids(tokenizer, chat) for chat in (asked, turns + asked))
    shared = common_prefix(alone, together)
    tail = len(alone) - shared
    if together[len(together) - tail :] != alone[shared:]:
        raise AttackError(
            "the chat template writes the last turn differently after earlier turns; demonstrations do not fit"
        )
    return alone[:shared], together[shared : len(together) - tail]


def _chat_ids(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, str]]) -> Ids:
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return tuple(tokenizer.encode(cast("str", text), add_special_tokens=False))
