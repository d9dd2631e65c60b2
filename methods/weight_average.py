"""Weight averaging: the model that is kept is a running mean of the weights (WA in arXiv 2502.05374; EMA)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn_sweep.methods.interface import AverageSettings, Needs


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightAverage:
    """From the share `average_start` of training on, average <- decay * average + (1 - decay) * weights.

    Decay 0 keeps the last weights. The training itself is not changed.
    """

    average_decay: float = 0.95
    average_start: float = 0.5

    def extend(self, needs: Needs) -> Needs:
        return replace(needs, average=AverageSettings(decay=self.average_decay, start=self.average_start))
