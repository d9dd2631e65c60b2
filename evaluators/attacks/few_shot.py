"""Demonstrations before the question: other forgotten facts (few-shot) or facts that were kept (in-context retain).

Source: few-shot probing, Lynch et al. (arXiv 2402.16835); in-context retain: JensUn (Singh et al., 2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.few_shot_params import FewShotParams
from unlearn_sweep.evaluators.attacks.forget_halves import different_facts, forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.prompts import (
    Ids,
    asks,
    demonstration_ids,
    insert_behind,
    template_of,
    unchanged,
)
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row, Template


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
    """The edit that shows the first `shots` of `ranked` before the question, never the row's own fact.

    Each row's demonstrations are written in its own template; rows that ask nothing are left as they are.
    """
    if not shots:
        return unchanged
    rows = {row.row_id: row for rows in target.benchmark.evaluation.values() for row in rows}
    facts = {row.fact for row in ranked}

    @cache
    def shown(own_fact: str | None, template: Template) -> tuple[Ids, Ids]:
        others = [row for row in ranked if row.fact != own_fact][:shots]
        return demonstration_ids(target.tokenizer, others, template)

    def edit(example: Example) -> Example:
        row = rows.get(example.row_id)
        if row is not None and not asks(row):
            return example
        fact = row.fact if row is not None and row.fact in facts else None
        template = target.benchmark.template if row is None else template_of(row, target.benchmark)
        return insert_behind(example, *shown(fact, template))

    return edit
