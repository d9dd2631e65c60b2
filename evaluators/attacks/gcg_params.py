"""Parameters of `gcg`."""

from __future__ import annotations

from pydantic import Field

from unlearn_sweep.evaluators.attacks.attack_params import AttackWork
from unlearn_sweep.evaluators.attacks.text_search_params import TextSearchParams


class GcgParams(TextSearchParams):
    """Greedy coordinate gradient."""

    suffix_tokens: int = Field(default=20, ge=1, description="tokens put at every question")
    search_width: int = Field(default=512, ge=1, description="candidates drawn a step, before doubles are dropped")
    top_k: int = Field(default=256, ge=1, description="replacements considered at each place, by gradient")
    draft_blocks: int | None = Field(
        default=None,
        ge=1,
        description="probe sampling (Zhao et al. 2024): the model's first blocks, so many, choose which candidates the "
        "whole model scores; null: it scores all, as published",
    )

    def work(self) -> AttackWork:
        return self.searched(width=self.search_width, models=1)
