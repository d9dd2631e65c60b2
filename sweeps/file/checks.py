"""Check rules between parts of a sweep file, and between the file and the machine. Add problems to the collector.

Rules skip paths that already have a problem, so that each mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from unlearn_sweep.engine.resources.placement import place
from unlearn_sweep.engine.search_space import (
    CHECKPOINT,
    Choice,
    Integer,
    LogInteger,
    LogUniform,
    MethodSpace,
    Uniform,
    size,
)
from unlearn_sweep.engine.settings import resources_of
from unlearn_sweep.engine.training.settings import TrainingSettings, Workers
from unlearn_sweep.sweeps.file.file_schema import (
    EvaluationSection,
    ModelSection,
    SearchSection,
    SourceSection,
    SweepFile,
)
from unlearn_sweep.sweeps.file.paths import check_model_path
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown
from unlearn_sweep.sweeps.file.sampler import check_sampler
from unlearn_sweep.sweeps.machine import Machine

RESERVED_NAMES = frozenset({"store", "views", "mlflow", "mlflow.db", "mlartifacts", "mlruns", "ray", "train", "tune"})
TRACKING_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
MOST_GRID_POINTS = 100_000
DEFAULT_TRIALS = 30


def check_name(file: SweepFile, collector: ProblemCollector) -> None:
    if file.name.lower() in RESERVED_NAMES:  # some file systems ignore case
        allowed = f"anything but {listing(sorted(RESERVED_NAMES))}"
        collector.add(("name",), "a folder of this name is used by the tool itself", given=file.name, allowed=allowed)


def check_models(file: SweepFile, folder: Path, machine: Machine | None, collector: ProblemCollector) -> None:
    """Check that the original and gold models have one source each, existing paths and a usable attention."""
    _check_source(file.model, "model", folder, collector)
    _check_source(file.gold, "gold", folder, collector)
    unsaid = file.gold.path is None and file.gold.train is None and file.gold.floor is None
    if file.model.path is not None and unsaid and collector.is_valid(("gold",), ("model", "path")):
        message = "missing: if model.path is given, the gold model must be given too"
        advice = "add gold: {path: ...}, or gold: {floor: chance} if there is no model trained without the forget set"
        allowed = "path, train with a base, or floor"
        collector.add(("gold",), message, at=("model", "path"), allowed=allowed, advice=advice)
    if file.gold.floor is not None and (file.gold.path is not None or file.gold.train is not None):
        message = "conflicts with the gold model: a floor replaces a missing gold model"
        collector.add(("gold", "floor"), message, allowed="floor alone", advice="remove it, or path and train")
    if file.model.trust_remote_code:
        message = "code that comes with a model is never run by this version"
        collector.add(("model", "trust_remote_code"), message, given="true", allowed="false", advice="remove it")
    if machine is not None:
        _check_attention(file.model, machine, collector)


def _check_source(source: SourceSection, name: str, folder: Path, collector: ProblemCollector) -> None:
    if source.path is not None and source.train is not None and collector.is_valid((name,)):
        collector.add(
            (name, "train"), "conflicts with path", allowed="path or train, not both", advice="remove one of them"
        )
    if source.train is not None and source.train.base is not None and collector.is_valid((name, "train", "base")):
        check_model_path(source.train.base, (name, "train", "base"), folder, collector)
    if source.train is not None and source.train.base is not None and source.train.config is not None:
        message = "conflicts with base: the base model has its own configuration"
        collector.add(
            (name, "train", "config"), message, allowed="base or config, not both", advice="remove one of them"
        )


def _check_attention(model: ModelSection, machine: Machine, collector: ProblemCollector) -> None:
    if model.attention != "flash_attention_2":
        return
    obstacles = [] if machine.gpus else ["this machine has no GPU"]
    obstacles += [] if machine.flash_attention else ["flash-attn is not installed (pip install 'unlearn-sweep[gpu]')"]
    obstacles += ["it cannot take float32"] if model.dtype == "float32" else []
    if obstacles:
        message = f"flash attention cannot run: {'; '.join(obstacles)}"
        collector.add(
            ("model", "attention"), message, given=model.attention, allowed="auto, sdpa, eager", advice="write auto"
        )


def check_training(training: TrainingSettings, collector: ProblemCollector) -> None:
    """Check that backend, workers, batch sizes and resources are consistent."""
    if collector.is_valid(("training", "backend"), ("training", "workers")):
        _check_backend(training, collector)
    if collector.is_valid(("training", "global_batch_size"), ("training", "micro_batch_size"), ("training", "workers")):
        _check_batches(training, collector)
    if collector.is_valid(("training", "resources_per_worker")):
        resources = resources_of(training.resources_per_worker, {})
        _check_resources(resources, ("training", "resources_per_worker"), collector)
        gpus = resources.get("GPU", 0)
        if gpus != int(gpus):
            allowed = "a whole number of GPUs for each training worker"
            collector.add(
                ("training", "resources_per_worker", "GPU"), "a part of a GPU", given=shown(gpus), allowed=allowed
            )


def _check_backend(training: TrainingSettings, collector: ProblemCollector) -> None:
    if training.backend == "deepspeed" and training.workers == 0:
        message = (
            "the deepspeed backend needs training workers, and there are none (workers: 0 trains inside the trial)"
        )
        at = ("training", "workers" if "workers" in training.model_fields_set else "backend")
        collector.add(at, message, allowed="workers >= 1", advice="write workers: 1 or more, or backend: torch")


def _check_batches(training: TrainingSettings, collector: ProblemCollector) -> None:
    workers, batch = max(1, training.workers), training.global_batch_size
    if batch % workers:
        message = f"the batch cannot be shared by {workers} workers"
        given = f"{batch} rows"
        collector.add(("training", "global_batch_size"), message, given=given, allowed=f"a multiple of {workers}")
    elif training.micro_batch_size is not None and (batch // workers) % training.micro_batch_size:
        message = f"each worker's share is {batch // workers} rows, which this does not divide"
        allowed = f"a divisor of {batch // workers}"
        collector.add(
            ("training", "micro_batch_size"), message, given=shown(training.micro_batch_size), allowed=allowed
        )


def check_evaluation(file: SweepFile, collector: ProblemCollector) -> None:
    """Check resources and workers of measuring, and where attacks train."""
    if collector.is_valid(("evaluation", "resources"), ("evaluation", "workers")):
        _check_measuring_workers(file.evaluation, collector)
    if collector.is_valid(("evaluation", "resources")):
        _check_resources(resources_of(file.evaluation.resources, {}), ("evaluation", "resources"), collector)
    places = (("evaluation", "attack_training"), ("training", "workers"))
    if collector.is_valid(*places) and file.evaluation.attack_training == "workers" and not file.training.workers:
        message = "the sweep has no training workers"
        advice = "write training: {workers: 1} or more, or remove attack_training"
        collector.add(places[0], message, given="workers", allowed="auto, measuring", advice=advice)


def _check_measuring_workers(evaluation: EvaluationSection, collector: ProblemCollector) -> None:
    resources, workers = evaluation.resources, evaluation.workers
    if resources == "auto" or workers in ("auto", 1):
        return
    kind = "GPU" if resources.get("GPU") else "CPU"
    most = max(1, int(resources.get(kind, 0.0)))
    if workers > most:
        collector.add(
            ("evaluation", "workers"),
            f"each measuring worker needs a {kind} of its own",
            given=f"{workers} workers and {resources.get(kind, 0.0):g} {kind}",
            allowed=f"auto, or at most {most}",
            advice=f"write {kind}: {workers} in evaluation.resources, or fewer workers",
        )


def _check_resources(resources: dict[str, float], path: tuple[str, ...], collector: ProblemCollector) -> None:
    for name in resources:
        if name.upper() in ("CPU", "GPU") and name not in ("CPU", "GPU"):
            collector.add_unknown(
                (*path, name), "resources are named in capitals", ["CPU", "GPU"], "CPU, GPU, or a custom Ray resource"
            )
    if not any(resources.values()):
        advice = "remove it for one CPU each"
        collector.add(path, "asks for nothing", given=shown(resources), allowed="CPU: 1, GPU: 1, ...", advice=advice)


def check_fits(file: SweepFile, machine: Machine, collector: ProblemCollector) -> None:
    """Report workers that this machine can never run because it has too few resources."""
    training = file.training
    places = (("training", "workers"), ("training", "resources_per_worker"), ("evaluation", "resources"))
    if not collector.is_valid(*places):
        return
    capacity = machine.resources()
    workers, evaluation = training.resources_on(capacity, file.evaluation.resources, file.evaluation.workers)
    placed = place(workers, evaluation, capacity, trials=1)
    if not placed.obstacles:
        return
    alone = place(Workers(count=0, resources={}), evaluation, capacity, trials=1)
    path = places[2] if alone.obstacles else places[0] if training.workers else places[1]
    given = f"{training.workers} workers with {_amounts(workers.resources)} each"
    given = given if path == places[0] else _amounts(collector.document.at(path) or {})
    message = f"more than this machine has: {'; '.join(placed.obstacles)}"
    allowed = f"at most {_amounts(capacity)} in all"
    collector.add(path, message, given=given, allowed=allowed, advice="ask for less, or give a cluster's --address")


def _amounts(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {kind}" for kind, amount in resources.items())


def check_search(
    search: SearchSection, spaces: Sequence[MethodSpace], methods: int, collector: ProblemCollector
) -> None:
    """Check that sampler, trials, space and constraints are consistent. `methods` counts all methods in the file."""
    trials_sound = collector.is_valid(("search", "trials"), ("search", "allocation"), ("methods",))
    if trials_sound and search.trials is not None and search.allocation == "equal" and search.trials < methods:
        message = f"fewer trials than the {methods} methods, which are to get as many each"
        allowed = f"at least {methods}"
        collector.add(
            ("search", "trials"),
            message,
            given=shown(search.trials),
            allowed=allowed,
            advice="or write allocation: free",
        )
    share = next((space.params[CHECKPOINT] for space in spaces if CHECKPOINT in space.params), None)
    if trials_sound and search.trials is not None and isinstance(share, Choice) and search.trials % len(share.values):
        message = f"each training is {len(share.values)} trials, one for each share, which makes no whole number"
        allowed = f"a multiple of {len(share.values)}"
        collector.add(("search", "trials"), message, given=shown(search.trials), allowed=allowed)
    if collector.is_valid(("search", "sampler")):
        check_sampler(search, collector)
        if search.sampler == "grid" and collector.is_valid(("search", "grid_points")):
            _check_grid(search, spaces, collector)
    if isinstance(share, Uniform) and search.sampler == "grid" and collector.is_valid(("training", "checkpoints")):
        message = "a grid has the same shares for every training, and epochs have not"
        advice = "write the shares: [0.5, 1], or another sampler"
        collector.add(("training", "checkpoints"), message, given="each_epoch", allowed="shares", advice=advice)
    for name in ("ue", "ut", "rob"):
        path = ("search", "constraints", name)
        text = getattr(search.constraints, name)
        if text is not None and collector.is_valid(path) and minimum_of(text) > 1:
            collector.add(
                path, "out of range", given=shown(text), allowed="between 0 and 1: every objective lies there"
            )


def minimum_of(text: str) -> float:
    """Return the number in a constraint of the form ">= 0.5"."""
    return float(text.replace(">=", ""))


def _check_grid(search: SearchSection, spaces: Sequence[MethodSpace], collector: ProblemCollector) -> None:
    if search.grid_points is None:
        for space in spaces:
            for name, dimension in space.params.items():
                if isinstance(dimension, Uniform | LogUniform | LogInteger):
                    path = ("methods", space.method, name)
                    advice = "write search: {grid_points: 3}, or a choice of values"
                    collector.add(
                        path,
                        "a range, and the grid sampler has no number of points",
                        allowed="choice, int, a value",
                        advice=advice,
                    )
    total = sum(grid_size(space, search.grid_points) for space in spaces)
    if total > MOST_GRID_POINTS and collector.is_valid(("methods",)):
        message = f"the grid has {total} points"
        collector.add(
            ("search", "sampler"),
            message,
            allowed=f"at most {MOST_GRID_POINTS}",
            advice="search fewer parameters, or use tpe",
        )


def grid_size(space: MethodSpace, points: int | None) -> int:
    """Return an upper bound of the points in a method's grid. Integers that coincide are counted separately."""
    total = 1
    for dimension in space.params.values():
        count = size(dimension)
        if isinstance(dimension, Integer | LogInteger | Uniform | LogUniform) and points is not None:
            count = min(points, count) if count is not None else points
        total *= count or 1
    return total


def check_epochs(file: SweepFile, collector: ProblemCollector) -> None:
    """Report methods that set epochs although `training.max_steps` gives the length of training."""
    if file.training.max_steps is None or not isinstance(file.methods, dict):
        return
    for name, value in file.methods.items():
        if isinstance(value, dict) and "epochs" in value:
            path = ("methods", name, "epochs")
            message = "the length of training is given by training.max_steps"
            collector.add(path, message, given=shown(value["epochs"]), advice="remove it, or remove max_steps")


def check_tracking(text: str, collector: ProblemCollector) -> None:
    """Check that the MLflow setting is "auto", "off" or an address without a user name or password."""
    path = ("tracking", "mlflow")
    if text in ("auto", "off") or not collector.is_valid(path):
        return
    try:
        parts = urlsplit(text)
    except ValueError as error:
        collector.add(path, f"no address: {error}", given=shown(text))
        return
    scheme = parts.scheme.partition("+")[0]
    allowed = f"auto, off, or an address that begins with {listing(f'{name}:' for name in TRACKING_SCHEMES)}"
    if parts.password or parts.username:
        advice = "remove it; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        collector.add(
            path,
            "a login inside an address would end up in records",
            given=f"{scheme}://...@{parts.hostname}",
            advice=advice,
        )
    elif scheme not in TRACKING_SCHEMES and text != "databricks":
        nearest = "off" if text.lower() in ("no", "none", "false", "never") else near_miss(text, ("auto", "off"))
        advice = "MLflow no longer takes a folder: use sqlite:///..." if scheme in ("", "file") else None
        advice = f"write {nearest}" if nearest else advice
        collector.add(path, "no tracking address", given=shown(text), allowed=allowed, nearest=nearest, advice=advice)
