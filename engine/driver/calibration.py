"""Train models that know the forget rows and models that never saw them, and see which metrics tell them apart.

All trainings and evaluations are stages of the shared store: a killed calibration goes on from the finished ones, and
the models of a sweep with the same recipe are reused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from unlearn_sweep.engine.job import ModelSource, SweepJob
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import WHICH, Preparation
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.calibration import FILE, Calibration, MetricTrust, Pool, PoolModel
from unlearn_sweep.engine.store.driver_lock import only_driver
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.metric_trust import trust
from unlearn_sweep.evaluators.scores import FORGET_SPLIT
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    import pandas as pd

LENGTHS = (1.0, 0.75, 0.5)
"""Shares of the recipe's epochs, in turn: a metric must also tell a model that knows the rows less well."""

POOLS: dict[str, Pool] = {"original": "knows", "gold": "never saw"}


def calibratable(metrics: Sequence[str]) -> list[str]:
    """Return the metrics that have a value for each row and a direction: others need a gold model to be read."""
    return [name for name in metrics if row_metrics([name]) == (name,) and METRICS[name].better_on_forget != "gold"]


def run_calibration(job: SweepJob, models: int, announce: Callable[[str], None] = lambda _: None) -> Calibration:
    """Train `models` models for each pool, measure them, and write `calibration.json` to the job's folder.

    Raises:
        SweepBusyError: another process works in that folder.
        UserError: the models are given by path, so that there is no recipe to train others by.
        StageFailedError: a training or an evaluation failed.
    """
    recipe = load_benchmark(job.benchmark.name, job.benchmark.params).recipe
    found: list[PoolModel] = []
    data = ""
    with ExitStack() as stack:
        stack.enter_context(only_driver(job.directory))
        store, executor = StageStore(job.storage), InProcessExecutor(timeout_s=job.stage_timeout_s)
        events = EventLog(job.directory / "events.jsonl")
        runner = StageRunner(store, events, stage_lock=ExclusiveStageLock(job.directory, executor.make_room))
        for number in range(models):
            member = pool_job(job, number, recipe)
            announce(f"models {2 * number + 1} and {2 * number + 2} of {2 * models}: {_described(member)}")
            prepared = Preparation(member, runner, [executor], in_turn=True, here=True).run()
            data = prepared.data
            for which in WHICH:
                rows = store.rows(prepared.evaluations[which])
                found.append(_measured(member, which, rows))
    done = Calibration(benchmark=job.benchmark.name, data=data, models=found, metrics=compared(found, job.ue_metrics))
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
    return job.model_copy(update={**sources, "attacks": []})


def compared(models: Sequence[PoolModel], metrics: Sequence[str]) -> list[MetricTrust]:
    """Return each metric's trust, the highest area first, then the widest gap; those without an area last."""

    def rank(one: MetricTrust) -> tuple[float, float, str]:
        return (-1.0 if one.auc is None else one.auc, -1.0 if one.gap is None else one.gap, one.metric)

    return sorted((_compared(models, METRICS[name]) for name in metrics), key=rank, reverse=True)


def _compared(models: Sequence[PoolModel], card: MetricCard) -> MetricTrust:
    pools = {
        pool: [value for one in models if one.pool == pool and (value := one.values.get(card.name)) is not None]
        for pool in POOLS.values()
    }
    knows, never = pools["knows"], pools["never saw"]
    found = trust(knows, never, higher_knows=card.better_on_forget == "lower")
    return MetricTrust(
        metric=card.name,
        auc=None if found is None else found.auc,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        gap=None if found is None else found.gap,
        knows=_mean(knows),
        never_saw=_mean(never),
        reason="fewer than two models of a pool have a value" if found is None else None,
    )


def _measured(job: SweepJob, which: str, rows: pd.DataFrame) -> PoolModel:
    from unlearn_sweep.evaluators.aggregate import measure

    recipe = getattr(job, which).recipe
    numbers = measure(rows, job.ue_metrics, groups=None, half="all")
    return PoolModel(
        pool=POOLS[which],
        seed=recipe["seed"],
        epochs=recipe["epochs"],
        values={number.metric: number.value for number in numbers if number.split == FORGET_SPLIT},
    )


def _described(job: SweepJob) -> str:
    recipe = job.original.recipe or {}
    return f"seed {recipe['seed']}, {recipe['epochs']:g} epochs, with and without the forget rows"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
