"""Thoughts of a model: written greedily behind an open prompt, cut at a budget, closed, and put before an answer.

Shared by the prompt setting `thinking` (`evaluators.thinking`) and by attack `think`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.answer_match import answer_contained
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.inference import end_ids, padding_id
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.rows import Asked, Example, Row, Template, encode_asked
from unlearn_sweep.evaluators.thought_marks import ThoughtMarks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HALF_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes from some of a character's bytes, where a thought is cut off inside it."""
NO_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model wrote before its answer, closed. `text` is empty if it answered without a thought.

    `tokens` were written, those that close the thought included. `cut`: the model did not close it within its budget.
    """

    text: str
    tokens: int
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoughtCount:
    """Thoughts of some rows.

    Attributes:
        rows: Rows that were asked to think.
        with_thought: Rows with a thought.
        cut_off: Rows whose thought was not closed within the budget, and was closed for the model.
        with_answer: Rows whose thought contains the whole reference answer.
        tokens: Tokens of all thoughts.
    """

    rows: int
    with_thought: int
    cut_off: int
    with_answer: int
    tokens: int

    def notes(self) -> dict[str, float]:
        """Return the counts as shares of the rows, for the notes of an attack.

        The share with the answer is to be read beside that of the gold model under the same attack: a thought may
        repeat what the question tells.
        """
        return {
            "share_of_rows_with_a_thought": self.with_thought / self.rows,
            "share_of_thoughts_cut_off": self.cut_off / self.rows,
            "share_of_thoughts_with_the_answer": self.with_answer / self.rows,
            "mean_thought_tokens": self.tokens / self.rows,
        }


def count(rows: Sequence[Row], thoughts: Sequence[Thought]) -> ThoughtCount:
    """Return the counts over rows and their thoughts, in the same order."""
    said = [answer_contained(row.answer, thought.text) for row, thought in zip(rows, thoughts, strict=True)]
    return ThoughtCount(
        rows=len(rows),
        with_thought=sum(bool(thought.text) for thought in thoughts),
        cut_off=sum(thought.cut for thought in thoughts),
        with_answer=sum(value == 1.0 for value in said),
        tokens=sum(thought.tokens for thought in thoughts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Tokens behind an open prompt, without the end of a turn. `begun`: the prompt itself begins the thought."""

    ids: Ids
    begun: bool

    def thought(self, tokenizer: PreTrainedTokenizerBase, marks: ThoughtMarks, tokens: int) -> Thought:
        """Return the thought in the first `tokens` tokens, closed if it was cut off."""
        ids = self.ids[:tokens]
        text = _decoded(tokenizer, ids)
        if not self.begun and not text.lstrip().startswith(marks.begin):
            return Thought(text="", tokens=0, cut=False)
        before, closed, behind = text.partition(marks.end)
        used = _tokens_up_to(tokenizer, ids, marks.end) if closed and behind else len(ids)
        return Thought(text=f"{before.rstrip()}\n{marks.end}\n\n", tokens=used, cut=not closed)


def open_prompt(asked: Asked, tokenizer: PreTrainedTokenizerBase, marks: ThoughtMarks) -> Asked:
    """Return what is asked up to the place where the model begins to think. What opens an answer comes behind that."""
    template = replace(enabled(asked.template.resolved(tokenizer), marks), chat_lead="")
    return replace(asked, answer="", opening="", given=0, template=template, thought="")


def enabled(template: Template, marks: ThoughtMarks) -> Template:
    """Return the template with thinking enabled."""
    if not marks.argument:
        return template
    return replace(template, arguments=tuple(sorted((dict(template.arguments) | {marks.argument: True}).items())))


def write_thoughts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Ids],
    templates: Sequence[Template],
    marks: ThoughtMarks,
    max_tokens: int,
    cache_tokens: int = 16384,
) -> tuple[list[Written], int]:
    """Return what the model writes behind open prompts up to the end of its thought, and the number of forward passes.

    `templates` are those that the prompts were made with.
    """
    ends = end_ids(model, tokenizer, dict.fromkeys(templates))
    closing = tokenizer.encode(marks.end, add_special_tokens=False)
    done = generate(
        model,
        prompts,
        max_new_tokens=max_tokens,
        end_ids=ends.union(closing if len(closing) == 1 else ()),  # else the text is cut after it was generated
        pad_id=padding_id(tokenizer),
        cache_tokens=cache_tokens,
    )
    written = [
        Written(
            ids=tokens[:-1] if tokens and tokens[-1] in ends else tokens,
            begun=_begun(prompt, tokenizer, marks),
        )
        for prompt, tokens in zip(prompts, done.tokens, strict=True)
    ]
    return written, done.forward_passes


def closed(text: str, prompt: Ids, tokenizer: PreTrainedTokenizerBase, marks: ThoughtMarks) -> str:
    """Return a given thought as it stands behind an open prompt: begun, unless the prompt begins it, and closed."""
    return f"{'' if _begun(prompt, tokenizer, marks) else marks.begin}\n{text}\n{marks.end}\n\n"


def behind(
    example: Example, asked: Asked, thought: Thought, tokenizer: PreTrainedTokenizerBase, marks: ThoughtMarks
) -> Example:
    """Return the example with a thought between question and answer. The answer keeps its room: the limit on all
    tokens grows by the thought. `asked` is the text of `example`."""
    template = enabled(asked.template.resolved(tokenizer), marks)
    limit = template.max_tokens or asked.max_tokens
    endless = replace(asked, template=replace(template, max_tokens=NO_LIMIT), thought=thought.text)
    longer = len(encode_asked(tokenizer, [endless])[0].prompt_ids) - len(example.prompt_ids)
    fitted = replace(template, max_tokens=limit + max(0, longer))
    return encode_asked(tokenizer, [replace(endless, template=fitted)])[0]


def without_thoughts(text: str, marks: ThoughtMarks) -> str:
    """Return an answer without thoughts in it: a second block that a model begins behind the first is no answer."""
    _, ended, last = text.rpartition(marks.end)
    return (last if ended else text).partition(marks.begin)[0]


def _begun(prompt: Ids, tokenizer: PreTrainedTokenizerBase, marks: ThoughtMarks) -> bool:
    return str(tokenizer.decode(list(prompt))).rstrip().endswith(marks.begin)


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids))).replace(HALF_CHARACTER, "")


def _tokens_up_to(tokenizer: PreTrainedTokenizerBase, ids: Ids, end: str) -> int:
    """How many of `ids` are read until their text has `end` in it."""
    return next(count for count in range(1, len(ids) + 1) if end in _decoded(tokenizer, ids[:count]))
