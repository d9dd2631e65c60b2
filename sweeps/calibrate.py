"""`unlearn-sweep calibrate`: which metrics tell models apart, and of which the verdict lasts under attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.store.calibration import calibration_path
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS
from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.catalog import METRICS, metric_card
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from unlearn_sweep.engine.store.calibration import Calibration, MetricTrust

ASKS_OTHERS = frozenset({"judge", "comparison", "entailment", "gibberish", "tasks"})
"""Metrics that need a judge or another model: calibrated only if they are named."""
DASH = "\N{EN DASH}"
ROBUSTNESS = ("relearn", "quantize")
"""The attacks behind a metric's robustness."""
COLUMNS = (
    "metric", "AUC", "95 %", "gap", "knows", "never saw",
    "relearn", "quantize", "robustness", "95 %", "models", "weight",
)  # fmt: skip


def calibrate(
    job: SweepJob, models: int, unlearned: int, metrics: Sequence[str], announce: Callable[[str], None]
) -> Calibration:
    """Train `models` models with and `models` without the forget rows and compare them by `metrics` (empty: all).

    `unlearned` models are unlearned and attacked, to see which metrics' verdicts last; 0: none.

    Raises:
        UserError: an unknown metric or one without a direction, or no recipe trains such models.
    """
    from unlearn_sweep.engine.driver.calibration import run_calibration

    own = {
        "ue_metrics": chosen_metrics(job, metrics),
        "ue_weights": {},
        "attacks": robustness_attacks(job),
        "directory": calibration_path(job.storage, job.name).parent,
    }
    return run_calibration(job.model_copy(update=own), models, unlearned, announce)


def robustness_attacks(job: SweepJob) -> list[AttackSettings]:
    """Return `relearn` and `quantize` as the sweep file has them, or with their defaults. Of a searched attacker, the
    setting that is written."""
    return [_attack(job, name) for name in ROBUSTNESS]


def _attack(job: SweepJob, name: str) -> AttackSettings:
    given = next((attack for attack in job.attacks if attack.name == name), None)
    if given is not None:
        return given.model_copy(update={"searched": None})
    card = ATTACKS[name]
    return AttackSettings(label=name, name=name, family=card.family, params=card.params().model_dump(mode="json"))


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
    unlearned = [model for model in found.models if model.pool == "unlearned"]
    useful = sum(model.reason is None for model in unlearned)
    title += f"; {len(unlearned)} unlearned, of which {useful} kept their utility" if unlearned else ""
    table = Table(*COLUMNS, title=title, title_justify="left", box=None)
    for row in trust_rows(found.metrics):
        table.add_row(*row)
    return table


def trust_rows(metrics: Sequence[MetricTrust]) -> list[tuple[str, ...]]:
    """Return the cells of each metric, in the order of COLUMNS. What is missing says why."""
    rows = []
    for one in metrics:
        interval = _interval(one.low, one.high) if one.auc is not None else (one.reason or DASH)
        gap = DASH if one.gap is None else f"{one.gap:.1f}"
        lasting = _interval(one.robustness_low, one.robustness_high)
        if one.robustness is None:
            lasting = one.robustness_reason or DASH
        faithful = (_number(one.auc), interval, gap, _number(one.knows), _number(one.never_saw))
        robust = (_number(one.relearn), _number(one.quantize), _number(one.robustness), lasting, str(one.unlearned))
        rows.append((one.metric, *faithful, *robust, _number(one.weight)))
    return rows


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


def _interval(low: float | None, high: float | None) -> str:
    return f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"
