"""Unlearned models of a calibration: each is unlearned, measured, relearned and quantised as a trial of a sweep is.

A metric is robust if what it says of them lasts (`evaluators.metric_robustness`). As in OpenUnlearning's
meta-evaluation, a model counts for a metric if it kept its utility and if the metric itself takes it for one that never
saw the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.samplers.unit_interval import value_at
from unlearn_sweep.engine.search_space import MethodSpace, Scalar
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageFailedError
from unlearn_sweep.engine.stages.trial import run_trial
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.store.calibration import MetricChange, PoolModel
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.retention import Retention
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.metric_robustness import LEAST_MODELS, Attacked, Change, robustness
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

if TYPE_CHECKING:
    import pandas as pd

LEAST_UTILITY = 0.8
"""Share of the original's utility that an unlearned model must keep to count."""
RELEARN, QUANTIZE = "relearn", "quantize"


class RobustnessFields(TypedDict, total=False):
    """The fields of `MetricTrust` about robustness."""

    relearn: float
    quantize: float
    robustness: float
    robustness_low: float
    robustness_high: float
    unlearned: int
    robustness_reason: str


NOT_MEASURED: RobustnessFields = {"robustness_reason": "no model was unlearned"}


def unlearn_and_attack(
    job: SweepJob,
    prepared: Prepared,
    number: int,
    executor: Executor,
    store: StageStore,
    announce: Callable[[str], None],
) -> PoolModel:
    """Unlearn the original of a member of the pools by the job's methods in turn, and attack the result.

    A model that cannot be had (a collapse, a failed attack) stays in the pool with the reason, and counts for nothing.

    Raises:
        StageFailedError: its training failed.
    """
    space = job.spaces[number % len(job.spaces)]
    params = pool_point(space, number // len(job.spaces), job.seed)
    announce(f"unlearned model {number + 1}: {space.method}")
    key = digest({"models": prepared.ids, "data": prepared.data, "method": space.method, "params": params})
    task = TrialTask(number=number, key=key, method=space.method, params=params, seed=job.seed)
    record = run_trial(task, job, prepared, executor)
    _drop_weights(job, task, record, store)
    if record.state == "failed":
        raise StageFailedError(record.failed_stage or "unlearn", record.reason or "no reason given")
    return _pool_model(job, record, store)


def _drop_weights(job: SweepJob, task: TrialTask, record: TrialRecord, store: StageStore) -> None:
    """Delete the weights of a measured model, unless a sweep of the storage has a record of the same model."""
    retention = Retention(store, job.directory)
    if record.model_path is None:
        retention.release(task.holder)
        return
    key, found = Path(record.model_path).name, retention.holdings()
    retention.drop(task.holder, key, keep=found is None or key in {*found.on_front, *found.free})


def pool_point(space: MethodSpace, index: int, seed: int) -> dict[str, Scalar]:
    """Return the setting of the `index`-th model of a method: the middle of all its ranges, then Sobol points."""
    from unlearn_sweep.engine.study.per_method_samplers import qmc_point

    if index == 0:
        searched = {name: value_at(dimension, 0.5) for name, dimension in space.searched().items()}
    else:
        point = qmc_point(space, index - 1, seed)
        searched = {name: point[f"{space.method}.{name}"] for name in space.searched()}
    return space.canonical(space.whole(searched))


def robustness_of(models: Sequence[PoolModel], card: MetricCard) -> RobustnessFields:
    """Return the robustness of one metric over the unlearned models, or why it has none."""
    try:
        counted = [_attacked(one, golds, card) for one, golds in _forgotten(models, card)]
    except ValueError as error:
        return {"robustness_reason": str(error)}
    found = robustness(counted)
    if found is None:
        useful = sum(one.pool == "unlearned" and one.reason is None for one in models)
        reason = f"{len(counted)} of {useful} useful unlearned models forgot by it, and it takes {LEAST_MODELS}"
        return {"unlearned": len(counted), "robustness_reason": reason}
    return {
        "relearn": found.relearn,
        "quantize": found.quantize,
        "robustness": found.value,
        "robustness_low": found.low,
        "robustness_high": found.high,
        "unlearned": len(counted),
    }


def forget_means(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float | None]:
    """Return the mean of each metric over the forget rows; None if no row has a value."""
    from unlearn_sweep.evaluators.aggregate import measure

    numbers = measure(rows, metrics, groups=None, half="all")
    return {number.metric: number.value for number in numbers if number.split == FORGET_SPLIT}


def changes(before: pd.DataFrame, after: pd.DataFrame, metrics: Sequence[str]) -> dict[str, MetricChange]:
    """Return what the strongest state of an attack did to each metric, over the forget rows that both tables have.

    A metric without a value on either side is left out.
    """
    from unlearn_sweep.engine.stages.control_tables import by_strength
    from unlearn_sweep.evaluators.aggregate import match_rows, mean_of

    last = list(by_strength(after).values())[-1]
    matched = match_rows({"before": before, "after": last}, splits=[FORGET_SPLIT])
    found = {}
    for metric in metrics:
        was, now = matched.column("before", metric), matched.column("after", metric)
        both = (was == was) & (now == now)
        means = mean_of(was[both]), mean_of(now[both])
        if means[0] is not None and means[1] is not None:
            found[metric] = MetricChange(before=means[0], after=means[1])
    return found


def attack_changes(
    job: SweepJob, rows: pd.DataFrame, keys: Mapping[str, str], store: StageStore
) -> dict[str, dict[str, MetricChange]]:
    """Return the changes by attack; `keys` are the attacks' stages by label."""
    return {
        attack.name: changes(rows, store.rows(keys[attack.label]), job.ue_metrics)
        for attack in job.attacks
        if attack.label in keys
    }


def _pool_model(job: SweepJob, record: TrialRecord, store: StageStore) -> PoolModel:
    recipe = job.original.recipe or {}
    stages = record.stage_keys
    rows = store.rows(stages["evaluate"]) if "evaluate" in stages else None
    keys = {attack.label: stages[f"attack:{attack.label}"] for attack in job.attacks if _has_run(attack, stages)}
    return PoolModel(
        pool="unlearned",
        seed=recipe["seed"],
        epochs=recipe["epochs"],
        method=record.method,
        params=dict(record.params),
        values={} if rows is None else forget_means(rows, job.ue_metrics),
        utility=record.ut,
        changes={} if rows is None else attack_changes(job, rows, keys, store),
        reason=_why_not(record),
    )


def _has_run(attack: AttackSettings, stages: Mapping[str, str]) -> bool:
    return f"attack:{attack.label}" in stages


def _why_not(record: TrialRecord) -> str | None:
    if record.state != "complete":
        return f"{record.state}: {record.reason}"
    if record.ut is None:
        return "UT has no value"
    return None if record.ut >= LEAST_UTILITY else f"UT is {record.ut:.2f}, below {LEAST_UTILITY} of the original's"


def _forgotten(models: Sequence[PoolModel], card: MetricCard) -> list[tuple[PoolModel, list[PoolModel]]]:
    """Return the useful unlearned models that this metric takes for ones that never saw the rows, with all golds.

    That is: nearer to the mean of the models that never saw them than to that of those that know them.
    """
    golds = [one for one in models if one.pool == "never saw"]
    knows, never = (
        [value for one in models if one.pool == pool and (value := one.values.get(card.name)) is not None]
        for pool in ("knows", "never saw")
    )
    if not knows or not never:
        return []
    middle = (sum(knows) / len(knows) + sum(never) / len(never)) / 2
    sign = -1.0 if card.better_on_forget == "higher" else 1.0
    return [
        (one, golds)
        for one in models
        if one.pool == "unlearned" and one.reason is None and _below(one.values.get(card.name), middle, sign)
    ]


def _below(value: float | None, middle: float, sign: float) -> bool:
    return value is not None and sign * value < sign * middle


def _attacked(one: PoolModel, golds: Sequence[PoolModel], card: MetricCard) -> Attacked:
    """Return an unlearned model's changes, with those of the gold model of the same seed and length of training."""
    (gold,) = [gold for gold in golds if (gold.seed, gold.epochs) == (one.seed, one.epochs)]
    return Attacked(
        relearned=_knowledge(one, RELEARN, card),
        gold_relearned=_knowledge(gold, RELEARN, card),
        quantized=_knowledge(one, QUANTIZE, card),
    )


def _knowledge(one: PoolModel, attack: str, card: MetricCard) -> Change:
    """Return a change as knowledge from 0 up.

    Raises:
        ValueError: the metric has no value, or no end of its range from which knowledge counts.
    """
    found = one.changes.get(attack, {}).get(card.name)
    if found is None:
        raise ValueError(f"no value under {attack}")
    low, high = card.range
    end = high if card.better_on_forget == "higher" else low
    if end is None:
        raise ValueError("its range has no end without knowledge, so no share of a rise can be taken")
    return Change(before=abs(found.before - end), after=abs(found.after - end))
