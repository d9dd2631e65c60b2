"""Prefilling: the answer's beginning is put into the prompt, and only what the model adds to it is scored.

Source: prefilling attacks on safety training (Andriushchenko et al., arXiv 2404.02151). Gold-token prefills leak
some of the answer to any model, which is why the gold model's score under the same attack is the yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.prefill_params import PrefillParams
from unlearn_sweep.evaluators.attacks.prompts import reask, unchanged
from unlearn_sweep.evaluators.rows import Asked, Example, PromptEdit, encode_asked


def gold_prefill(tokens: int) -> PromptEdit:
    """The edit that moves the first `tokens` answer ids into the prompt.

    A row is dropped (None) where nothing but the end of the turn is left to score; 0 tokens change and drop nothing.
    """

    def edit(example: Example) -> Example | None:
        if len(example.content_ids) <= tokens:
            return None
        prompt, rest = example.prompt_ids + example.answer_ids[:tokens], example.answer_ids[tokens:]
        text = example.text
        if text is None:
            return replace(example, prompt_ids=prompt, answer_ids=rest)
        given = replace(text, given=text.given + tokens)
        return replace(example, prompt_ids=prompt, answer_ids=rest, asked=given, made=(prompt, rest))

    return edit if tokens else unchanged


def text_prefill(target: Target, text: str) -> PromptEdit:
    """The edit that begins the answer with `text`, which in a chat ends its line: answers have no blank before them."""
    return lambda example: reask(target.tokenizer, example, opening=text)


@dataclass(frozen=True, slots=True)
class Prefill:
    """States with more and more gold tokens given away, or one state with an affirmative opening.

    A strength at which no forget row has anything left to score is left out of the curve.
    """

    params: PrefillParams

    def run(self, target: Target) -> Iterator[Attacked]:
        if self.params.text is not None:
            tokens = opening_tokens(target, self.params.text)
            edit = text_prefill(target, self.params.text)
            yield Attacked(strength=tokens, unit="tokens", model=target.model, prompt_edit=edit)
            return
        rows = target.benchmark.evaluation["forget"]
        examples = encode_rows(target.tokenizer, rows, target.benchmark.template)
        edits = {tokens: gold_prefill(tokens) for tokens in self.params.curve}
        kept = {tokens: sum(edit(example) is not None for example in examples) for tokens, edit in edits.items()}
        if not any(kept.values()):
            raise AttackError(f"no forget answer has anything left after tokens={self.params.tokens}; lower tokens")
        for tokens, edit in edits.items():
            if kept[tokens]:
                notes = {"share_of_forget_rows_scored": kept[tokens] / len(examples)}
                yield Attacked(strength=tokens, unit="tokens", model=target.model, prompt_edit=edit, notes=notes)


def opening_tokens(target: Target, text: str) -> int:
    """How many tokens an affirmative opening adds to a prompt."""
    plain, opened = (
        encode_asked(
            target.tokenizer,
            [Asked(row_id="", question="?", answer="", template=target.benchmark.template, opening=written)],
        )[0]
        for written in ("", text)
    )
    return len(opened.prompt_ids) - len(plain.prompt_ids)
