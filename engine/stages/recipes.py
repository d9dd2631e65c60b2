"""Training recipes of the original and the gold model: the benchmark's recipe, or fine-tuning of a base model.

Gold is trained like the original but without the forget rows, so recipe fields of the original also apply to gold.
Imports no torch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

FINE_TUNING = TrainRecipe(epochs=5.0, batch_size=32, learning_rate=1e-5, warmup_share=0.2, weight_decay=0.01)
"""Full fine-tuning of a pretrained base, as in TOFU (arXiv 2401.06121): five epochs with warm-up in the first, batch
size 32, weight decay 0.01, learning rate 1e-5 for Llama-2-7B and 2e-5 for Phi-1.5. Models far below 1B parameters need
a higher learning rate."""

LORA_LEARNING_RATE = 2e-4
"""Learning rate of LoRA adapters on a base model: QLoRA's value for 7B and 13B (arXiv 2305.14314, appendix B)."""


def recipe_of(job: SweepJob, which: str, benchmark: TrainRecipe | None) -> dict[str, Any] | None:
    """Return the full recipe of "original" or "gold" with the field names of `TrainRecipe`; None if there is none.

    `benchmark` is the benchmark's own recipe, which trains a small model from scratch. It is ignored if the job names a
    base model.
    """
    own = own_fields(job, which)
    if own.get("base") is None:
        return None if benchmark is None else {**asdict(benchmark), **own}
    rate = {} if job.training.lora is None else {"learning_rate": LORA_LEARNING_RATE}
    return {**asdict(FINE_TUNING), **rate, **own}


def own_fields(job: SweepJob, which: str) -> dict[str, Any]:
    """Return the recipe fields that the job sets for this model. Gold inherits the original's and overrides them.

    Gold inherits no start-model fields that conflict with its own, and nothing if the original is given by path.
    """
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
