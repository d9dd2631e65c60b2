"""Estimate the memory of one GPU in a trial, by what holds it, and find settings that fit a smaller one.

Bytes for each parameter follow the backends: the torch backend trains float32 weights under bfloat16 autocast; ZeRO
shares optimizer state (stage 1), gradients (2) and weights (3, those of frozen models too) among the workers; what is
offloaded is not on the GPU. Activations and logits follow the micro-batch. Fragmentation and libraries are covered by a
reserve. Nothing here was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.models.headers import BrokenWeightsError, ModelFolder
from unlearn_sweep.engine.optimizers.catalog import OPTIMIZERS
from unlearn_sweep.engine.search_space import Choice, Dimension, Fixed, MethodSpace
from unlearn_sweep.engine.stages.attack_training import trained_on_workers
from unlearn_sweep.engine.stages.attack_work import attack_work
from unlearn_sweep.engine.training.settings import LoraSettings, TrainingSettings
from unlearn_sweep.engine.training.zero_sizes import engine_sizes
from unlearn_sweep.engine.training_space import settings_to_try
from unlearn_sweep.methods.catalog import card
from unlearn_sweep.methods.logit_sizes import entries_held

GIB = 2**30
RESERVE_GIB = 1.5
"""CUDA context, libraries and fragmentation of one process."""
ACTIVATION_BYTES = 34.0
"""Bytes of activations for each token, hidden unit and block: bfloat16, attention without its matrix (Korthikanti et
al., arXiv 2205.05198, section 4.1)."""
CHECKPOINTED_BYTES = 2.0
GROUPED_BYTES = 12.0
"""Two float32 gradients and one that a wrapper keeps, for each parameter; the most demanding one, `tar`, keeps four."""
LOGIT_BYTES = 12.0
"""Bytes for each entry of the logits that exists at a time: float32 logits, log-probabilities and their gradient."""
WIDTH_OF_DEPTH = 128
"""Hidden units for each block of a usual decoder, where the model's own shape is unknown."""
ASSUMED_VOCABULARY = 128_256
ASSUMED_TOKENS = 128.0
ADAPTER_SHARE = 0.01
DEFAULT_ATTACK_BATCH = 4
TRAINING_FAMILIES = frozenset({"relearn", "finetune", "chain"})
LOOKS_AT_ORIGINAL = frozenset({"kl", "jsd", "embed_mse", "hidden_l2"})
"""Retain terms that keep the frozen original in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Size of a model: parameters, blocks times hidden units, and vocabulary entries."""

    parameters: int
    depth_times_width: float
    vocabulary: int


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


def shape_of(parameters: int, model: str | None) -> Shape:
    """Return the shape of a model from its folder's configuration, else that of a usual decoder of its size."""
    config: Mapping[str, Any] = {}
    if model is not None and Path(model).is_dir():
        try:
            config = ModelFolder(Path(model)).text_config
        except BrokenWeightsError:
            config = {}
    depth = (parameters / (12 * WIDTH_OF_DEPTH**2)) ** (1 / 3)
    known = config.get("num_hidden_layers"), config.get("hidden_size")
    product = float(known[0] * known[1]) if known[0] and known[1] else WIDTH_OF_DEPTH * depth**2
    vocabulary = int(config.get("vocab_size") or ASSUMED_VOCABULARY)
    return Shape(parameters=parameters, depth_times_width=product, vocabulary=vocabulary)


def stage_memory(job: SweepJob, shape: Shape, tokens_per_row: float = ASSUMED_TOKENS) -> list[GpuMemory]:
    """Return the memory of one GPU in the training of a trial and in its first attack that trains all weights.

    In the measuring process, such an attack holds float32 weights and moments, whatever backend the trial trains with.
    """
    training = _training(job, shape, tokens_per_row)
    attacks = [
        _attack_memory(job, attack, shape, tokens_per_row, training) for attack in job.attacks if _trains_all(attack)
    ]
    return [training, *attacks[:1]]


def _attack_memory(
    job: SweepJob, attack: AttackSettings, shape: Shape, tokens_per_row: float, training: GpuMemory
) -> GpuMemory:
    stage, trained = f"attack:{attack.label}", trained_on_workers(job, attack)
    if trained is not None:
        rows = int(trained.params.get("batch_size", DEFAULT_ATTACK_BATCH))
        settings = job.training.model_copy(update={"lora": None, "global_batch_size": rows})
        return replace(training_memory(settings, shape, tokens_per_row / 2, frozen=0), stage=stage)
    per = shape.parameters / GIB
    return GpuMemory(
        stage=stage,
        weights=6 * per,
        gradients=4 * per,
        optimizer=8 * per,
        frozen=0.0,
        activations=training.activations,
        logits=training.logits,
    )


def too_large(
    job: SweepJob, shape: Shape, device_gib: float, gpus: int, tokens_per_row: float = ASSUMED_TOKENS
) -> list[str]:
    """Return why stages do not fit a GPU of `device_gib` GiB, each with settings that do, as a sweep file says them."""
    training, *attacks = stage_memory(job, shape, tokens_per_row)
    found = []
    if training.total > device_gib:
        options = _that_fit(job, shape, device_gib, gpus, tokens_per_row)
        advice = f"it fits with {'; or '.join(options)}" if options else "it fits with none of the settings tried"
        found.append(f"the training holds about {training.total:.0f} GiB of a GPU that has {device_gib:.0f}: {advice}")
    for attack in attacks:
        if attack.total > device_gib:
            where = "on the training workers" if job.training.workers else "in one process"
            found.append(
                f"{attack.stage} trains all weights {where} and holds about {attack.total:.0f} GiB of a GPU "
                f"that has {device_gib:.0f}: give this attack a lora_rank, such as 16"
            )
    return found


def _training(job: SweepJob, shape: Shape, tokens_per_row: float) -> GpuMemory:
    """Return the memory of the most demanding settings that the sweep may try."""
    grouped = any("grouped" in card(space.method).needs for space in job.spaces)
    frozen = _frozen_models(job)
    tried = [settings for space in job.spaces for settings in settings_to_try(job.training, space)] or [job.training]
    found = (training_memory(one, shape, tokens_per_row, frozen=frozen, grouped=grouped) for one in tried)
    return max(found, key=lambda memory: memory.total)


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


def _frozen_models(job: SweepJob) -> int:
    """Return how many frozen models the most demanding method keeps in memory. Adapters are switched off instead."""
    counts = [_frozen_of(space, adapters=job.training.lora is not None) for space in job.spaces]
    return max(counts, default=0)


def _frozen_of(space: MethodSpace, *, adapters: bool) -> int:
    needs = card(space.method).needs
    retain = {str(value) for name, dimension in space.params.items() if name.split(".")[-1] == "retain"
              for value in _values(dimension)}  # fmt: skip
    own = any(need in ("reference:logits", "reference:hidden") for need in needs) or bool(retain & LOOKS_AT_ORIGINAL)
    own &= not adapters or "noise" in needs  # damaged weights without adapters are not the original
    return int(own) + int(any(need.startswith("teacher:") for need in needs))


def _values(dimension: Dimension) -> Iterable[object]:
    match dimension:
        case Fixed(value=value):
            return [value]
        case Choice(values=values):
            return values
    return []


def _trains_all(attack: AttackSettings) -> bool:
    """Return whether an attack trains all weights. Adapters and inputs need hardly more than measuring."""
    trains = attack.family in TRAINING_FAMILIES and attack_work(attack).trained_rows > 0
    return trains and not attack.params.get("lora_rank")


def _that_fit(job: SweepJob, shape: Shape, device_gib: float, gpus: int, tokens_per_row: float) -> list[str]:
    """Return settings with which the training fits one GPU of `device_gib` GiB, as they are written in a sweep file."""
    settings, found = job.training, []
    for text, change in _candidates(settings, gpus):
        for more, extra in (("", {}), *_OFFLOADED) if change.get("zero_stage") == 3 else (("", {}),):
            changed = settings.model_copy(update=change | extra)
            memory = _training(job.model_copy(update={"training": changed}), shape, tokens_per_row)
            if memory.total <= device_gib:
                found.append(f"training: {{{text}{more}}} (about {memory.total:.0f} GiB)")
                break
    return found


_OFFLOADED: tuple[tuple[str, dict[str, Any]], ...] = ((", offload: all", {"offload": "all"}),)
"""What is tried where ZeRO stage 3 alone does not fit; it takes the CPU's memory and time."""


def _candidates(settings: TrainingSettings, gpus: int) -> Iterable[tuple[str, dict[str, Any]]]:
    small = {"micro_batch_size": 1, "activation_checkpointing": True}
    yield "micro_batch_size: 1, activation_checkpointing: true", small
    yield (
        "lora: {rank: 8}, micro_batch_size: 1, activation_checkpointing: true",
        {**small, "lora": settings.lora or LoraSettings()},
    )
    for workers in (2, 4, 8):
        if workers <= gpus and settings.global_batch_size % workers == 0:
            text = f"backend: deepspeed, zero_stage: 3, workers: {workers}, micro_batch_size: 1, "
            yield (
                text + "activation_checkpointing: true",
                {**small, "backend": "deepspeed", "zero_stage": 3, "workers": workers},
            )
