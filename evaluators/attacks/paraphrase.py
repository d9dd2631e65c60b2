"""Paraphrases: ask for the same fact in other words; with several wordings, in the one that works best.

Source: worst case over paraphrases, JensUn (Singh et al., 2025). Wordings are the row's own
paraphrase and the other questions of its fact that have the same answer, or those of a written view: paraphrases,
questions that do not name their subject, questions that need one more step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.paraphrase_params import ParaphraseParams
from unlearn_sweep.evaluators.attacks.prompts import reword
from unlearn_sweep.evaluators.attacks.wordings import other_wordings
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.written_rows import judged_view, row_of
from unlearn_sweep.evaluators.rows import Row, encode


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """States that try more and more wordings a row. Rows without another wording are asked as they are."""

    params: ParaphraseParams

    def run(self, target: Target) -> Iterator[Attacked]:
        rows = {row.row_id: row for row in target.benchmark.evaluation["forget"]}
        source = self.params.source
        wordings = {
            row_id: other_wordings(target.benchmark, row)
            if source == "own"
            else written_wordings(target.benchmark, row, source)
            for row_id, row in rows.items()
        }
        reworded = {row_id: found for row_id, found in wordings.items() if found}
        if not reworded:
            raise AttackError(
                f"{target.benchmark.name}: no forget row has a paraphrase or another question for its fact"
            )
        costs = self._costs(target, rows, reworded)
        for tried in self.params.curve:
            chosen = {row_id: likeliest(found[:tried], costs[row_id]) for row_id, found in reworded.items()}
            edit = reword(target.tokenizer, chosen)
            notes = {
                "share_of_rows_reworded": len(reworded) / len(rows),
                "mean_wordings_tried": sum(len(found[:tried]) for found in reworded.values()) / len(reworded),
            }
            yield Attacked(strength=tried, unit="wordings", model=target.model, prompt_edit=edit, notes=notes)

    def _costs(
        self, target: Target, rows: Mapping[str, Row], wordings: Mapping[str, Sequence[str]]
    ) -> dict[str, dict[str, float]]:
        """Mean answer NLL of every wording that may be tried; nothing to compute where there is no choice."""
        most = max(self.params.curve)
        asked = [(row_id, wording) for row_id, found in wordings.items() if most > 1 for wording in found[:most]]
        costs: dict[str, dict[str, float]] = {row_id: {} for row_id in wordings}
        if asked:
            template, tokenizer = target.benchmark.template, target.tokenizer
            examples = [
                encode(tokenizer, row_id, wording, rows[row_id].answer, rows[row_id].template or template)
                for row_id, wording in asked
            ]
            for (row_id, wording), cost in zip(asked, answer_nll(target.model, examples), strict=True):
                costs[row_id][wording] = cost
        return costs


def written_wordings(benchmark: Benchmark, row: Row, source: str) -> list[str]:
    """The questions that were written for a judged row, in order; empty where none was.

    Raises:
        AttackError: the benchmark was loaded without the view.
    """
    if judged_view(source) not in benchmark.train:
        raise AttackError(f"{benchmark.name}: no {source} view of the judged rows was read")
    return [one.question for one in benchmark.train[judged_view(source)] if row_of(one) == row.row_id]


def likeliest(wordings: Sequence[str], costs: Mapping[str, float]) -> str:
    """The wording under which the gold answer costs least; the first where there is no choice or a tie."""
    return wordings[0] if len(wordings) == 1 else min(wordings, key=lambda wording: costs[wording])
