"""Logit lens: skip the last blocks and read the answer out of an inner layer, as if the model ended there.

Source: Lucki et al., "An Adversarial Perspective on Machine Unlearning for AI Safety" (arXiv 2409.18025), block
outputs. A maximum over layers is optimistic, so the layer is chosen on one half of the facts and read on the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean

from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.logit_lens_params import LogitLensParams
from unlearn_sweep.evaluators.attacks.short_training import private_copy
from unlearn_sweep.evaluators.model_parts import CutOff


@dataclass(frozen=True, slots=True)
class LogitLens:
    """One state: the model cut off behind the layer at which it knew the attacker's half of the facts best."""

    params: LogitLensParams

    def run(self, target: Target) -> Iterator[Attacked]:
        halves = forget_halves(target.benchmark)
        examples = encode_rows(target.tokenizer, seen_rows(target.benchmark, halves), target.benchmark.template)
        owned = private_copy(target.model)
        cut = CutOff(owned)
        costs: dict[int, float] = {}
        for layer in self._candidates(len(cut.blocks)):
            cut.keep(layer)
            costs[layer] = fmean(answer_nll(owned, examples))
        # A tie goes to the deeper layer: the model as it is.
        best = min(costs, key=lambda layer: (costs[layer], -layer))
        cut.keep(best)
        notes = {f"selection_nll.layer_{layer}": cost for layer, cost in costs.items()}
        yield Attacked(strength=best, unit="layer", model=owned, scored_groups=halves.scored, notes=notes)

    def _candidates(self, count: int) -> list[int]:
        if self.params.layers is None:
            return list(range(count, 0, -1))
        beyond = [layer for layer in self.params.layers if layer > count]
        if beyond:
            raise AttackError(f"the model has {count} layers, counted from 1; there is no layer {beyond[0]}")
        return sorted(set(self.params.layers), reverse=True)
