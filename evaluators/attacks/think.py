"""Thinking: the model writes its thoughts first, and its answer is scored behind them.

A thinking model is usually trained and asked without thoughts (an empty think block); what it forgot there it may still
reach by thinking. Source: R-TOFU (Yoon, Jeung and No), arXiv 2505.15214, which compares decoding with long, short and
no thoughts. Thoughts are greedy. One that is longer than the budget is cut off and closed, so that every row is
answered. With a given `thought` the model does not think: an empty one is that source's ZeroThink, a short sentence its
LessThink, for a sweep that lets the model think (`prompt.thinking`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.prompts import template_of, unchanged
from unlearn_sweep.evaluators.attacks.think_params import ThinkParams
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.chat_text import default_template
from unlearn_sweep.evaluators.inference import context_tokens
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.rows import Asked, Example, PromptEdit, Row, Template, encode_asked
from unlearn_sweep.evaluators.thought_marks import ANSWER_ROOM
from unlearn_sweep.evaluators.thoughts import (
    Thought,
    Written,
    behind,
    closed,
    count,
    open_prompt,
    write_thoughts,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Think:
    """States with longer and longer thoughts. Rows that are not asked in a chat are left as they are."""

    params: ThinkParams

    def run(self, target: Target) -> Iterator[Attacked]:
        rows = rows_in_chat(target.tokenizer, target.benchmark)
        if not rows:
            raise AttackError("no forget row is asked through the chat template, which is where thinking is enabled")
        if (reason := self.params.refusal(default_template(target.tokenizer))) is not None:
            raise AttackError(reason)
        if self.params.thought is not None:
            yield self._given(target, rows, self.params.thought)
            return
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
                prompt_edit=self._edit(target, thoughts),
                notes=count(rows, [thoughts[row.row_id] for row in rows]).notes(),
            )

    def _given(self, target: Target, rows: Sequence[Row], text: str) -> Attacked:
        """The state in which every answer follows the same given thought. Its strength is the tokens put in."""
        prompts = [prompt for prompt, _ in opened_prompts(self.params, target.tokenizer, target.benchmark, rows)]
        thoughts = {
            row.row_id: Thought(text=closed(text, prompt, target.tokenizer, self.params), tokens=0, cut=False)
            for row, prompt in zip(rows, prompts, strict=True)
        }
        first = target.tokenizer.encode(thoughts[rows[0].row_id].text, add_special_tokens=False)
        edit = self._edit(target, thoughts)
        return Attacked(strength=len(first), unit="tokens", model=target.model, prompt_edit=edit)

    def _written(self, target: Target, rows: Sequence[Row]) -> dict[str, Written]:
        """What the model writes for each row with thinking enabled, up to the end of its thought."""
        opened = opened_prompts(self.params, target.tokenizer, target.benchmark, rows)
        prompts, templates = [prompt for prompt, _ in opened], [template for _, template in opened]
        self._refuse_long(target, max(map(len, prompts)))
        budget = max(self.params.curve)
        written, _ = write_thoughts(target.model, target.tokenizer, prompts, templates, self.params, budget)
        return {row.row_id: text for row, text in zip(rows, written, strict=True)}

    def _refuse_long(self, target: Target, longest: int) -> None:
        """Raise AttackError where thoughts do not fit into the context behind a prompt of `longest` tokens."""
        budget, context = max(self.params.curve), context_tokens(target.model)
        if context is not None and longest + budget + ANSWER_ROOM > context:
            raise AttackError(
                f"thoughts of {budget} tokens do not fit into the model's context of {context} behind prompts of "
                f"{longest}; lower tokens to {max(0, context - longest - ANSWER_ROOM)} at most"
            )

    def _edit(self, target: Target, thoughts: dict[str, Thought]) -> PromptEdit:
        """The edit that puts a row's thought between its question and its answer; the answer keeps its room."""

        def edit(example: Example) -> Example:
            text, thought = example.text, thoughts.get(example.row_id)
            if thought is None:
                return example
            if text is None:
                raise AttackError(f"row {example.row_id!r}: its prompt was edited as ids; put think first")
            return behind(example, text, thought, target.tokenizer, self.params)

        return edit


def rows_in_chat(tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark) -> list[Row]:
    """Return the judged forget rows that are asked through the chat template."""
    return [row for row in benchmark.evaluation["forget"] if template_of(row, benchmark).resolved(tokenizer).chat]


def opened_prompts(
    params: ThinkParams, tokenizer: PreTrainedTokenizerBase, benchmark: Benchmark, rows: Sequence[Row]
) -> list[tuple[Ids, Template]]:
    """Return the prompt behind which each row's thought is written, and the template that it was made with."""
    asked = [
        open_prompt(
            Asked(row_id=row.row_id, question=row.question, answer="", template=template_of(row, benchmark)),
            tokenizer,
            params,
        )
        for row in rows
    ]
    examples = encode_asked(tokenizer, asked)
    return [(example.prompt_ids, one.template) for example, one in zip(examples, asked, strict=True)]
