"""Demonstrations before the question: other forgotten facts (few-shot) or facts that were kept (in-context retain).

Source: few-shot probing, Lynch et al. (arXiv 2402.16835); in-context retain: JensUn (Singh et al., 2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.few_shot_params import FewShotParams
from unlearn_sweep.evaluators.attacks.forget_halves import different_facts, forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.prompts import asks, reask, unchanged
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row


@dataclass(frozen=True, slots=True)
class FewShot:
    """States with more and more demonstrations. Forget demonstrations come from one half, the other half is scored."""

    params: FewShotParams

    def run(self, target: Target) -> Iterator[Attacked]:
        benchmark = target.benchmark
        if self.params.demonstrations == "forget":
            halves = forget_halves(benchmark)
            rows, scored = seen_rows(benchmark, halves), halves.scored
        else:
            rows, scored = list(benchmark.train["retain"]), None
        # One spare: a row whose own fact is a demonstration is shown the next one instead.
        ranked = different_facts(rows, max(self.params.curve) + 1, seed=target.seed)
        for shots in self.params.curve:
            edit = demonstrate(target, ranked, shots)
            yield Attacked(strength=shots, unit="shots", model=target.model, prompt_edit=edit, scored_groups=scored)


def demonstrate(target: Target, ranked: Sequence[Row], shots: int) -> PromptEdit:
    """The edit that answers the first `shots` of `ranked` before the question, never the row's own fact.

    They are written as the row itself is asked: as earlier turns in a chat, else with blank lines between. Rows that
    ask nothing are left as they are.
    """
    if not shots:
        return unchanged
    rows = {row.row_id: row for rows in target.benchmark.evaluation.values() for row in rows}

    def edit(example: Example) -> Example:
        row = rows.get(example.row_id)
        if row is not None and not asks(row):
            return example
        others = [other for other in ranked if row is None or other.fact != row.fact][:shots]
        before = () if example.text is None else example.text.shown
        shown = tuple((other.question, other.answer) for other in others)
        return reask(target.tokenizer, example, shown=shown + before)

    return edit
