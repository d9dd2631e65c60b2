"""Check models and data sets before anything starts: what is on the hub, and whether models can be loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.hub import HubId, Unavailable, model_ids, unavailable
from unlearn_sweep.engine.models.loadable import misfits
from unlearn_sweep.evaluators.attacks.catalog import ChainParams, validate
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS, hub_sets
from unlearn_sweep.evaluators.benchmarks.task_data import TASK_VIEW, task_hub
from unlearn_sweep.evaluators.benchmarks.task_settings import TaskDataSettings
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec
from unlearn_sweep.sweeps.plan.obstacles import values_of
from unlearn_sweep.sweeps.plan.thinking_check import template_refusals

NAMED_IN_CARDS = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def check_hub(spec: SweepSpec, job: SweepJob, *, certain: bool = False) -> list[str]:
    """Check that every model and data set that is on the hub can be downloaded or is cached.

    Args:
        spec: The checked sweep file.
        job: Its job.
        certain: Report only what the hub itself says is missing, gated or unusable. What could not be asked is
            returned as notes.

    Raises:
        SpecError: lists what is not available, and what to do.
    """
    found = missing(job)
    refused = {name: reason for name, reason in found.items() if reason.certain or not certain}
    _raise(spec, {name: reason.words for name, reason in refused.items()})
    return [f"{name}: {reason}" for name, reason in found.items()]


def check_fit(spec: SweepSpec, job: SweepJob) -> None:
    """Check that the models on this machine can be loaded: class, names and shapes of the weights, but no values.

    Raises:
        SpecError: lists the models that cannot be loaded, and why.
    """
    _raise(spec, unloadable(job))


def unloadable(job: SweepJob) -> dict[str, str]:
    """Return why models that are on this machine cannot be loaded, by their key in the sweep file."""
    return misfits({name: path for name, path in given_models(job).items() if not name.endswith(".tokenizer")})


def missing(job: SweepJob) -> dict[str, Unavailable]:
    """Return models and data sets that are not available, and chat templates that cannot enable thinking where that is
    wanted, by their key in the sweep file."""
    data = missing_data(job.benchmark.name, job.benchmark.params)
    found = unavailable(model_ids(given_models(job)), known_models()) | ({} if data is None else {"benchmark": data})
    found |= missing_task_data(job)
    return found | {key: Unavailable(words=words, certain=True) for key, words in template_refusals(job).items()}


def missing_data(benchmark: str, params: Mapping[str, Any]) -> Unavailable | None:
    """Return why data sets that a benchmark reads are not available, all in one; None if they are available."""
    sets = hub_sets(benchmark, params)
    named = {str(number): HubId(name, revision, "dataset") for number, (name, revision) in enumerate(sets)}
    return _all_in_one(named, "or give local files (docs/benchmarks.md)")


def _all_in_one(named: Mapping[str, HubId], advice: str) -> Unavailable | None:
    """Return why data sets are not available as one line that ends with `advice`; None if they are available."""
    found = unavailable(named, {name for card in BENCHMARKS.values() for name in _names(card.hub)})
    if not found:
        return None
    words = "; ".join((*dict.fromkeys(reason.words for reason in found.values()), advice))
    return Unavailable(words=words, certain=any(reason.certain for reason in found.values()))


def missing_task_data(job: SweepJob) -> dict[str, Unavailable]:
    """Return why data of other tasks, on which attacks and methods train, are not available, by key in the file."""
    links = [link for attack in job.attacks for link in _links(attack.name, attack.params)]
    settings = [params for params in (validate(*link) for link in links) if isinstance(params, TaskDataSettings)]
    views = [
        str(value)
        for space in job.spaces
        for name, dimension in space.params.items()
        if name.rpartition(".")[2] == "irm_view"
        for value in values_of(dimension)
    ]
    tasks = [TaskDataSettings(data=view.removeprefix(TASK_VIEW)) for view in views if view.startswith(TASK_VIEW)]
    places = (
        ("attacks", settings, "finetune: {data: FILE}"),
        ("methods", tasks, f"irm_view: {TASK_VIEW}FILE"),
    )
    return {key: found for key, given, local in places if (found := _missing_sets(given, local)) is not None}


def _links(name: str, params: Any) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Return an attack with its parameters, or the attacks of a chain."""
    checked = validate(name, params)
    return checked.links() if isinstance(checked, ChainParams) else [(name, params)]


def _missing_sets(tasks: Sequence[TaskDataSettings], local: str) -> Unavailable | None:
    """Return why data sets of tasks are not available, all in one; None if they are. `local` names a file instead."""
    sets = {found[0] for task in tasks if not Path(task.data).exists() and (found := task_hub(task)) is not None}
    return _all_in_one({name: HubId(name, None, "dataset") for name in sorted(sets)}, f"or give a local file, {local}")


def known_models() -> frozenset[str]:
    """Return the hub ids that the cards of benchmarks name, to suggest for a mistyped one."""
    return frozenset(name for card in BENCHMARKS.values() for name in (*_names(card.original), *_names(card.gold)))


def given_models(job: SweepJob) -> dict[str, str | None]:
    """Return the models and tokenizers of a job by their key in the sweep file."""
    named: dict[str, str | None] = {}
    for name, source in (("model", job.original), ("gold", job.gold)):
        named |= {f"{name}.path": source.path, f"{name}.tokenizer": source.tokenizer}
        named[f"{name}.train.base"] = (source.recipe or {}).get("base")
    return named


def _names(text: str) -> list[str]:
    return NAMED_IN_CARDS.findall(text)


def _raise(spec: SweepSpec, reasons: Mapping[str, str]) -> None:
    collector = ProblemCollector(spec.document)
    for name, words in reasons.items():
        collector.add(tuple(int(part) if part.isdigit() else part for part in name.split(".")), words)
    if collector.problems:
        raise SpecError(spec.document.file, collector.problems)
