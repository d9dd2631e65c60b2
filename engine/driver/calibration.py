"""Train models that know the forget rows and models that never saw them, and see which metrics tell them apart.

Then unlearn some of those that know them, and see which metrics' verdicts last under relearning and quantisation
(`unlearned_pool`). All trainings and evaluations are stages of the shared store: a killed calibration resumes from the
finished ones and reuses the models of a sweep with the same recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from unlearn_sweep.engine.driver.unlearned_pool import (
    NOT_MEASURED,
    attack_changes,
    forget_means,
    robustness_of,
    unlearn_and_attack,
)
from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import WHICH, Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.calibration import FILE, Calibration, MetricTrust, Pool, PoolModel, trust_weight
from unlearn_sweep.engine.store.driver_lock import only_driver
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.metric_trust import trust
from unlearn_sweep.user_error import UserError

LENGTHS = (1.0, 0.75, 0.5)
"""Shares of the recipe's epochs, in turn: a metric must also tell a model that knows the rows less well."""

POOLS: dict[str, Pool] = {"original": "knows", "gold": "never saw"}


def calibratable(metrics: Sequence[str]) -> list[str]:
    """Return the metrics that have a value for each row and a direction: others need a gold model to be read."""
    return [name for name in metrics if row_metrics([name]) == (name,) and METRICS[name].better_on_forget != "gold"]


def run_calibration(
    job: SweepJob, models: int, unlearned: int = 0, announce: Callable[[str], None] = lambda _: None
) -> Calibration:
    """Train `models` models for each pool, measure them, and write `calibration.json` to the job's folder.

    `unlearned` models are unlearned by the job's methods in turn; with 0, no robustness is measured. The job's attacks
    are those behind the robustness: `relearn` and `quantize`.

    Raises:
        SweepBusyError: another process works in that folder.
        UserError: the models are given by path, so that there is no recipe to train others by.
        StageFailedError: a training or an evaluation failed.
    """
    recipe = load_benchmark(job.benchmark.name, job.benchmark.params).recipe
    job = job if unlearned else job.model_copy(update={"attacks": []})
    found: list[PoolModel] = []
    prepared: list[tuple[SweepJob, Prepared]] = []
    with ExitStack() as stack:
        stack.enter_context(only_driver(job.directory))
        store, executor = StageStore(job.storage), InProcessExecutor(timeout_s=job.stage_timeout_s)
        events = EventLog(job.directory / "events.jsonl")
        runner = StageRunner(store, events, stage_lock=ExclusiveStageLock(job.directory, executor.make_room))
        for number in range(models):
            member = pool_job(job, number, recipe)
            announce(f"models {2 * number + 1} and {2 * number + 2} of {2 * models}: {_described(member)}")
            ready = Preparation(member, runner, [executor], in_turn=True, here=True).run()
            prepared.append((member, ready))
            found += [_measured(member, which, ready, store) for which in WHICH]
        for number in range(unlearned):
            found.append(unlearn_and_attack(*prepared[number % models], number, executor, store, announce))
    done = Calibration(
        benchmark=job.benchmark.name,
        data=prepared[-1][1].data,
        models=found,
        metrics=compared(found, job.ue_metrics, robust=unlearned > 0),
        attacks={attack.label: attack.params for attack in job.attacks},
    )
    durable.write_text(job.directory / FILE, done.model_dump_json(indent=1) + "\n")
    return done


def pool_job(job: SweepJob, number: int, recipe: TrainRecipe | None) -> SweepJob:
    """Return the job whose original and gold are model `number` of each pool: another seed, another length."""
    sources: dict[str, ModelSource] = {}
    for which in WHICH:
        whole = recipe_of(job, which, recipe)
        source: ModelSource = getattr(job, which)
        if whole is None or source.path is not None or source.floor is not None:
            raise UserError(
                f"{which}: no recipe trains it, so no other model like it can be made",
                advice="calibrate a benchmark with a recipe, or give model: {train: {base: ...}}",
            )
        changed = {"seed": whole["seed"] + number, "epochs": whole["epochs"] * LENGTHS[number % len(LENGTHS)]}
        sources[which] = source.model_copy(update={"recipe": {**(source.recipe or {}), **changed}})
    search = job.search.model_copy(update={"prune": False, "minimum": {}})
    return job.model_copy(update={**sources, "search": search, "requests": None})


def compared(models: Sequence[PoolModel], metrics: Sequence[str], *, robust: bool) -> list[MetricTrust]:
    """Return each metric's trust, the highest area first, then the widest gap; those without an area last.

    With `robust`, the weights count what the unlearned models say of each metric.
    """

    def rank(one: MetricTrust) -> tuple[float, float, str]:
        return (-1.0 if one.auc is None else one.auc, -1.0 if one.gap is None else one.gap, one.metric)

    return sorted((_compared(models, METRICS[name], robust) for name in metrics), key=rank, reverse=True)


def _compared(models: Sequence[PoolModel], card: MetricCard, robust: bool) -> MetricTrust:
    pools = {
        pool: [value for one in models if one.pool == pool and (value := one.values.get(card.name)) is not None]
        for pool in POOLS.values()
    }
    knows, never = pools["knows"], pools["never saw"]
    found = trust(knows, never, higher_knows=card.better_on_forget == "lower")
    lasting = robustness_of(models, card) if robust else NOT_MEASURED
    return MetricTrust(
        metric=card.name,
        auc=None if found is None else found.auc,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        gap=None if found is None else found.gap,
        knows=_mean(knows),
        never_saw=_mean(never),
        reason="fewer than two models of a pool have a value" if found is None else None,
        **lasting,
        weight=trust_weight(None if found is None else found.auc, lasting.get("robustness"), robust=robust),
    )


def _measured(job: SweepJob, which: str, prepared: Prepared, store: StageStore) -> PoolModel:
    recipe = getattr(job, which).recipe
    rows = store.rows(prepared.evaluations[which])
    keys = {label: found[which] for label, found in prepared.attacks.items()}
    return PoolModel(
        pool=POOLS[which],
        seed=recipe["seed"],
        epochs=recipe["epochs"],
        values=forget_means(rows, job.ue_metrics),
        changes=attack_changes(job, rows, keys, store),
    )


def _described(job: SweepJob) -> str:
    recipe = job.original.recipe or {}
    return f"seed {recipe['seed']}, {recipe['epochs']:g} epochs, with and without the forget rows"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
