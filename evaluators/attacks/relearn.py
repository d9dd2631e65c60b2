"""In-domain relearning: a few training steps on some forgotten facts, then ask for the others.

Source: Full-Stack evaluation (arXiv 2510.07626): 100 steps, batch 4, rate 2e-5, all weights; benign relearning
(Hu et al., arXiv 2406.13356) for training on related text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.relearn_params import RelearnParams
from unlearn_sweep.evaluators.attacks.short_training import trained_states
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import Example, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Relearn:
    """States after `params.steps` optimizer steps; facts trained on are never scored."""

    params: RelearnParams

    def run(self, target: Target) -> Iterator[Attacked]:
        _, scored = relearning_rows(target.benchmark, self.params.data)
        examples = self.examples(target.benchmark, target.tokenizer, target.seed)
        for state in trained_states(target, examples, self.params):
            notes = {"relearned_rows": float(len(examples))}
            if state.loss is not None and state.first_loss is not None:
                notes |= {"train_nll_first_step": state.first_loss, "train_nll_last_step": state.loss}
            yield Attacked(strength=state.step, unit="steps", model=state.model, scored_groups=scored, notes=notes)

    def examples(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[Example]:
        """What is trained on, in the order from which batches are drawn."""
        rows, _ = relearning_rows(benchmark, self.params.data)
        return encode_rows(tokenizer, rows, benchmark.template)


def relearning_rows(benchmark: Benchmark, data: str) -> tuple[Sequence[Row], frozenset[str] | None]:
    """The rows trained on, and the forget groups to score (None: all, as no forget fact was trained on).

    Raises:
        AttackError: no such training view, it is empty, or it leaves no forget fact to score.
    """
    if data == "forget":
        halves = forget_halves(benchmark)
        return seen_rows(benchmark, halves), halves.scored
    if data not in benchmark.train:
        raise AttackError(
            f"relearn data {data!r} is no training view of {benchmark.name}; there are {sorted(benchmark.train)}"
        )
    rows = benchmark.train[data]
    if not rows:
        raise AttackError(f"training view {data!r} of {benchmark.name} is empty")
    trained = {row.group_id for row in rows}
    asked = frozenset(row.group_id for row in benchmark.evaluation["forget"])
    if not asked & trained:
        return rows, None
    if asked <= trained:
        raise AttackError(f"training view {data!r} holds every forget fact, so none is left to score; use data: forget")
    return rows, asked - trained
