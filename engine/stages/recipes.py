"""How the original and the gold model of a sweep are trained: the benchmark's recipe, or that of fine-tuning a base.

Gold is the original's training without the forget rows, so what a file says of the original's holds for gold too.
No torch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

FINE_TUNING = TrainRecipe(epochs=5.0, batch_size=32, learning_rate=1e-5, warmup_share=0.2, weight_decay=0.01)
"""Of a pretrained base, all weights: TOFU's own (arXiv 2401.06121: five epochs of which the first warms up, batches of
32, weight decay 0.01, 1e-5 for Llama-2-7B and 2e-5 for Phi-1.5). Models far below a billion parameters want more."""

LORA_LEARNING_RATE = 2e-4
"""Adapters on a base: QLoRA's for 7B and 13B (arXiv 2305.14314, appendix B)."""


def recipe_of(job: SweepJob, which: str, benchmark: TrainRecipe | None) -> dict[str, Any] | None:
    """The whole recipe of "original" or "gold", as `TrainRecipe` names its fields; None where there is none.

    `benchmark` is the benchmark's own recipe: it trains a small model from nothing. With a base it says nothing.
    """
    own = own_fields(job, which)
    if own.get("base") is None:
        return None if benchmark is None else {**asdict(benchmark), **own}
    rate = {} if job.training.lora is None else {"learning_rate": LORA_LEARNING_RATE}
    return {**asdict(FINE_TUNING), **rate, **own}


def own_fields(job: SweepJob, which: str) -> dict[str, Any]:
    """What the job says of this model's training: for gold, what it says of the original's with its own on top."""
    source: ModelSource = getattr(job, which)
    own = source.recipe or {}
    if which != "gold" or job.original.path is not None:
        return own
    shared = job.original.recipe or {}
    if "config" in own:
        shared = {name: value for name, value in shared.items() if name != "base"}
    if own.get("base") is not None:
        shared = {name: value for name, value in shared.items() if name not in ("config", "vocab_size")}
    return {**shared, **own}
