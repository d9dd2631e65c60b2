"""`unlearn-sweep rescore`: measure and attack the models of a finished sweep by another sweep file, training none.

A model is found by the stage that trained it: method, settings, seed, training, original model, rows and code. So the
other file describes the same trainings with other metrics, judges or attacks, and a name of its own. The result is an
ordinary sweep whose trials are the kept models of the first, each attacked in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.stages.training_requests import unlearn_stage
from unlearn_sweep.engine.store.damaged import read_lock_file
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.snapshot import read_snapshot
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.sweeps.file.warm_start import setting_in
from unlearn_sweep.user_error import UserError

SAME = ("seed", "benchmark", "original", "dtype")
"""Fields of a job that every training depends on. `training` is compared by its digest."""
OTHER_SPACE = "settings outside the search space of the file"
OTHER_STAGE = "trained by other code, or with other fixed settings"
NO_WEIGHTS = "weights not kept"


class RescoreError(UserError, ValueError):
    """The models of this sweep cannot be scored by that file."""


@dataclass(frozen=True, slots=True)
class Rescore:
    """A sweep of stored models.

    Attributes:
        job: the sweep; its first settings are those of the models, and it trains none.
        trials: number of the trial in the other sweep, by number of the trial here.
        left_out: how many trials of the other sweep are not scored, by reason.
    """

    job: SweepJob
    trials: dict[int, int]
    left_out: dict[str, int]


def rescored(job: SweepJob, directory: Path) -> Rescore:
    """Return the sweep that scores the kept models of the sweep in `directory` as `job` says.

    If it has begun before, it goes on with the models that it began with.

    Raises:
        RescoreError: another storage or the same name, another training, or no model is left.
        NotASweepError: `directory` is not a sweep.
        DamagedFileError: its lock file cannot be read.
    """
    records = read_snapshot(directory).records
    _check_place(job, directory)
    locked = read_lock_file(directory / "spec.lock.yaml")
    _check_same(job, locked)
    found = list(_models(job, records, locked.get("identity") or {}))
    begun = read_lock_file(job.directory / "spec.lock.yaml").get("job", {}).get("search", {}).get("first")
    if begun is not None:
        first = [Configuration.model_validate(setting) for setting in begun]
    else:
        first = [setting for _, setting, reason in found if setting is not None and reason is None]
    if not first:
        raise RescoreError(
            f"{directory}: no model is left to score: {_counted(_reasons(found)) or 'it has no trials'}",
            advice="Models of the front and of LoRA trainings are kept, with storage_limit_gib others as well; run the "
            "sweep again to train those of its front.",
        )
    numbers = {place: _origin(setting, found) for place, setting in enumerate(first)}
    changes = {
        "first": first, "trials": len(first), "trains": False, "prune": False, "sampler": "random",
        "sampler_options": {}, "seeds_for_finalists": 1, "reproducible": False,
    }  # fmt: skip
    search = job.search.model_copy(update=changes)
    trials = {place: number for place, number in numbers.items() if number is not None}
    return Rescore(job.model_copy(update={"search": search}), trials, _reasons(found))


def rescore_text(found: Rescore, directory: Path) -> Iterator[str]:
    """Yield lines that say which trial is which, and what is left out."""
    yield f"scoring {len(found.job.search.first)} models of {directory.name} as {found.job.name}; nothing is trained"
    for number, origin in found.trials.items():
        yield f"  trial {number} is the model of trial {origin} of {directory.name}"
    if found.left_out:
        yield f"left out: {_counted(found.left_out)}"


Model = tuple[TrialRecord, Configuration | None, str | None]
"""A trial of the other sweep, its settings in this space, and why it is left out."""


def _models(job: SweepJob, records: list[TrialRecord], identity: Mapping[str, Any]) -> Iterator[Model]:
    spaces, store = {space.method: space for space in job.spaces}, StageStore(job.storage)
    for record in records:
        made = record.stage_keys.get("unlearn")
        if made is None or record.state in ("duplicate", "failed", "stopped"):
            continue
        space = spaces.get(record.method)
        setting = setting_in(record, space)
        if setting is None or space is None:
            yield record, None, OTHER_SPACE
            continue
        original, data = str(identity.get("original")), str(identity.get("data"))
        request = unlearn_stage(job, record.method, space.whole(setting.params), record.seed, original, data)
        reason = OTHER_STAGE if request.key != made else None if _stored(store, request) else NO_WEIGHTS
        yield record, setting, reason


def _stored(store: StageStore, request: StageRequest[TrainOutcome]) -> bool:
    """Whether the model of a training is stored, or can be made from an adapter that is as it was written."""
    if store.has_weights(request.key):
        return True
    return store.has_adapter(request.key) and store.recall(request) is not None


def _origin(setting: Configuration, found: list[Model]) -> int | None:
    return next((record.number for record, known, _ in found if known == setting), None)


def _reasons(found: list[Model]) -> dict[str, int]:
    return dict(Counter(reason for _, _, reason in found if reason is not None))


def _counted(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{count} with {reason}" for reason, count in reasons.items())


def _check_place(job: SweepJob, directory: Path) -> None:
    if job.directory.resolve() == directory.resolve():
        raise RescoreError(
            f"{job.name} is the name of the sweep to be scored", advice="Give the file another name: it makes a sweep."
        )
    if job.storage.resolve() != directory.resolve().parent:
        raise RescoreError(
            f"{directory} is not in the storage of the file, {job.storage}: models are found in their own storage",
            advice=f"Add --storage {directory.resolve().parent}",
        )


def _check_same(job: SweepJob, locked: Mapping[str, Any]) -> None:
    """Compare what every training depends on. A difference would leave no model, without a word of why."""
    before, now = locked.get("job") or {}, job.model_dump(mode="json", include=set(SAME))
    differ = [name for name in SAME if before.get(name) != now[name]]
    if (locked.get("identity") or {}).get("training") != digest(job.training.identity()):
        differ.append("training")
    if differ:
        names = ", ".join("model" if name == "original" else name for name in differ)
        raise RescoreError(
            f"the file trains other models than the sweep: {names} differ",
            advice="Copy the sweep's own file, and change its name, evaluators and attacks only.",
        )
