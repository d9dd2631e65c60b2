"""Prefilling: the answer's beginning is put into the prompt, and only what the model adds to it is scored.

Source: prefilling attacks on safety training (Andriushchenko et al., arXiv 2404.02151). Gold-token prefills leak
some of the answer to any model, which is why the gold model's score under the same attack is the yardstick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.prefill_params import PrefillParams
from unlearn_sweep.evaluators.attacks.prompts import Ids, unchanged
from unlearn_sweep.evaluators.rows import Example, PromptEdit


def gold_prefill(tokens: int, end_of_text: int | None) -> PromptEdit:
    """The edit that moves the first `tokens` answer ids into the prompt.

    A row is dropped (None) where nothing but end-of-text would be left to score; 0 tokens change and drop nothing.
    """

    def edit(example: Example) -> Example | None:
        rest = example.answer_ids[tokens:]
        if not any(token != end_of_text for token in rest):
            return None
        return replace(example, prompt_ids=example.prompt_ids + example.answer_ids[:tokens], answer_ids=rest)

    return edit if tokens else unchanged


def text_prefill(ids: Ids) -> PromptEdit:
    """The edit that puts `ids` between prompt and answer."""

    def edit(example: Example) -> Example:
        return replace(example, prompt_ids=example.prompt_ids + ids)

    return edit


@dataclass(frozen=True, slots=True)
class Prefill:
    """States with more and more gold tokens given away, or one state with an affirmative opening.

    A strength at which no forget row has anything left to score is left out of the curve.
    """

    params: PrefillParams

    def run(self, target: Target) -> Iterator[Attacked]:
        if self.params.text is not None:
            ids = opening_ids(target, self.params.text)
            yield Attacked(strength=len(ids), unit="tokens", model=target.model, prompt_edit=text_prefill(ids))
            return
        end_of_text = cast("int | None", target.tokenizer.eos_token_id)
        rows = target.benchmark.evaluation["forget"]
        examples = encode_rows(target.tokenizer, rows, target.benchmark.template)
        edits = {tokens: gold_prefill(tokens, end_of_text) for tokens in self.params.curve}
        kept = {tokens: sum(edit(example) is not None for example in examples) for tokens, edit in edits.items()}
        if not any(kept.values()):
            raise AttackError(f"no forget answer has anything left after tokens={self.params.tokens}; lower tokens")
        for tokens, edit in edits.items():
            if kept[tokens]:
                notes = {"share_of_forget_rows_scored": kept[tokens] / len(examples)}
                yield Attacked(strength=tokens, unit="tokens", model=target.model, prompt_edit=edit, notes=notes)


def opening_ids(target: Target, text: str) -> Ids:
    """Token ids of an affirmative opening; the answer follows as the template writes it.

    A chat answer has no space before it, so there the opening ends its line.
    """
    template = target.benchmark.template
    written = f"{text}\n" if template.chat else template.answer_lead + text
    return tuple(target.tokenizer.encode(written, add_special_tokens=False))
