"""Convert a checked sweep file to the engine's job: fill in defaults, make paths absolute, apply command options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import BenchmarkSettings, ModelSource, RequestSettings, SweepJob
from unlearn_sweep.engine.resources.placement import Placement, place
from unlearn_sweep.engine.search_settings import Configuration, LearntTrial, OtherSweep, SearchOptions, SearchSettings
from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.engine.settings import resources_of
from unlearn_sweep.engine.store.snapshot import read_snapshot
from unlearn_sweep.engine.study.transfer import measured
from unlearn_sweep.sweeps.file.checks import DEFAULT_TRIALS, grid_size, minimum_of
from unlearn_sweep.sweeps.file.enqueue import check_same_as_begun, enqueued_settings
from unlearn_sweep.sweeps.file.file_schema import GoldSection, SourceSection, SweepFile
from unlearn_sweep.sweeps.file.learn_from import learnt_from
from unlearn_sweep.sweeps.file.mirror import check_mirror
from unlearn_sweep.sweeps.file.paths import absolute, check_storage, is_local
from unlearn_sweep.sweeps.file.prior import beliefs_of
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import Problem, SpecError
from unlearn_sweep.sweeps.file.prompt import prompt_of, with_prompt
from unlearn_sweep.sweeps.file.spec import SweepSpec
from unlearn_sweep.sweeps.file.views import placed_views
from unlearn_sweep.sweeps.file.warm_start import check_not_begun, first_settings
from unlearn_sweep.sweeps.file.weights import UeWeights, ue_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Command options that replace values of the file without making it a different sweep. None keeps the value.

    Without `weighted`, the weights of the metrics are not read: `calibrate` writes the file that they may come from.
    """

    trials: int | None = None
    storage: str | None = None
    mirror: str | None = None
    max_concurrent: int | None = None
    weighted: bool = True


def resolve(spec: SweepSpec, overrides: Overrides | None = None, *, model: str | None = None) -> SweepJob:
    """Return the job of a sweep.

    Args:
        spec: The checked sweep file.
        overrides: Options of the command.
        model: Folder or hub id of the model whose tokenizer decides the prompt format. None for the model of the file.

    Raises:
        SpecError: an override is invalid (too few trials, a storage that is a file, a mirror that is not an address),
            or `search.warm_start` or `search.enqueue` differ from those that the sweep was started with.
    """
    overrides = overrides or Overrides()
    storage = _storage(spec, overrides)
    _check_first(spec, storage / spec.file.name)
    search = _search(spec, overrides)
    prompt = prompt_of(spec.file, spec.benchmark, spec.folder, model)
    ue = _weights(spec, storage) if overrides.weighted else UeWeights()
    job = SweepJob(
        name=spec.file.name,
        seed=spec.file.seed,
        benchmark=BenchmarkSettings(name=spec.benchmark.card.name, params=with_prompt(spec.benchmark.params, prompt)),
        prompt_probe=prompt.probe == "on",
        original=_source(spec.file.model, spec.folder),
        gold=_source(spec.file.gold, spec.folder),
        dtype=spec.file.model.dtype,
        attention=spec.file.model.attention,
        trust_remote_code=spec.file.model.trust_remote_code,
        spaces=list(_spaces(spec)),
        training=spec.file.training,
        ue_metrics=list(spec.ue_metrics),
        ut_metrics=list(spec.ut_metrics),
        ue_weights=ue.weights,
        ue_trust=ue.trust,
        tasks=list(spec.tasks),
        ut_groups=spec.file.evaluators.ut_groups or {},
        plugins=list(spec.plugins),
        attacks=list(spec.attacks),
        search=search,
        evaluation_resources=spec.file.evaluation.resources,
        evaluation_workers=spec.file.evaluation.workers,
        attack_training=spec.file.evaluation.attack_training,
        concurrent_trials=_concurrent(spec, overrides, search.trials),
        threads=_threads(spec.file),
        stage_timeout_s=spec.file.stage_timeout_s,
        storage_limit_gib=spec.file.storage_limit_gib,
        mlflow=spec.file.tracking.mlflow,
        mirror=_mirror(spec, overrides, storage),
        views=placed_views(spec.views, spec.benchmark.card.name, spec.benchmark.params, storage),
        requests=_requests(spec),
        storage=storage,
        directory=storage / spec.file.name,
        spec_path=str(absolute(spec.document.file, spec.folder)),
        spec_text=spec.document.text,
    )
    return job if spec.machine is None else job.on_capacity(spec.machine.resources())


def _requests(spec: SweepSpec) -> RequestSettings | None:
    section = spec.file.requests
    return None if section is None else RequestSettings(after=list(section.after), mode=section.mode)


def placement_of(spec: SweepSpec, overrides: Overrides, trials: int) -> Placement | None:
    """Return how many trials fit at once; None if the size of the cluster is unknown."""
    if spec.machine is None:
        return None
    limit = spec.file.search.max_concurrent
    at_most = overrides.max_concurrent or (None if limit == "auto" else limit)
    capacity = spec.machine.resources()
    section = spec.file.evaluation
    workers, evaluation = spec.file.training.resources_on(capacity, section.resources, section.workers)
    return place(workers, evaluation, capacity, trials=trials, at_most=at_most)


def _concurrent(spec: SweepSpec, overrides: Overrides, trials: int) -> int | None:
    placed = placement_of(spec, overrides, trials)
    if placed is not None:
        return max(1, placed.at_once)
    limit = spec.file.search.max_concurrent
    return overrides.max_concurrent or (None if limit == "auto" else limit)


def _storage(spec: SweepSpec, overrides: Overrides) -> Path:
    if overrides.storage is None:
        return spec.storage
    collector = ProblemCollector(spec.document)
    place = check_storage(overrides.storage, ("--storage",), spec.folder, collector)
    if collector.problems:
        raise SpecError(spec.document.file, collector.problems)
    return place


def _mirror(spec: SweepSpec, overrides: Overrides, storage: Path) -> str | None:
    collector = ProblemCollector(spec.document)
    path = ("mirror",) if overrides.mirror is None else ("--mirror",)
    address = spec.file.mirror if overrides.mirror is None else overrides.mirror
    check_mirror(address, path, storage, collector)
    if collector.problems:
        raise SpecError(spec.document.file, collector.problems)
    return address


def _weights(spec: SweepSpec, storage: Path) -> UeWeights:
    collector = ProblemCollector(spec.document)
    found = ue_weights(
        spec.file.evaluators.ue_weights,
        spec.ue_metrics,
        name=spec.file.name,
        benchmark=spec.benchmark.card.name,
        storage=storage,
        folder=spec.folder,
        collector=collector,
    )
    if collector.problems:
        raise SpecError(spec.document.file, collector.problems)
    return found


def _check_first(spec: SweepSpec, sweep: Path) -> None:
    collector = ProblemCollector(spec.document)
    check_not_begun(spec.file.search.warm_start, sweep, spec.folder, collector)
    check_same_as_begun(spec.file.search.enqueue, sweep, collector)
    if collector.problems:
        raise SpecError(spec.document.file, collector.problems)


def trials_of(spec: SweepSpec, overrides: Overrides) -> int:
    """Return the total number of trials: from the command, else the file, else the size of the grid, else the default.

    Raises:
        SpecError: the command asks for too few trials.
    """
    search = spec.file.search
    methods = len(spec.spaces)
    if overrides.trials is not None:
        least = methods if search.allocation == "equal" else 1
        if overrides.trials < least:
            message = f"too few for {methods} methods with equal allocation" if methods > 1 else "too few"
            problem = Problem(
                path="--trials", message=message, given=str(overrides.trials), allowed=f"at least {least}"
            )
            raise SpecError(spec.document.file, [problem])
        return overrides.trials
    if search.trials is not None:
        return search.trials
    if search.sampler == "grid":
        return sum(grid_size(space, search.grid_points) for space in spec.spaces)
    checkpoints = spec.file.training.checkpoints
    shares = len(checkpoints) if isinstance(checkpoints, tuple) else 1
    return max(DEFAULT_TRIALS, methods) * shares


def _search(spec: SweepSpec, overrides: Overrides) -> SearchSettings:
    search = spec.file.search
    constraints = {
        name: text for name in ("ue", "ut", "rob") if (text := getattr(search.constraints, name)) is not None
    }
    return SearchSettings(
        **{name: getattr(search, name) for name in SearchOptions.model_fields},
        trials=trials_of(spec, overrides),
        first=_first(spec),
        beliefs=beliefs_of(search, spec.spaces),
        learnt=_learnt(spec),
        others=_others(spec),
        prune=spec.file.prune,
        minimum={name: minimum_of(text) for name, text in constraints.items()},  # pyright: ignore[reportArgumentType]
    )


def _first(spec: SweepSpec) -> list[Configuration]:
    """Return the settings to try first: those of the file, then those of another sweep's front."""
    search = spec.file.search
    own = enqueued_settings(search.enqueue)
    if search.warm_start is None:
        return own
    other = first_settings(absolute(search.warm_start, spec.folder), spec.spaces)
    return [*own, *(setting for setting in other if setting not in own)]


def _learnt(spec: SweepSpec) -> list[LearntTrial]:
    """Return the trials of `search.learn_from`."""
    place = spec.file.search.learn_from
    return [] if place is None else learnt_from(absolute(place, spec.folder), spec.spaces)


def _others(spec: SweepSpec) -> list[OtherSweep]:
    """Return what the sweeps of `search.learn_from` and `search.warm_start` measured."""
    given = (spec.file.search.learn_from, spec.file.search.warm_start)
    places = dict.fromkeys(absolute(place, spec.folder) for place in given if place is not None)
    return [OtherSweep(name=place.name, trials=measured(read_snapshot(place).records)) for place in places]


def _spaces(spec: SweepSpec) -> tuple[MethodSpace, ...]:
    """Return the search spaces, without `epochs` if `training.max_steps` is set."""
    if spec.file.training.max_steps is None:
        return spec.spaces
    return tuple(
        MethodSpace(
            method=space.method, params={name: value for name, value in space.params.items() if name != "epochs"}
        )
        for space in spec.spaces
    )


def _source(source: SourceSection, folder: Path) -> ModelSource:
    if isinstance(source, GoldSection) and source.floor is not None:
        return ModelSource(floor=source.floor)
    if source.path is not None:
        place = absolute(source.path, folder)
        path = str(place) if is_local(source.path, place) else source.path
        return ModelSource(path=path, tokenizer=_tokenizer(source, folder))
    if source.train is None:
        return ModelSource()
    recipe: dict[str, Any] = source.train.model_dump(exclude_none=True)
    if "base" in recipe:
        place = absolute(recipe["base"], folder)
        recipe["base"] = str(place) if is_local(recipe["base"], place) else recipe["base"]
    return ModelSource(recipe=recipe or None)


def _tokenizer(source: SourceSection, folder: Path) -> str | None:
    if source.tokenizer is None:
        return None
    place = absolute(source.tokenizer, folder)
    return str(place) if is_local(source.tokenizer, place) else source.tokenizer


def _threads(file: SweepFile) -> int:
    """Return the threads of one process: the larger CPU count of training and evaluation, rounded down, at least 1."""
    workers = 1 if file.evaluation.workers == "auto" else file.evaluation.workers
    given = (resources_of(file.training.resources_per_worker, {}), resources_of(file.evaluation.resources, {}, workers))
    return max(1, int(max(resources.get("CPU", 1.0) for resources in given)))
