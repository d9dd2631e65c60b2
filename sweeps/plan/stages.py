"""List the stages of a sweep with the time of each, and whether they are already in the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.search_space import Fixed, MethodSpace
from unlearn_sweep.engine.stages import measuring_requests, training_requests
from unlearn_sweep.engine.stages.attack_work import attack_work
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.engine.training_space import training_params, training_values
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import card, in_two
from unlearn_sweep.sweeps.plan.estimates import (
    STAGE_OVERHEAD_S,
    START_MODEL_S,
    WORKERS_START_S,
    Measured,
    Rate,
    evaluation_rate,
    evaluation_seconds,
    training_rate,
    training_seconds,
    writing_seconds,
)
from unlearn_sweep.sweeps.plan.workload import (
    Workload,
    finetune_tokens,
    trainings_in,
    typical,
    typical_training,
    unlearn_steps,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """Plan of one kind of stage.

    Attributes:
        name: Name of the stage.
        per: Whether the stage runs once per sweep or per trial.
        count: Total number of these stages.
        seconds: Estimated seconds of one stage; None if unknown.
        source: Origin of `seconds`: "median of N measured", "modelled", "assumed" or "unknown".
        cached: True if all are in the store. None if unknown because a model's digest is not known yet.
        states: Evaluations in one stage.
        method: Method of the stage, if the time depends on it.
        settings: Settings of a searched attacker that the stage stands for; 1 for any other stage.
    """

    name: str
    per: Literal["sweep", "trial"]
    count: int
    seconds: float | None
    source: str
    cached: bool | None = False
    states: int = 1
    method: str | None = None
    settings: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Inputs shared by all estimates. `data` is the digest of the benchmark; `alone` the speed of one process."""

    job: SweepJob
    benchmark: Benchmark
    work: Workload
    parameters: int | None
    measured: Measured
    training: Rate
    alone: Rate
    evaluation: Rate
    data: str


def plan_stages(
    job: SweepJob,
    benchmark: Benchmark,
    work: Workload,
    parameters: int | None,
    measured: Measured,
    shares: Mapping[str, int],
    processes: int = 1,
) -> tuple[StagePlan, ...]:
    """Return the stages of the preparation, then those of the trials. `processes` share the rows of an evaluation."""
    given = Given(
        job=job,
        benchmark=benchmark,
        work=work,
        parameters=parameters,
        measured=measured,
        training=training_rate(job),
        alone=evaluation_rate(job),
        evaluation=evaluation_rate(job, processes),
        data=benchmark.digest(),
    )
    trials = sum(shares.values())
    evaluate = _evaluate(given)
    attacks = [_attack(given, attack) for attack in job.attacks]
    per_trial = [
        *(
            _teacher(given, space, shares[space.method])
            for space in job.spaces
            if training_requests.needs_teacher(space.method)
        ),
        *(
            _suppress(given, first, shares[space.method])
            for space in job.spaces
            if (first := trainings_of(space)[0]) is not None
        ),
        *(_unlearn(given, space, shares[space.method]) for space in job.spaces),
        StagePlan(name="evaluate", per="trial", count=trials, **evaluate),
        *(
            StagePlan(name=f"attack:{attack.label}", per="trial", count=trials, **time)
            for attack, time in zip(job.attacks, attacks, strict=True)
        ),
    ]
    return (*_prepare(given), *_controls(given, evaluate, attacks), *per_trial)


# --- preparation ------------------------------------------------------------------------------------------------------


def _prepare(given: Given) -> Iterator[StagePlan]:
    """Yield the stages for the start, original and gold models that the sweep trains."""
    store = StageStore(given.job.storage)
    for name in prepared_names(given.job, given.benchmark):
        seconds, source = _finetune(given, name)
        yield StagePlan(
            name=name,
            per="sweep",
            count=1,
            seconds=seconds,
            source=source,
            cached=not store.empty and store.find(_wanted(given)[name]) is not None,
            states=0,
        )


def _wanted(given: Given) -> dict[str, StageRequest]:
    return prepare_requests(given.job, given.benchmark, given.data)


def prepared_names(job: SweepJob, benchmark: Benchmark) -> list[str]:
    """Return the names of the stages that create models."""
    trained = [which for which in ("original", "gold") if _own_recipe(job, benchmark, which) is not None]
    return ["prepare:start", *(f"prepare:{which}" for which in trained)] if trained else []


def _own_recipe(job: SweepJob, benchmark: Benchmark, which: str) -> dict[str, Any] | None:
    """Return the recipe of a control that the sweep trains; None for one that is given, or is no model."""
    source = job.original if which == "original" else job.gold
    return recipe_of(job, which, benchmark.recipe) if source.floor is None and source.path is None else None


def prepare_requests(job: SweepJob, benchmark: Benchmark, data: str) -> dict[str, StageRequest]:
    """Return the requests of stages that create models, by name. Their keys are those of the engine."""
    made: dict[str, StageRequest] = {}
    for which in ("original", "gold"):
        own = _own_recipe(job, benchmark, which)
        if own is not None:
            start = made["prepare:start"] = training_requests.start_stage(own, data)
            made[f"prepare:{which}"] = training_requests.finetune_stage(job, which, start.key, own, data)
    return made


def _finetune(given: Given, name: str) -> tuple[float | None, str]:
    known = given.measured.median_s(name, lambda inputs: inputs.get("data") == given.data)
    if known:
        return known[0], _from(known)
    if name == "prepare:start":
        return START_MODEL_S, "assumed"
    recipe = recipe_of(given.job, name.removeprefix("prepare:"), given.benchmark.recipe)
    if given.parameters is None or recipe is None:
        return None, "unknown"
    rows = given.work.retain_rows + (given.work.forget_rows if name == "prepare:original" else 0)
    steps, tokens = finetune_tokens(recipe, rows, given.work)
    return training_seconds(given.parameters, tokens, steps, given.training) + _start(given.job), "modelled"


def _controls(given: Given, evaluate: Mapping[str, Any], attacks: list[dict[str, Any]]) -> Iterator[StagePlan]:
    """Yield the stages that evaluate and attack original and gold."""
    job = given.job
    store = StageStore(job.storage)
    names = prepared_names(job, given.benchmark)
    wanted = {} if store.empty else _wanted(given)
    ids = {which: wanted[name].key for which in ("original", "gold") if (name := f"prepare:{which}") in wanted}
    if job.gold.floor is not None and "original" in ids:
        ids["gold"] = ids["original"]
    complete = "prepare:original" in names and ("prepare:gold" in names or job.gold.floor is not None)

    def cached(make: Any) -> bool | None:
        found = not store.empty and all(store.find(make(key)) is not None for key in ids.values())
        return found if complete else None

    found = cached(lambda key: measuring_requests.evaluate_stage(job, key, given.data, ids["original"]))
    yield StagePlan(name="control evaluate", per="sweep", count=2, cached=found, **evaluate)
    for attack, time in zip(job.attacks, attacks, strict=True):
        found = cached(
            lambda key, attack=attack: measuring_requests.attack_stage(job, attack, key, ids["original"], given.data)
        )
        yield StagePlan(name=f"control attack:{attack.label}", per="sweep", count=2, cached=found, **time)


# --- one trial --------------------------------------------------------------------------------------------------------


def _teacher(given: Given, space: MethodSpace, trials: int) -> StagePlan:
    """Return the stage of the reinforced model: once per trial if its parameters are searched, else once per method."""
    own = {name: dimension for name, dimension in space.params.items() if "reinforce_" in name}
    searched = any(not isinstance(dimension, Fixed) for dimension in own.values())
    seconds: float | None = None
    if given.parameters is not None:
        passes = [typical(dimension) for name, dimension in own.items() if name.endswith("reinforce_epochs")]
        rows = given.work.forget_rows * passes[0]
        steps = max(1.0, rows / given.job.training.global_batch_size)
        tokens = rows * given.work.tokens_per_row
        seconds = training_seconds(given.parameters, tokens, steps, given.training) + _start(given.job)
    return StagePlan(
        name="reinforce", per="trial", count=trials if searched else 1, seconds=seconds,
        source="unknown" if seconds is None else "modelled", states=0, method=space.method,
    )  # fmt: skip


def trainings_of(space: MethodSpace) -> tuple[MethodSpace | None, MethodSpace]:
    """Return the spaces of the first of two trainings in turn, if there is one, and of the training that is left."""
    trainings = in_two(space.method, space.params)
    if trainings is None:
        return None, space
    (first, before), (last, after) = trainings
    shared = training_params(space.params)
    return MethodSpace(method=first, params=before), MethodSpace(method=last, params={**after, **shared})


def _suppress(given: Given, first: MethodSpace, trials: int) -> StagePlan:
    """Return the first of two trainings in turn: once per trial if its parameters are searched, else once."""
    seconds, source = _unlearn_seconds(given, first, "suppress")
    count = trials if first.searched() else 1
    return StagePlan(
        name="suppress", per="trial", count=count, seconds=seconds, source=source, states=0, method=first.method
    )


def _unlearn(given: Given, space: MethodSpace, trials: int) -> StagePlan:
    seconds, source = _unlearn_seconds(given, space)
    return StagePlan(
        name="unlearn",
        per="trial",
        count=trainings_in(given.job, space, trials),
        seconds=seconds,
        source=source,
        states=0,
        method=space.method,
    )


def _unlearn_seconds(given: Given, space: MethodSpace, stage: str = "unlearn") -> tuple[float | None, str]:
    """Return seconds and source: measured on the same data, method and training settings, else modelled."""
    searched = bool(training_values(space.params))
    training = given.job.training.identity()

    def fits(inputs: Mapping[str, Any]) -> bool:
        same = searched or inputs.get("training") == training
        return same and (inputs.get("data"), inputs.get("method")) == (given.data, space.method)

    known = given.measured.median_s(stage, fits)
    if known:
        return known[0], _from(known)
    if given.parameters is None:
        return None, "unknown"
    own = trainings_of(space)[1]
    steps = unlearn_steps(given.job, own, given.work)
    tokens = steps * 2 * typical_training(given.job, own).global_batch_size * given.work.tokens_per_row
    work_s = training_seconds(given.parameters, tokens * card(own.method).cost, steps, given.training)
    return work_s + STAGE_OVERHEAD_S + _start(given.job), "modelled"


def _evaluate(given: Given) -> dict[str, Any]:
    metrics = measuring_requests.metrics_of(given.job)

    def fits(inputs: Mapping[str, Any]) -> bool:
        return inputs.get("data") == given.data and inputs.get("metrics") == metrics and _thinks_alike(given, inputs)

    known = given.measured.median_s("evaluate", fits)
    if known:
        return {"seconds": known[0], "source": _from(known)}
    if given.parameters is None:
        return {"seconds": None, "source": "unknown"}
    return {"seconds": _one_evaluation(given) + STAGE_OVERHEAD_S, "source": "modelled"}


def _attack(given: Given, attack: AttackSettings) -> dict[str, Any]:
    work = attack_work(attack)

    def fits(inputs: Mapping[str, Any]) -> bool:
        same = inputs.get("data") == given.data and inputs.get("params") == attack.params
        return same and _thinks_alike(given, inputs)

    known = given.measured.median_s(f"attack:{attack.label}", fits)
    if known:
        return {"seconds": known[0], "source": _from(known), "states": work.states}
    if given.parameters is None:
        return {"seconds": None, "source": "unknown", "states": work.states}
    # A forward pass costs a third of training on the row.
    tokens = (work.trained_rows + work.read_rows / 3) * given.work.tokens_per_row
    own = training_seconds(given.parameters, tokens, work.steps, given.alone)
    for rows, written in ((1, work.written_tokens), (work.drawn_answers, given.work.new_tokens)):
        rows *= given.work.forget_judged
        own += writing_seconds(given.parameters, given.work, rows, written, given.evaluation)
    seconds = own + work.states * _one_evaluation(given) + STAGE_OVERHEAD_S
    return {"seconds": seconds, "source": "modelled", "states": work.states}


def _thinks_alike(given: Given, inputs: Mapping[str, Any]) -> bool:
    return inputs.get("thinking") == measuring_requests.thinking_identity(given.job).get("thinking")


def _one_evaluation(given: Given) -> float:
    return evaluation_seconds(given.parameters or 0, given.work, given.evaluation)


def _start(job: SweepJob) -> float:
    return WORKERS_START_S if job.training.workers else 0.0


def _from(known: tuple[float, int]) -> str:
    return f"median of {known[1]} measured"
