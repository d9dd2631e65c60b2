"""Define the stages that measure and attack models: the key of each, and the request that computes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.attack_training import training_code
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.model_identity import tokenizer_identity, tokenizer_of
from unlearn_sweep.engine.stages.prompt_probe import ProbeResult
from unlearn_sweep.engine.stages.view_reads import attack_reads, read_inputs, with_reads
from unlearn_sweep.engine.store.code import code_version
from unlearn_sweep.engine.store.keys import named_files
from unlearn_sweep.engine.store.outcomes import AttackOutcome, LinkOutcome, MeasureOutcome
from unlearn_sweep.engine.store.stages import ROWS_FILE, StageRequest
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY
from unlearn_sweep.evaluators.catalog import measuring_facts, metric_modules
from unlearn_sweep.evaluators.external_judges import compares, verdict_identity
from unlearn_sweep.evaluators.tasks.definitions import task_identity

PROBE_CODE = "unlearn_sweep.engine.stages.prompt_probe"
EVALUATION_CODE = "unlearn_sweep.engine.stages.measurement"
ATTACK_CODE = "unlearn_sweep.engine.stages.attack_run"


def evaluate_stage(
    job: SweepJob, model: str, data: str, original: str = "", *, after: int = 0
) -> StageRequest[MeasureOutcome]:
    """Return the stage that computes all metrics of one model on the benchmark's evaluation splits.

    `after`: the request after which a trial is measured on its way; 0: the model is the trial's own.

    `model` and `original` are content names. `original` is part of the key if a metric compares with the original
    model's answers, and for its tokenizer.
    """
    inputs = {
        "model": model,
        "data": data,
        "metrics": metrics_of(job),
        "cards": measuring_facts(metrics_of(job)),
        **verdict_identity(metrics_of(job)),
        **task_identity(job.tasks),
        **({"original": original} if compares(metrics_of(job)) else {}),
        **tokenizer_identity(job, original),
        **thinking_identity(job),
        "dtype": job.dtype,
        "code": code_version(EVALUATION_CODE, *metric_modules(metrics_of(job))),
    }
    name = f"evaluate:request-{after}" if after else "evaluate"
    return StageRequest(stage=name, inputs=inputs, outcome=MeasureOutcome, keyed_as="evaluate")


def probe_stage(job: SweepJob, model: str, data: str) -> StageRequest[ProbeResult]:
    """Return the stage that scores a few trained rows in several prompt formats. `data` covers the sweep's format."""
    inputs = {
        "model": model,
        "data": data,
        **tokenizer_identity(job, model),
        "dtype": job.dtype,
        "code": code_version(PROBE_CODE),
    }
    return StageRequest(stage="prepare:prompt", inputs=inputs, outcome=ProbeResult)


def attack_stage(
    job: SweepJob, attack: AttackSettings, model: str, original: str, data: str
) -> StageRequest[AttackOutcome]:
    """Return the stage that runs one attack on one model and measures it at each strength."""
    inputs = {
        "attack": attack.name,
        "params": attack.params,
        **named_files(attack.params),
        "seed": job.seed,
        "model": model,
        "original": original,
        "data": data,
        **read_inputs(attack_reads(job.views, attack.name, attack.params)),
        "metrics": metrics_of(job),
        "cards": measuring_facts(metrics_of(job)),
        **verdict_identity(metrics_of(job)),
        **task_identity(job.tasks),
        "dtype": job.dtype,
        **tokenizer_identity(job, original),
        **thinking_identity(job),
        "code": code_version(
            ATTACK_CODE,
            *attack_modules(attack.name, attack.params),
            *metric_modules(metrics_of(job)),
            *training_code(job, attack),
        ),
    }
    return StageRequest(stage=f"attack:{attack.label}", inputs=inputs, outcome=AttackOutcome)


def link_stage(
    job: SweepJob, attack: AttackSettings, model: str, original: str, data: str
) -> StageRequest[LinkOutcome]:
    """Return the stage that runs an attack and keeps the weights for the next attack of a chain, without measuring.

    `model` is the content name of the attacked model, or the key of the previous link.
    """
    inputs = {
        "attack": attack.name,
        "params": attack.params,
        **named_files(attack.params),
        "seed": job.seed,
        "model": model,
        "original": original,
        "data": data,
        **read_inputs(attack_reads(job.views, attack.name, attack.params)),
        "dtype": job.dtype,
        **tokenizer_identity(job, original),
        "code": code_version(ATTACK_CODE, *attack_modules(attack.name, attack.params), *training_code(job, attack)),
    }
    return StageRequest(stage=f"link:{attack.label}", inputs=inputs, outcome=LinkOutcome, weights=True)


def attack_modules(name: str, params: Mapping[str, Any]) -> list[str]:
    """Return the modules that implement an attack. Those of a chain include the modules of all its links."""
    from unlearn_sweep.evaluators.attacks.catalog import CHAIN, card

    modules = {card(name).target.partition(":")[0]}
    for link in params.get("steps", []) if name == CHAIN else []:
        for link_name, link_params in link.items():
            modules.update(attack_modules(link_name, link_params or {}))
    return sorted(modules)


def thinking_identity(job: SweepJob) -> dict[str, Any]:
    """Return how the models think before they answer, as an input of the stages that measure; empty if they do not."""
    found = job.benchmark.params.get(FORMAT_KEY, {}).get("thinking")
    return {} if found is None else {"thinking": found}


def metrics_of(job: SweepJob) -> list[str]:
    """Return all metrics of the sweep without duplicates, those of UE first."""
    return list(dict.fromkeys([*job.ue_metrics, *job.ut_metrics]))


def measure_request(job: SweepJob, model_path: str, folder: Path, original_path: str | None = None) -> MeasureRequest:
    return MeasureRequest(
        model_path=model_path,
        benchmark=job.benchmark.model_dump(),
        metrics=metrics_of(job),
        rows_path=str(folder / ROWS_FILE),
        tasks=job.tasks,
        original_path=original_path,
        tokenizer_path=tokenizer_of(job, model_path, original_path),
        dtype=job.dtype,
        attention=job.attention,
        threads=job.measuring_threads,
        workers=None if job.evaluation_workers == "auto" else job.evaluation_workers,
    )


def attack_request(
    job: SweepJob, attack: AttackSettings, model_path: str, original_path: str | None, folder: Path
) -> AttackRequest:
    reads = attack_reads(job.views, attack.name, attack.params)
    benchmark = {"name": job.benchmark.name, "params": with_reads(job.benchmark.params, reads)}
    asked = measure_request(job, model_path, folder, original_path).model_copy(update={"benchmark": benchmark})
    return AttackRequest(
        **asked.model_dump(),
        attack=attack.name,
        params=attack.params,
        seed=job.seed,
    )
