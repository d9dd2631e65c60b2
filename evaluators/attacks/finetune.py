"""Out-of-domain fine-tuning: train on something unrelated and see whether what was forgotten comes back.

Source: Full-Stack evaluation (arXiv 2510.07626): 250 steps, batch 32, rate 2e-5 on GSM8K, SST-2 and MNLI. The tuning
has to take: on rows kept apart, the task's loss must fall and its accuracy rise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.finetune_params import FinetuneParams
from unlearn_sweep.evaluators.attacks.short_training import trained_states
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.task_data import task_of, task_rows
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.rows import Example, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Finetune:
    """States after `params.steps` steps on other data; notes say what the held-out rows gave before and after."""

    params: FinetuneParams

    def run(self, target: Target) -> Iterator[Attacked]:
        rows = task_rows(self.params, seed=target.seed)
        apart = rows[: self.params.heldout_rows]
        heldout = self._encoded(target.benchmark, target.tokenizer, apart)
        examples = self.examples(target.benchmark, target.tokenizer, target.seed)
        if not heldout:
            raise AttackError(
                f"{self.params.data}: every held-out question is longer than max_tokens="
                f"{self.params.max_tokens or target.benchmark.template.max_tokens}; raise max_tokens"
            )
        before = self._measured(target, apart, heldout)
        for state in trained_states(target, examples, self.params):
            after = self._measured(replace(target, model=state.model), apart, heldout)
            notes = {
                f"{key}_{when}": value
                for when, found in (("before", before), ("after", after))
                for key, value in found.items()
            }
            yield Attacked(
                strength=state.step, unit="steps", model=state.model, notes=notes | {"tuning_took": took(before, after)}
            )

    def examples(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[Example]:
        """What is trained on, in the order from which batches are drawn."""
        return self._encoded(benchmark, tokenizer, task_rows(self.params, seed=seed)[self.params.heldout_rows :])

    def _encoded(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[Example]:
        template = benchmark.template
        if self.params.max_tokens is not None:
            template = replace(template, max_tokens=self.params.max_tokens)
        return encode_rows(tokenizer, rows, template)

    def _measured(self, target: Target, rows: Sequence[Row], examples: Sequence[Example]) -> dict[str, float]:
        """Held-out loss in nats a token, and accuracy: of the class chosen, or of each token where answers are free."""
        classes = task_of(self.params).classes
        scores = score(target.model, examples, pad_id=0, batch_tokens=4096).scores
        nll = fmean(-float(found.logp.mean()) for found in scores)
        if not classes:
            return {"task_nll": nll, "task_accuracy": fmean(float(found.correct.mean()) for found in scores)}
        costs: dict[str, dict[str, float]] = {row.row_id: {} for row in rows}
        for name in classes:
            option = self._encoded(target.benchmark, target.tokenizer, [replace(row, answer=name) for row in rows])
            for example, cost in zip(option, answer_nll(target.model, option), strict=True):
                costs[example.row_id][name] = cost
        complete = [row for row in rows if len(costs[row.row_id]) == len(classes)]
        right = [min(classes, key=costs[row.row_id].__getitem__) == row.answer for row in complete]
        return {"task_nll": nll, "task_accuracy": fmean(right)}


def took(before: dict[str, float], after: dict[str, float]) -> float:
    """1 where the task is done better than before: its loss fell, and its accuracy rose or was perfect already."""
    better = after["task_accuracy"] > before["task_accuracy"] or before["task_accuracy"] == 1.0
    return float(better and after["task_nll"] < before["task_nll"])
