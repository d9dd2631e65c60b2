"""`evaluators.ue_weights`: how much each metric counts in UE. By hand, or as a calibration measured it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlearn_sweep.engine.store.calibration import (
    MetricTrust,
    NotCalibratedError,
    calibration_path,
    measured_weights,
    read_calibration,
)
from unlearn_sweep.engine.store.damaged import DamagedFileError
from unlearn_sweep.sweeps.file.paths import absolute
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown

PATH = ("evaluators", "ue_weights")
MEASURED = "measured"

Given = str | dict[str, float]


@dataclass(frozen=True, slots=True)
class UeWeights:
    """Weight of each metric of UE, empty if all count the same, and what a calibration measured of it."""

    weights: dict[str, float] = field(default_factory=dict)
    trust: list[MetricTrust] = field(default_factory=list)


def check_weights(given: Given, metrics: Sequence[str], collector: ProblemCollector) -> None:
    """Check weights by hand: each belongs to a metric of UE, and one is above 0."""
    if isinstance(given, str) or not given or not collector.is_valid(PATH, ("evaluators", "ue")):
        return
    for name in given:
        if name not in metrics:
            nearest = near_miss(name, list(metrics))
            advice = f"write {nearest}" if nearest else "remove it, or add it to evaluators.ue"
            collector.add(
                (*PATH, name),
                "no metric of UE in this sweep",
                given=shown(name),
                allowed=listing(metrics),
                nearest=nearest,
                advice=advice,
            )
    if not any(given.get(name, 1.0) for name in metrics):
        collector.add(PATH, "every metric of UE has weight 0", advice="give one of them a weight above 0")


def ue_weights(
    given: Given,
    metrics: Sequence[str],
    *,
    name: str,
    benchmark: str,
    storage: Path,
    folder: Path,
    collector: ProblemCollector,
) -> UeWeights:
    """Return the weight of each metric of UE. Report what a calibration lacks.

    Args:
        given: The setting in the file.
        metrics: The metrics of UE.
        name: Name of the sweep, `benchmark` that of its benchmark.
        storage: Where `measured` looks for the calibration of this sweep.
        folder: Folder that a relative path starts from.
        collector: Collects the mistakes.
    """
    if not given:
        return UeWeights()
    if not isinstance(given, str):
        return UeWeights({metric: given.get(metric, 1.0) for metric in metrics})
    place = calibration_path(storage, name) if given == MEASURED else absolute(given, folder)
    command = f"unlearn-sweep calibrate {collector.document.file}"
    try:
        found = read_calibration(place)
        if found.benchmark != benchmark:
            collector.add(PATH, f"{place} was measured on the benchmark {found.benchmark}", allowed=benchmark)
            return UeWeights()
        return UeWeights(measured_weights(found, metrics), [one for one in found.metrics if one.metric in metrics])
    except OSError as error:
        reason = error.strerror or str(error)
        collector.add(PATH, f"cannot read {place}: {reason}", given=shown(given), advice=f"run: {command}")
    except DamagedFileError as error:
        collector.add(PATH, str(error), given=shown(given), advice=f"run: {command}")
    except NotCalibratedError as error:
        names = " ".join(f"--metric {metric}" for metric in metrics)
        advice = f"run: {command} {names}; or leave the metric out of evaluators.ue, or give each weight as a number"
        collector.add(PATH, str(error), given=shown(given), advice=advice)
    return UeWeights()
