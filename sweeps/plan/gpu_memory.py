"""Estimate the memory of one GPU in the stages of a trial, and find settings that fit a smaller one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.models.model_shape import Shape
from unlearn_sweep.engine.search_space import Choice, Dimension, Fixed, MethodSpace
from unlearn_sweep.engine.stages.attack_training import trained_on_workers
from unlearn_sweep.engine.stages.attack_work import attack_work
from unlearn_sweep.engine.training.memory_estimate import GIB, GpuMemory, rows_that_fit, training_memory
from unlearn_sweep.engine.training.settings import LoraSettings, TrainingSettings
from unlearn_sweep.engine.training_space import settings_to_try
from unlearn_sweep.methods.catalog import card

ASSUMED_TOKENS = 128.0
DEFAULT_ATTACK_BATCH = 4
TRAINING_FAMILIES = frozenset({"relearn", "finetune", "chain"})
LOOKS_AT_ORIGINAL = frozenset({"kl", "jsd", "embed_mse", "hidden_l2"})
"""Retain terms that keep the frozen original in memory."""


def stage_memory(
    job: SweepJob, shape: Shape, tokens_per_row: float = ASSUMED_TOKENS, device_gib: float | None = None
) -> list[GpuMemory]:
    """Return the memory of one GPU in the training of a trial and in its first attack that trains all weights.

    In the measuring process, such an attack holds float32 weights and moments, whatever backend the trial trains with.
    On GPUs of `device_gib`, a training without `micro_batch_size` begins with as many rows in one pass as fit.
    """
    training = _training(job, shape, tokens_per_row, device_gib)
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
    training, *attacks = stage_memory(job, shape, tokens_per_row, device_gib)
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


def _training(job: SweepJob, shape: Shape, tokens_per_row: float, device_gib: float | None = None) -> GpuMemory:
    """Return the memory of the most demanding settings that the sweep may try."""
    grouped = any("grouped" in card(space.method).needs for space in job.spaces)
    frozen = _frozen_models(job)
    tried = [settings for space in job.spaces for settings in settings_to_try(job.training, space)] or [job.training]
    if device_gib is not None and not any(map(_means_over_micro_batches, job.spaces)):
        fit = partial(rows_that_fit, shape=shape, tokens_per_row=tokens_per_row, device_gib=device_gib)
        tried = [
            one
            if one.micro_batch_size
            else one.model_copy(update={"micro_batch_size": fit(one, frozen=frozen, grouped=grouped)})
            for one in tried
        ]
    found = (training_memory(one, shape, tokens_per_row, frozen=frozen, grouped=grouped) for one in tried)
    return max(found, key=lambda memory: memory.total)


def _means_over_micro_batches(space: MethodSpace) -> bool:
    """Return whether a trial may follow published code (`compat`), whose means are over micro-batches."""
    named = (dimension for name, dimension in space.params.items() if name.split(".")[-1] == "compat")
    return any(value not in (None, "none") for dimension in named for value in _values(dimension))


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
