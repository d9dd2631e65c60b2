"""The result file of `unlearn-sweep calibrate`, and the weights of metrics in UE that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from unlearn_sweep.engine.store.damaged import DamagedFileError, why_unreadable
from unlearn_sweep.engine.store.sealed import Record

FILE = "calibration.json"
FOLDER = "calibration"
"""A calibration lies in `<storage>/<name>-calibration`."""

Pool = Literal["knows", "never saw"]


class PoolModel(Record):
    """One model: its pool, how it was trained, and the mean of each metric over the forget rows (None: no value)."""

    pool: Pool
    seed: int
    epochs: float
    values: dict[str, float | None]


class MetricTrust(Record):
    """How well one metric tells the pools apart.

    `auc`, `low`, `high`, `gap`: as in `metric_trust.Trust`. `knows` and `never_saw`: mean over each pool. `reason`:
    why there is no area; None if there is one.
    """

    metric: str
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    gap: float | None = None
    knows: float | None = None
    never_saw: float | None = None
    reason: str | None = None


class Calibration(Record):
    """Result of a calibration: every model, and the metrics, the most trustworthy first."""

    benchmark: str
    data: str
    models: list[PoolModel]
    metrics: list[MetricTrust]


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


def measured_weights(found: Calibration, metrics: Sequence[str]) -> dict[str, float]:
    """Return the weight of each metric: 2 AUC - 1, so 1 if it separates the pools and 0 at chance or below.

    Raises:
        NotCalibratedError: a metric is not in the result or has no area, or every weight is 0.
    """
    areas = {one.metric: one.auc for one in found.metrics if one.auc is not None}
    reasons = {one.metric: f"has no area: {one.reason}" for one in found.metrics if one.auc is None}
    if lost := [f"{name} {reasons.get(name, 'was not calibrated')}" for name in metrics if name not in areas]:
        raise NotCalibratedError("; ".join(lost))
    weights = {name: max(0.0, 2.0 * areas[name] - 1.0) for name in metrics}
    if not any(weights.values()):
        raise NotCalibratedError("no metric separates the pools better than chance")
    return weights
