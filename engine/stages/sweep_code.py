"""Digests of the code that determines the results of a sweep: training, measuring, attacks and scoring."""

from __future__ import annotations

from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.samplers.catalog import sampler_card
from unlearn_sweep.engine.search_space import Choice, Fixed, MethodSpace
from unlearn_sweep.engine.stages.measuring_requests import ATTACK_CODE, EVALUATION_CODE, attack_modules, metrics_of
from unlearn_sweep.engine.stages.training_requests import FINETUNE_CODE, TRAINING_CODE, needs_teacher
from unlearn_sweep.engine.store.code import code_digests
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.evaluators.catalog import measuring_facts, metric_modules, scoring_facts

SCORING_CODE = ("unlearn_sweep.engine.stages.scoring", "unlearn_sweep.engine.stages.gate")
STOPPING_CODE = "unlearn_sweep.engine.training.probes"
CARD = "card of metric "


def sweep_code(job: SweepJob) -> dict[str, str]:
    """Return the digest of each module that affects the sweep's results, and of its metric cards, by name.

    Methods, attacks and metrics that the sweep does not use are left out. The built-in samplers are too: a record does
    not depend on what proposed it. A plugin's sampler is included, so an edited one is not mixed in unnoticed.
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
    if job.search.stop_trainings is not None:
        roots.add(STOPPING_CODE)
    if (sampler := sampler_card(job.search.sampler)).target:  # of a plugin: its proposals depend on the file
        roots.add(sampler.module)
    return code_digests(*sorted(roots)) | card_digests(job)


def card_digests(job: SweepJob) -> dict[str, str]:
    """Return a digest of the result-relevant fields of each card of a metric that the sweep measures or scores."""
    measured, scored = measuring_facts(metrics_of(job)), scoring_facts(metrics_of(job))
    names = dict.fromkeys([*measured, *scored])
    return {f"{CARD}{name}": digest([measured.get(name), scored.get(name)]) for name in names}


def method_modules(space: MethodSpace) -> tuple[str, ...]:
    """Return the modules of a method for all settings that its search space allows."""
    from unlearn_sweep.methods.catalog import modules
    from unlearn_sweep.methods.shared_params import COMPAT

    followed: dict[str, Any] = {}
    for name, dimension in space.params.items():
        if name.rpartition(".")[2] == COMPAT and isinstance(dimension, Fixed | Choice):
            options = dimension.values if isinstance(dimension, Choice) else (dimension.value,)
            followed[name] = next((option for option in options if option != "none"), "none")
    return modules(space.method, followed)
