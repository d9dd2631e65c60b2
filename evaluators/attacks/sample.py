"""Sampling: the same question is asked k times at a temperature, and the answer that gives most away is scored.

A model that has unlearned under greedy decoding may still answer one time in many. Source: leak@k (Reisizadeh et al.),
arXiv 2511.04934. Metrics that read no generated text are as without the attack. A metric that is best at gold's value
(`knowmem`, `verbmem`) has no worst answer: its mean over all draws counts. What a lucky guess is worth, the gold
model's score under the same attack tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.sample_params import SampleParams
from unlearn_sweep.evaluators.nucleus import Nucleus
from unlearn_sweep.evaluators.sampled_answers import Sampling


@dataclass(frozen=True, slots=True)
class Sample:
    """States in which an attacker reads more and more answers; all states share the draws."""

    params: SampleParams

    def run(self, target: Target) -> Iterator[Attacked]:
        sampling = Sampling(
            draws=self.params.draws,
            best_of=1,
            nucleus=Nucleus(temperature=self.params.temperature, top_p=self.params.top_p),
            seed=target.seed,
        )
        for answers in self.params.curve:
            yield Attacked(
                strength=answers,
                unit="answers",
                model=target.model,
                sampling=replace(sampling, best_of=answers),
                notes={"answers_drawn": float(self.params.draws)},
            )
