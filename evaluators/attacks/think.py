"""Thinking: the model writes its thoughts first, and its answer is scored behind them.

A thinking model is usually trained and asked without thoughts (an empty think block); what it forgot there it may still
reach by thinking. Source: R-TOFU (Yoon, Jeung and No), arXiv 2505.15214, which compares decoding with long, short and
no thoughts. Thoughts are greedy. One that is longer than the budget is cut off and closed, so that every row is
answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.answer_match import answer_contained
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.prompts import template_of, unchanged
from unlearn_sweep.evaluators.attacks.think_params import ThinkParams
from unlearn_sweep.evaluators.chat_text import default_template, takes_argument
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.inference import context_tokens, end_ids, padding_id
from unlearn_sweep.evaluators.rows import Asked, Example, PromptEdit, Row, Template, encode_asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HALF_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer decodes from some of a character's bytes, where a thought is cut off inside it."""
ANSWER_ROOM = 64
"""Tokens of the context that a thought leaves for closing it and for the answer."""


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model wrote before its answer. `text` is empty if it answered without a thought."""

    text: str
    tokens: int
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Tokens behind a prompt that enables thinking, without the end of a turn.

    `begun`: the prompt itself begins the thought.
    """

    ids: tuple[int, ...]
    begun: bool

    def thought(self, tokenizer: PreTrainedTokenizerBase, params: ThinkParams, tokens: int) -> Thought:
        """The thought in the first `tokens` tokens, closed if it was cut off."""
        ids = self.ids[:tokens]
        text = str(tokenizer.decode(list(ids))).replace(HALF_CHARACTER, "")
        if not self.begun and not text.lstrip().startswith(params.begin):
            return Thought(text="", tokens=0, cut=False)
        before, closed, _ = text.partition(params.end)
        return Thought(text=f"{before.rstrip()}\n{params.end}\n\n", tokens=len(ids), cut=not closed)


@dataclass(frozen=True, slots=True)
class Think:
    """States with longer and longer thoughts. Rows that are not asked in a chat are left as they are."""

    params: ThinkParams

    def run(self, target: Target) -> Iterator[Attacked]:
        rows = [row for row in target.benchmark.evaluation["forget"] if self._chats(target, row)]
        if not rows:
            raise AttackError("no forget row is asked through the chat template, which is where thinking is enabled")
        if not takes_argument(default_template(target.tokenizer), self.params.argument):
            raise AttackError(f"the chat template has no argument {self.params.argument}: it cannot enable thinking")
        written = self._written(target, rows) if max(self.params.curve) else {}
        for tokens in self.params.curve:
            if not tokens:
                yield Attacked(strength=0, unit="tokens", model=target.model, prompt_edit=unchanged)
                continue
            thoughts = {row_id: text.thought(target.tokenizer, self.params, tokens) for row_id, text in written.items()}
            yield Attacked(
                strength=tokens,
                unit="tokens",
                model=target.model,
                prompt_edit=self._edit(target.tokenizer, thoughts),
                notes=notes(rows, [thoughts[row.row_id] for row in rows]),
            )

    def _chats(self, target: Target, row: Row) -> bool:
        return template_of(row, target.benchmark).resolved(target.tokenizer).chat

    def _enabled(self, template: Template) -> Template:
        arguments = dict(template.arguments) | {self.params.argument: True}
        return replace(template, arguments=tuple(sorted(arguments.items())))

    def _written(self, target: Target, rows: Sequence[Row]) -> dict[str, Written]:
        """What the model writes for each row with thinking enabled, up to the end of its thought."""
        templates = [self._enabled(template_of(row, target.benchmark).resolved(target.tokenizer)) for row in rows]
        asked = [
            Asked(row_id=row.row_id, question=row.question, answer="", template=_alone(template), thought="")
            for row, template in zip(rows, templates, strict=True)
        ]
        prompts = [example.prompt_ids for example in encode_asked(target.tokenizer, asked)]
        self._refuse_long(target, max(map(len, prompts)))
        ends = end_ids(target.model, target.tokenizer, templates)
        done = generate(
            target.model,
            prompts,
            max_new_tokens=max(self.params.curve),
            end_ids=ends.union(self._thought_end(target.tokenizer)),
            pad_id=padding_id(target.tokenizer),
        )
        return {
            row.row_id: Written(
                ids=tokens[:-1] if tokens[-1] in ends else tokens,
                begun=str(target.tokenizer.decode(list(prompt))).rstrip().endswith(self.params.begin),
            )
            for row, prompt, tokens in zip(rows, prompts, done.tokens, strict=True)
        }

    def _refuse_long(self, target: Target, longest: int) -> None:
        """Raise AttackError where thoughts do not fit into the context behind a prompt of `longest` tokens."""
        budget, context = max(self.params.curve), context_tokens(target.model)
        if context is not None and longest + budget + ANSWER_ROOM > context:
            raise AttackError(
                f"thoughts of {budget} tokens do not fit into the model's context of {context} behind prompts of "
                f"{longest}; lower tokens to {max(0, context - longest - ANSWER_ROOM)} at most"
            )

    def _thought_end(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The id that ends a thought, where it is one token. Else the text is cut after it was generated."""
        closing = tokenizer.encode(self.params.end, add_special_tokens=False)
        return closing if len(closing) == 1 else []

    def _edit(self, tokenizer: PreTrainedTokenizerBase, thoughts: dict[str, Thought]) -> PromptEdit:
        """The edit that puts a row's thought between its question and its answer; the answer keeps its room."""

        def edit(example: Example) -> Example:
            text, thought = example.text, thoughts.get(example.row_id)
            if thought is None:
                return example
            if text is None:
                raise AttackError(f"row {example.row_id!r}: its prompt was edited as ids; put think first")
            template = self._enabled(text.template.resolved(tokenizer))
            limit = template.max_tokens or text.max_tokens
            asked = replace(text, template=replace(template, max_tokens=1 << 30), thought=thought.text)
            longer = len(encode_asked(tokenizer, [asked])[0].prompt_ids) - len(example.prompt_ids)
            fitted = replace(template, max_tokens=limit + max(0, longer))
            return encode_asked(tokenizer, [replace(asked, template=fitted)])[0]

        return edit


def _alone(template: Template) -> Template:
    """The template without the beginning of an answer, which comes behind the thought."""
    return replace(template, chat_lead="")


def notes(rows: Sequence[Row], thoughts: Sequence[Thought]) -> dict[str, float]:
    """Shares over the forget rows: with a thought, cut off, and with the whole reference answer in the thought.

    The share with the answer is to be read beside that of the gold model under the same attack: a thought may repeat
    what the question tells.
    """
    said = [answer_contained(row.answer, thought.text) for row, thought in zip(rows, thoughts, strict=True)]
    return {
        "share_of_rows_with_a_thought": sum(bool(thought.text) for thought in thoughts) / len(rows),
        "share_of_thoughts_cut_off": sum(thought.cut for thought in thoughts) / len(rows),
        "share_of_thoughts_with_the_answer": sum(value == 1.0 for value in said) / len(rows),
        "mean_thought_tokens": sum(thought.tokens for thought in thoughts) / len(rows),
    }
