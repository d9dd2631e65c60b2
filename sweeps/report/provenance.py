"""Where the numbers of a report come from: seed, data, models, code, machine, device hours and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.privacy.secrets import redact
from unlearn_sweep.engine.settings import resources_of
from unlearn_sweep.engine.store.calibration import MetricTrust
from unlearn_sweep.engine.store.damaged import DamagedFileError
from unlearn_sweep.engine.store.origin import Origin
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.sweeps.report.records import SweepData
from unlearn_sweep.sweeps.report.timeline import Timeline

TRAINED = ("unlearn", "suppress", "reinforce", "prepare:original", "prepare:gold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Price of one hour of one GPU and of one CPU in dollars; None if not given."""

    gpu_hour: float | None = None
    cpu_hour: float | None = None


class Provenance(BaseModel):
    """Provenance of the numbers of one sweep.

    Attributes:
        seed: Seed of the sweep; None if the lock file has none.
        data: Options of the benchmark that say where its rows are from: paths, hub ids, revisions.
        ue_weights: Weight of each metric in UE; empty if all count the same.
        ue_trust: What the calibration behind measured weights found of each metric; empty for weights by hand.
        data_digest: Digest of the benchmark's content; None if no control is measured or its stage is missing.
        models: Content name of the original and the gold model: a digest of the weights, or the key of the training.
        origin: Command, commit and machine of the last start; None if an older version wrote it.
        hosts: Machines that ran stages of the trials and controls.
        device_hours: Hours for which stages held each Ray resource (CPU, GPU): failed stages count, reused ones do not.
        dollars: Device hours times the given prices, plus what judges cost; None if no price is given or known.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")

    seed: int | None
    data: dict[str, str]
    ue_weights: dict[str, float]
    ue_trust: list[MetricTrust]
    data_digest: str | None
    models: dict[str, str]
    origin: Origin | None
    hosts: list[str]
    device_hours: dict[str, float]
    dollars: float | None


def provenance(data: SweepData, prices: Prices, *, judges: float | None) -> Provenance:
    """Read the provenance of a sweep. `judges` is what external judges cost in dollars; None if unknown."""
    start = data.snapshot.starts.last
    seed = data.spec_value("seed")
    inputs, hosts = _measured(data)
    hours = device_hours(data.timeline, data)
    return Provenance(
        seed=seed if isinstance(seed, int) else None,
        data=_sources(data.spec_value("benchmark", "params") or {}),
        ue_weights=data.spec_value("ue_weights") or {},
        ue_trust=[MetricTrust.model_validate(one) for one in data.spec_value("ue_trust") or ()],
        data_digest=next((str(found["data"]) for found in inputs.values() if "data" in found), None),
        models={which: str(found["model"]) for which, found in inputs.items() if "model" in found},
        origin=start.origin if start is not None else None,
        hosts=hosts,
        device_hours=hours,
        dollars=_dollars(hours, prices, judges),
    )


def device_hours(timeline: Timeline, data: SweepData) -> dict[str, float]:
    """Return for how many hours the stages of a sweep held each resource, by Ray's names."""
    hours: dict[str, float] = {}
    for (stage, _), cost in timeline.costs.items():
        for resource, amount in _resources(stage, data).items():
            hours[resource] = hours.get(resource, 0.0) + amount * (cost.seconds + cost.failed_seconds) / 3600
    return hours


def _resources(stage: str, data: SweepData) -> Mapping[str, float]:
    """Return what a stage holds: the workers' resources if it trains with workers, else those of measuring."""
    workers = data.spec_value("training", "workers") or 0
    if stage in TRAINED and workers:
        each = resources_of(data.spec_value("training", "resources_per_worker") or "auto", {})
        return {name: workers * float(amount) for name, amount in each.items()}
    measuring = data.spec_value("evaluation_workers") or "auto"
    found = resources_of(data.spec_value("evaluation_resources") or "auto", {}, 1 if measuring == "auto" else measuring)
    return {name: float(amount) for name, amount in found.items()}


def _dollars(hours: Mapping[str, float], prices: Prices, judges: float | None) -> float | None:
    priced = {"GPU": prices.gpu_hour, "CPU": prices.cpu_hour}
    parts = [hours.get(resource, 0.0) * price for resource, price in priced.items() if price is not None]
    parts += [judges] if judges is not None else []
    return sum(parts) if parts else None


def _sources(params: Mapping[str, Any]) -> dict[str, str]:
    named = [name for name in params if name in ("hub", "corpus", "topic", "forget", "seed") or name.endswith("path")]
    named += [name for name in params if name.endswith("revision")]
    return {
        name: "newest (not pinned)" if params[name] is None else redact(str(params[name]))
        for name in named
        if params[name] is not None or name.endswith("revision")
    }


def _measured(data: SweepData) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """Return the inputs of the controls' evaluations by control, and the hosts that measured them."""
    if data.controls is None:
        return {}, []
    store = StageStore(data.directory.resolve().parent)
    inputs: dict[str, Mapping[str, Any]] = {}
    hosts: dict[str, None] = {}
    for control in (data.controls.original, data.controls.gold):
        key = control.stage_keys.get("evaluate")
        try:
            result = store.result(key) if key is not None else None
        except DamagedFileError:  # what cannot be read is unknown here; `answers` and the driver name it
            result = None
        if result is not None:
            inputs[control.model] = result.inputs
            hosts[result.host] = None
    return inputs, list(hosts)
