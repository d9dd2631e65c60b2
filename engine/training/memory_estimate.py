"""Estimate the memory of one GPU in a training, by what holds it, and the rows of a micro-batch that fit. No torch.

Bytes for each parameter follow the backends: the torch backend trains float32 weights under bfloat16 autocast; ZeRO
shares optimizer state (stage 1), gradients (2) and weights (3, those of frozen models too) among the workers; what is
offloaded is not on the GPU. Activations and logits follow the micro-batch. Fragmentation and libraries are covered by a
reserve. Nothing here was measured on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from unlearn_sweep.engine.models.model_shape import RESERVE_GIB, Shape
from unlearn_sweep.engine.optimizers.catalog import OPTIMIZERS
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.zero_sizes import engine_sizes
from unlearn_sweep.methods.logit_sizes import entries_held

GIB = 2**30
ACTIVATION_BYTES = 34.0
"""Bytes of activations for each token, hidden unit and block: bfloat16, attention without its matrix (Korthikanti et
al., arXiv 2205.05198, section 4.1)."""
CHECKPOINTED_BYTES = 2.0
GROUPED_BYTES = 12.0
"""Two float32 gradients and one that a wrapper keeps, for each parameter; the most demanding one, `tar`, keeps four."""
LOGIT_BYTES = 12.0
"""Bytes for each entry of the logits that exists at a time: float32 logits, log-probabilities and their gradient."""
ADAPTER_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Estimated GiB of one GPU by what holds them, during one stage of a trial.

    Attributes:
        stage: "training", or "attack:" and the label of an attack that trains.
        weights: Trained weights, and their copies in the number format of the computation.
        gradients: Gradients of the trained weights.
        optimizer: The optimizer's state, and ZeRO's master copy of the weights.
        frozen: The frozen original and the teacher, if the method looks at them.
        gathered: What ZeRO adds up at one time, and the weights that stage 3 has whole at one time.
        activations: Activations kept for the backward pass of one micro-batch.
        logits: Logits of its supervised tokens and what is computed from them, as many as exist at a time.
        reserve: CUDA context, libraries, fragmentation.
    """

    stage: str
    weights: float
    gradients: float
    optimizer: float
    frozen: float
    activations: float
    logits: float
    gathered: float = 0.0
    reserve: float = RESERVE_GIB

    @property
    def total(self) -> float:
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return the GiB of each part, by name."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name != "stage"}


def training_memory(
    settings: TrainingSettings, shape: Shape, tokens_per_row: float, *, frozen: int, grouped: bool = False
) -> GpuMemory:
    """Return the memory of one GPU in a training with `frozen` frozen models beside the trained one.

    `grouped`: forget and retain gradients are kept apart, in float32.
    """
    workers = max(1, settings.workers)
    per, trained = shape.parameters / GIB, 1.0 if settings.lora is None else ADAPTER_SHARE
    zero, zero_workers = settings.zero, workers if settings.backend == "deepspeed" else 1
    sharded = workers if zero >= 3 else 1
    weights = 0.0 if settings.offload == "all" else (2.0 if settings.backend == "deepspeed" else 6.0) * per / sharded
    gradients = (6.0 if zero else 4.0) * per * trained / (workers if zero >= 2 else 1)
    optimizes = OPTIMIZERS[settings.optimizer]
    if not optimizes.gradients:
        gradients = 0.0
    state = 4.0 * optimizes.states + (4.0 if settings.backend == "deepspeed" else 0.0)
    optimizer = state * per * trained / (workers if zero >= 1 else 1)
    rows = 2 * (settings.micro_batch_size or max(1, settings.global_batch_size // workers))
    tokens = rows * tokens_per_row
    entries = entries_held(settings.logits, rows=tokens, vocabulary=shape.vocabulary, sharded=zero >= 3)
    kept = CHECKPOINTED_BYTES if settings.activation_checkpointing or not optimizes.gradients else ACTIVATION_BYTES
    return GpuMemory(
        stage="training",
        weights=weights,
        gradients=gradients + (GROUPED_BYTES * per * trained / zero_workers if grouped else 0.0),
        optimizer=optimizer if settings.offload == "none" else 0.0,
        frozen=0.0 if settings.offload == "all" else 2.0 * per * frozen / sharded,
        gathered=_gathered(settings, shape.parameters),
        activations=tokens * shape.depth_times_width * kept / GIB,
        logits=entries * LOGIT_BYTES / GIB,
    )


def _gathered(settings: TrainingSettings, parameters: int) -> float:
    """Return the GiB of ZeRO's buffers for sums, and in stage 3 of the weights that are whole at one time."""
    if settings.zero < 1:
        return 0.0
    config = engine_sizes(parameters)
    buffers = 2 * config.bucket * 4.0
    return (buffers + (config.live + config.prefetch) * 2.0 * (settings.zero >= 3)) / GIB


def rows_that_fit(
    settings: TrainingSettings,
    shape: Shape,
    tokens_per_row: float,
    device_gib: float,
    *,
    frozen: int,
    grouped: bool = False,
) -> int | None:
    """Return with how many rows of a view in one pass to begin; None: with a worker's whole share of a step.

    The number is that share, halved (rounded up) until the estimate fits `device_gib`, or 1.
    """
    rows = share = -(-settings.global_batch_size // max(1, settings.workers))
    while rows > 1:
        smaller = settings.model_copy(update={"micro_batch_size": rows})
        if training_memory(smaller, shape, tokens_per_row, frozen=frozen, grouped=grouped).total <= device_gib:
            break
        rows = (rows + 1) // 2
    return None if rows == share else rows
