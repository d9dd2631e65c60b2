"""Parameters of `relearn`."""

from __future__ import annotations

from pydantic import Field

from unlearn_sweep.evaluators.attacks.training_params import TrainingParams


class RelearnParams(TrainingParams):
    """In-domain relearning."""

    data: str = Field(
        default="forget",
        min_length=1,
        description='"forget": half of the forget facts, the other is scored; or a training view such as "related"',
    )

    @property
    def forget_facts(self) -> int:
        return 1 if self.data == "forget" else 0
