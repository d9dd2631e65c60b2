"""`unlearn-sweep calibrate`: which metrics tell models that know the forget rows from models that never saw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.calibration import calibration_path
from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.catalog import METRICS, metric_card
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from unlearn_sweep.engine.store.calibration import Calibration

ASKS_OTHERS = frozenset({"judge", "comparison", "entailment", "gibberish", "tasks"})
"""Metrics that need a judge or another model: calibrated only if they are named."""
DASH = "\N{EN DASH}"


def calibrate(job: SweepJob, models: int, metrics: Sequence[str], announce: Callable[[str], None]) -> Calibration:
    """Train `models` models with and `models` without the forget rows and compare them by `metrics` (empty: all).

    Raises:
        UserError: an unknown metric or one without a direction, or no recipe trains such models.
    """
    from unlearn_sweep.engine.driver.calibration import run_calibration

    own = {
        "ue_metrics": chosen_metrics(job, metrics),
        "ut_metrics": [],
        "directory": calibration_path(job.storage, job.name).parent,
    }
    return run_calibration(job.model_copy(update=own), models, announce)


def chosen_metrics(job: SweepJob, named: Sequence[str]) -> list[str]:
    """Return the metrics to calibrate: those named, or all that the forget rows have a value for."""
    from unlearn_sweep.engine.driver.calibration import calibratable

    if not named:
        kinds = _forget_kinds(job)
        return [card.name for card in METRICS.values() if calibratable([card.name]) and _applies(card, kinds)]
    for name in named:
        _refuse_unknown(name)
    if wrong := [name for name in named if not calibratable([name])]:
        raise UserError(
            f"{', '.join(wrong)}: has no value for a single row, or no direction without a gold model",
            advice="leave it out; without --metric every metric that can be calibrated is",
        )
    return list(dict.fromkeys(named))


def calibration_table(found: Calibration) -> RenderableType:
    """Draw the metrics, the most trustworthy first."""
    from rich.table import Table

    counts = {pool: sum(model.pool == pool for model in found.models) for pool in ("knows", "never saw")}
    title = f"{counts['knows']} models that know the forget rows, {counts['never saw']} that never saw them"
    table = Table("metric", "AUC", "95 %", "gap", "knows", "never saw", title=title, title_justify="left", box=None)
    for one in found.metrics:
        interval = f"{_number(one.low)} to {_number(one.high)}" if one.auc is not None else (one.reason or DASH)
        gap = DASH if one.gap is None else f"{one.gap:.1f}"
        table.add_row(one.metric, _number(one.auc), interval, gap, _number(one.knows), _number(one.never_saw))
    return table


def _forget_kinds(job: SweepJob) -> frozenset[str]:
    from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
    from unlearn_sweep.evaluators.scores import FORGET_SPLIT

    benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    return frozenset(row.kind for row in benchmark.evaluation[FORGET_SPLIT])


def _applies(card: MetricCard, kinds: frozenset[str]) -> bool:
    return "ue" in card.serves and card.needs not in ASKS_OTHERS and bool(kinds & set(card.kinds))


def _refuse_unknown(name: str) -> None:
    try:
        metric_card(name)
    except ValueError as error:
        raise UserError(str(error), advice="unlearn-sweep evaluators lists the metrics") from None


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"
