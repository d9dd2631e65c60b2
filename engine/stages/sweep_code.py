"""The code that decides what the numbers of one sweep are: training, measuring, attacks and scoring."""

from __future__ import annotations

from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import Choice, Fixed, MethodSpace
from unlearn_sweep.engine.stages.requests import (
    ATTACK_CODE,
    EVALUATION_CODE,
    FINETUNE_CODE,
    TRAINING_CODE,
    attack_modules,
    metrics_of,
    needs_teacher,
)
from unlearn_sweep.engine.store.code import code_digests
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.evaluators.catalog import measuring_facts, metric_modules, scoring_facts

SCORING_CODE = ("unlearn_sweep.engine.stages.scoring", "unlearn_sweep.engine.stages.gate")
CARD = "card of metric "


def sweep_code(job: SweepJob) -> dict[str, str]:
    """Digest of each module behind the numbers of a sweep, and of what the cards of its metrics decide, by name.

    A method, attack or metric that the sweep does not use is no part of it.
    """
    roots = {EVALUATION_CODE, *SCORING_CODE, *metric_modules(metrics_of(job))}
    for attack in job.attacks:
        roots |= {ATTACK_CODE, *attack_modules(attack.name, attack.params)}
    for space in job.spaces:
        roots |= {TRAINING_CODE, *method_modules(space)}
    if any(source.path is None and source.floor is None for source in (job.original, job.gold)):
        roots |= {TRAINING_CODE, FINETUNE_CODE}
    if any(needs_teacher(space.method) for space in job.spaces):
        roots.add(FINETUNE_CODE)
    return code_digests(*sorted(roots)) | card_digests(job)


def card_digests(job: SweepJob) -> dict[str, str]:
    """Digest of what each metric's card decides, of those the sweep measures or scores by."""
    measured, scored = measuring_facts(metrics_of(job)), scoring_facts(metrics_of(job))
    names = dict.fromkeys([*measured, *scored])
    return {f"{CARD}{name}": digest([measured.get(name), scored.get(name)]) for name in names}


def method_modules(space: MethodSpace) -> tuple[str, ...]:
    """The modules behind every setting that a method's space allows."""
    from unlearn_sweep.methods.catalog import modules
    from unlearn_sweep.methods.shared_params import COMPAT

    followed: dict[str, Any] = {}
    for name, dimension in space.params.items():
        if name.rpartition(".")[2] == COMPAT and isinstance(dimension, Fixed | Choice):
            options = dimension.values if isinstance(dimension, Choice) else (dimension.value,)
            followed[name] = next((option for option in options if option != "none"), "none")
    return modules(space.method, followed)
