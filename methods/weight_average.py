"""Weight averaging: the model that is kept is a running mean of the weights (WA in arXiv 2502.05374; EMA)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from unlearn_sweep.methods.interface import AverageSettings, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightAverage:
    """From the share `average_start` of training on, average <- decay * average + (1 - decay) * weights.

    Decay 0 keeps the last weights. `average: uniform` takes the plain mean of the weights after every
    `average_every`-th step, as the released code does (from step 100 on, every fifth). The training itself is not
    changed.
    """

    average: Literal["decayed", "uniform"] = "decayed"
    average_decay: float = 0.95
    average_start: float = 0.5
    average_every: int = 1

    def extend(self, needs: Needs) -> Needs:
        decay = self.average_decay if self.average == "decayed" else None
        settings = AverageSettings(decay=decay, start=self.average_start, every=self.average_every)
        return replace(needs, average=settings)
