"""The result file of `unlearn-sweep calibrate`, and the weights of metrics in UE that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from unlearn_sweep.engine.store.damaged import DamagedFileError, why_unreadable
from unlearn_sweep.engine.store.sealed import Record
from unlearn_sweep.evaluators.metric_robustness import harmonic_mean

FILE = "calibration.json"
FOLDER = "calibration"
"""A calibration lies in `<storage>/<name>-calibration`."""

Pool = Literal["knows", "never saw", "unlearned"]


class MetricChange(Record):
    """Mean of one metric over the forget rows that were measured both before and after an attack."""

    before: float
    after: float


class PoolModel(Record):
    """One model of a pool.

    Attributes:
        pool: whether it was trained with the forget rows, without them, or with them and then unlearned.
        seed, epochs: of the training of the model, or of the one that was unlearned.
        values: mean of each metric over the forget rows; None if a metric has no value.
        method, params: how it was unlearned; None and empty for the other pools.
        utility: UT of an unlearned model, as in a sweep; None if it was not measured.
        changes: by attack ("relearn", "quantize") and metric, what the strongest state of the attack did.
        reason: why an unlearned model does not count; None if it counts.
    """

    pool: Pool
    seed: int
    epochs: float
    values: dict[str, float | None]
    method: str | None = None
    params: dict[str, JsonValue] = Field(default_factory=dict)
    utility: float | None = None
    changes: dict[str, dict[str, MetricChange]] = Field(default_factory=dict)
    reason: str | None = None


class MetricTrust(Record):
    """How well one metric tells the pools apart, and whether that lasts under attacks.

    Attributes:
        auc, low, high, gap: as in `metric_trust.Trust`.
        knows, never_saw: mean over each pool.
        reason: why there is no area; None if there is one.
        relearn, quantize, robustness, robustness_low, robustness_high: as in `metric_robustness.Robustness`.
        unlearned: unlearned models that count for it: forgotten by this metric, and useful.
        robustness_reason: why there is no robustness; None if there is one.
        weight: weight in UE (`trust_weight`); None if it cannot be measured.
    """

    metric: str
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    gap: float | None = None
    knows: float | None = None
    never_saw: float | None = None
    reason: str | None = None
    relearn: float | None = None
    quantize: float | None = None
    robustness: float | None = None
    robustness_low: float | None = None
    robustness_high: float | None = None
    unlearned: int = 0
    robustness_reason: str | None = None
    weight: float | None = None


class Calibration(Record):
    """Result of a calibration: every model, and the metrics, the most trustworthy first.

    `attacks` has label and parameters of the attacks behind the robustness; empty if it was not measured.
    """

    benchmark: str
    data: str
    models: list[PoolModel]
    metrics: list[MetricTrust]
    attacks: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)


class NotCalibratedError(Exception):
    """A calibration has no weight for these metrics; the message says why."""


def calibration_path(storage: Path, name: str) -> Path:
    """Return where `calibrate` writes the result for the sweep file of this name."""
    return storage / f"{name}-{FOLDER}" / FILE


def read_calibration(path: Path) -> Calibration:
    """Read a result file.

    Raises:
        OSError: it cannot be read.
        DamagedFileError: its content is not that of a calibration.
    """
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise DamagedFileError(path, why_unreadable(error), "run unlearn-sweep calibrate again") from error


def trust_weight(auc: float | None, robustness: float | None, *, robust: bool) -> float | None:
    """Return the weight of a metric in UE, in [0, 1]; None if a part of it is missing.

    The harmonic mean of 2 AUC - 1 (0 at chance or below, 1 if the pools are apart) and robustness; without `robust`,
    2 AUC - 1 alone.
    """
    if auc is None or (robust and robustness is None):
        return None
    faithful = max(0.0, 2.0 * auc - 1.0)
    return faithful if not robust or robustness is None else harmonic_mean(faithful, robustness)


def measured_weights(found: Calibration, metrics: Sequence[str]) -> dict[str, float]:
    """Return the weight of each metric as the calibration measured it.

    Raises:
        NotCalibratedError: a metric is not in the result or has no weight, or every weight is 0.
    """
    weights = {one.metric: one.weight for one in found.metrics}
    reasons = {one.metric: _why_without_weight(one) for one in found.metrics if one.weight is None}
    if lost := [f"{name} {reasons.get(name, 'was not calibrated')}" for name in metrics if weights.get(name) is None]:
        raise NotCalibratedError("; ".join(lost))
    chosen = {name: weight for name in metrics if (weight := weights[name]) is not None}
    if not any(chosen.values()):
        raise NotCalibratedError("no metric separates the pools better than chance and lasts under attacks")
    return chosen


def _why_without_weight(one: MetricTrust) -> str:
    if one.auc is None:
        return f"has no area: {one.reason}"
    if one.robustness is None and one.robustness_reason is not None:
        return f"has no robustness: {one.robustness_reason}"
    return "was calibrated by a version that measured no robustness"
