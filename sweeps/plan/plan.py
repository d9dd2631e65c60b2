"""Plan a sweep before it runs: trials, stages, concurrency, time, disk, and reasons why it cannot run.

Reads the benchmark's rows and the storage; starts and writes nothing. Importing it loads neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.model_shape import shape_of
from unlearn_sweep.engine.resources.placement import Placement
from unlearn_sweep.engine.training.memory_estimate import GpuMemory
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark, published_size
from unlearn_sweep.sweeps.few_facts import few_facts
from unlearn_sweep.sweeps.file.problems import count_of
from unlearn_sweep.sweeps.file.spec import SweepSpec
from unlearn_sweep.sweeps.file.tasks import tasks_note
from unlearn_sweep.sweeps.machine import Machine, busy_note, free_disk_bytes
from unlearn_sweep.sweeps.plan.allocation import settled_trials, trials_per_method
from unlearn_sweep.sweeps.plan.attacker_stages import by_attacker
from unlearn_sweep.sweeps.plan.cpu_memory import trial_gib
from unlearn_sweep.sweeps.plan.data_check import forget_facts, hub_note
from unlearn_sweep.sweeps.plan.estimates import ASSUMPTIONS, SWEEP_START_S, WORKERS_START_S, Measured
from unlearn_sweep.sweeps.plan.gpu_memory import ASSUMED_TOKENS, stage_memory, too_large
from unlearn_sweep.sweeps.plan.hub_check import missing, unloadable
from unlearn_sweep.sweeps.plan.lengths import losses_of, too_long
from unlearn_sweep.sweeps.plan.measuring import MeasuringPlan, measuring_plan
from unlearn_sweep.sweeps.plan.model_size import parameters_of
from unlearn_sweep.sweeps.plan.obstacles import obstacles_of, space_values
from unlearn_sweep.sweeps.plan.room import disk_bytes, gpu_hours, gpus_of, resource_obstacles
from unlearn_sweep.sweeps.plan.stages import StagePlan, plan_stages
from unlearn_sweep.sweeps.plan.times import MethodPlan, method_plan, prepare_seconds, search_seconds
from unlearn_sweep.sweeps.plan.workload import workload_of
from unlearn_sweep.sweeps.prompt_words import prompt_words
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.resolve import Overrides, placement_of, resolve
from unlearn_sweep.sweeps.views.readers import unwritten_views, view_notes
from unlearn_sweep.sweeps.views.writing import writing_notes

UNCERTAINTY = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Content of `unlearn-sweep plan`. All times are estimates, correct within a factor of about `uncertainty`.

    Attributes:
        name: Name of the sweep.
        directory: Folder of the sweep.
        trials: Total number of trials.
        settled: Trials that an earlier run settled.
        left: Trials that are left.
        prompt: Prompt format in one line.
        methods: Plan of each method.
        stages: Plan of each kind of stage.
        at_once: Concurrent trials; None if the size of the cluster is unknown.
        bound_by: What limits `at_once`: a resource, "max_concurrent" or "trials". None if the cluster is unknown.
        per_trial: Largest amount of each resource that one trial holds at any time.
        capacity: Resources of the machine.
        parameters: Parameters of the model; None if unknown. All estimates that need the size are then None too.
        prepare_seconds: Time to train models and measure the controls.
        search_seconds: Time of the trials that are left.
        total_seconds: Total time; None if unknown.
        gpu_hours: GPU hours of the whole sweep; None if the time is unknown.
        disk_bytes: Disk space that the results need.
        disk_free_bytes: Free bytes of the file system of the storage.
        memory_gib: Main memory of one trial on a CPU, in GiB.
        measuring: How a trial measures: processes, their GPUs, memory of one GPU; None if the rows are not here.
        gpu: Memory of one GPU by what holds it; None on CPUs or if the size of the model is unknown.
        uncertainty: Factor by which estimated times may be wrong.
        assumptions: Assumptions of modelled times.
        obstacles: Reasons why the sweep cannot run; empty if it can.
        notes: Remarks that do not prevent the sweep from running.
        dollars: Cost of the GPU hours; None if no price was given or the time is unknown.
    """

    name: str
    directory: str
    trials: int
    settled: int
    left: int
    prompt: str
    methods: tuple[MethodPlan, ...]
    stages: tuple[StagePlan, ...]
    at_once: int | None
    bound_by: str | None
    per_trial: Mapping[str, float]
    capacity: Mapping[str, float]
    parameters: int | None
    prepare_seconds: float | None
    search_seconds: float | None
    total_seconds: float | None
    gpu_hours: float | None
    disk_bytes: int | None
    disk_free_bytes: int
    memory_gib: float | None
    measuring: MeasuringPlan | None
    gpu: GpuMemory | None
    uncertainty: float
    assumptions: tuple[str, ...]
    obstacles: tuple[str, ...]
    notes: tuple[str, ...]
    dollars: float | None = None

    def priced(self, gpu_hour: float | None) -> SweepPlan:
        """Return the plan with the cost of its GPU hours, at `gpu_hour` dollars each."""
        return self if gpu_hour is None or not self.gpu_hours else replace(self, dollars=self.gpu_hours * gpu_hour)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(spec: SweepSpec, overrides: Overrides | None = None) -> SweepPlan:
    """Return the plan of a sweep.

    Raises:
        SpecError: an override is invalid.
    """
    job = resolve(spec, overrides := overrides or Overrides())
    plan, absent = _plan_of(spec, job, overrides), missing(job)
    certain = [f"{name}: {reason}" for name, reason in absent.items() if reason.certain]
    wrong = [f"{name}: {reason}" for name, reason in unloadable(job).items()]
    unknown = [f"{name}: {reason}" for name, reason in absent.items() if not reason.certain]
    return replace(plan, obstacles=(*plan.obstacles, *certain, *wrong), notes=(*plan.notes, *unknown))


def _plan_of(spec: SweepSpec, job: SweepJob, overrides: Overrides) -> SweepPlan:
    """Return the plan without what is to say about models and the hub."""
    placement = placement_of(spec, overrides, job.search.trials)
    if spec.benchmark.card.remote(job.benchmark.params):
        return _remote(spec, job, placement)
    try:
        benchmark = load_benchmark(job.benchmark.name, job.benchmark.params)
    except ValidationError as error:
        return _unloadable(job, placement, str(error))
    except (OSError, ValueError) as error:
        return _unloadable(job, placement, f"benchmark {job.benchmark.name} cannot be loaded: {error}")
    plan = _plan(job, benchmark, placement, spec.machine)
    plan = replace(plan, obstacles=(*plan.obstacles, *obstacles_of(job, benchmark)))
    losses = losses_of(job, benchmark)
    plan = replace(plan, obstacles=(*plan.obstacles, *too_long(losses)))
    plan = _with_gpu(plan, job, spec.machine, _tokens_per_row(job, benchmark))
    few = few_facts(forget_facts(benchmark))
    notes = [note for note in (str(losses), busy_note(spec.machine), few) if note]
    notes += [*view_notes(job, benchmark, space_values(job)), *writing_notes(job, benchmark)]
    return replace(plan, notes=(*spec.notes, *plan.notes, *notes))


def _tokens_per_row(job: SweepJob, benchmark: Benchmark) -> float:
    return workload_of(benchmark, [*job.ue_metrics, *job.ut_metrics]).tokens_per_row


def _remote(spec: SweepSpec, job: SweepJob, placement: Placement | None) -> SweepPlan:
    """Return the plan of a sweep whose rows are on the hub. Times are known where the size of the rows is published."""
    card = spec.benchmark.card
    sized = published_size(job.benchmark.name, job.benchmark.params)
    tokens = ASSUMED_TOKENS if sized is None else _tokens_per_row(job, sized)
    plan = _unloaded(job, placement) if sized is None else _plan(job, sized, placement, spec.machine)
    before = UNKNOWN_ROWS if sized is None else SIZED_ROWS
    certain = placement.obstacles if placement else ()
    # Rows that are not here yet are often planned on another machine than the one that runs: its disk is no obstacle.
    here = [f"on this machine, {obstacle}" for obstacle in plan.obstacles if obstacle not in certain]
    plan = replace(
        plan,
        prompt=prompt_words(job),
        obstacles=(*certain, *unwritten_views(job, space_values(job))),
        notes=(f"rows are {hub_note(card, job.benchmark.params)}; before that, {before}", *plan.notes, *here),
    )
    return _with_gpu(plan, job, spec.machine, tokens)


def _plan(job: SweepJob, benchmark: Benchmark, placement: Placement | None, machine: Machine | None) -> SweepPlan:
    """Return the plan of training on and measuring these rows, whatever is wrong with them."""
    machine_gib = machine.memory_gib if machine else None
    parameters = parameters_of(job.original, benchmark.recipe)
    work = workload_of(benchmark, [*job.ue_metrics, *job.ut_metrics])
    measured = Measured(job.storage)
    at_once = placement.at_once if placement else job.concurrent_trials
    shares = trials_per_method(job)
    settled = settled_trials(job.directory)
    measuring = measuring_plan(job, parameters, machine.gpu_gib if machine else None)
    stages = plan_stages(job, benchmark, work, parameters, measured, shares, measuring.processes)
    methods = tuple(method_plan(job, index, shares, stages) for index in range(len(job.spaces)))
    left = max(0, job.search.trials - sum(settled.values()))
    prepare = prepare_seconds(stages, max(1, at_once or 1), in_turn=job.training.workers > 0)
    search = search_seconds(methods, settled, max(1, at_once or 1))
    total = None if prepare is None or search is None else SWEEP_START_S + prepare + search
    memory = trial_gib(job, parameters)
    disk, free = disk_bytes(job, parameters, work.evaluation_rows, stages, at_once or 1), free_disk_bytes(job.storage)
    return SweepPlan(
        name=job.name,
        directory=str(job.directory),
        trials=job.search.trials,
        prompt=prompt_words(job, benchmark),
        settled=sum(settled.values()),
        left=left,
        methods=methods,
        stages=by_attacker(stages, job.attackers),
        at_once=at_once,
        bound_by=placement.bound_by if placement else None,
        per_trial=placement.per_trial if placement else {},
        capacity=placement.capacity if placement else {},
        parameters=parameters,
        prepare_seconds=prepare,
        search_seconds=search,
        total_seconds=total if left or not settled else 0.0,
        gpu_hours=gpu_hours(job, total, at_once or 1),
        disk_bytes=disk,
        disk_free_bytes=free,
        memory_gib=memory,
        measuring=measuring,
        gpu=None,
        uncertainty=UNCERTAINTY,
        assumptions=ASSUMPTIONS,
        obstacles=(
            *(placement.obstacles if placement else ()),
            *resource_obstacles(disk, free, memory, machine_gib, on_gpu=gpus_of(job) > 0),
        ),
        notes=(*_notes(job, parameters, methods, placement), *tasks_note(job.tasks)),
    )


def _unloadable(job: SweepJob, placement: Placement | None, reason: str) -> SweepPlan:
    """Return a plan without estimates whose only obstacle is `reason`."""
    return SweepPlan(
        name=job.name,
        directory=str(job.directory),
        trials=job.search.trials,
        prompt=prompt_words(job),
        settled=0,
        left=job.search.trials,
        methods=(),
        stages=(),
        at_once=placement.at_once if placement else None,
        bound_by=placement.bound_by if placement else None,
        per_trial=placement.per_trial if placement else {},
        capacity=placement.capacity if placement else {},
        parameters=None,
        prepare_seconds=None,
        search_seconds=None,
        total_seconds=None,
        gpu_hours=None,
        disk_bytes=None,
        disk_free_bytes=free_disk_bytes(job.storage),
        memory_gib=None,
        measuring=None,
        gpu=None,
        uncertainty=UNCERTAINTY,
        assumptions=(),
        obstacles=(reason,),
        notes=(),
    )


def _unloaded(job: SweepJob, placement: Placement | None) -> SweepPlan:
    """Return the plan of a sweep whose rows are not known: trials and concurrency, but no stages or times."""
    shares, settled = trials_per_method(job), settled_trials(job.directory)
    return replace(
        _unloadable(job, placement, ""),
        settled=sum(settled.values()),
        left=max(0, job.search.trials - sum(settled.values())),
        methods=tuple(method_plan(job, index, shares, [UNTIMED]) for index in range(len(job.spaces))),
        parameters=parameters_of(job.original, None),
        obstacles=placement.obstacles if placement else (),
        notes=tasks_note(job.tasks),
    )


def _with_gpu(plan: SweepPlan, job: SweepJob, machine: Machine | None, tokens_per_row: float) -> SweepPlan:
    """Add the memory of one GPU to a plan: as an obstacle if it is more than the GPU has, and which GPUs stay idle."""
    held = plan.per_trial.get("GPU", 0.0)
    if not held or plan.parameters is None:
        return plan
    shape = shape_of(plan.parameters, job.original.path)
    device = machine.gpu_gib if machine is not None else None
    largest = max(stage_memory(job, shape, tokens_per_row, device), key=lambda memory: memory.total)
    gpus = int(plan.capacity.get("GPU", 0))
    found = [] if device is None else too_large(job, shape, device, gpus, tokens_per_row)
    measuring = measuring_plan(job, plan.parameters, device)
    found += _measuring_too_large(measuring, device)
    return replace(
        plan,
        gpu=largest,
        measuring=measuring,
        notes=(*plan.notes, *_idle_note(plan, held)),
        obstacles=(*plan.obstacles, *found),
    )


def _measuring_too_large(measuring: MeasuringPlan, device_gib: float | None) -> list[str]:
    if device_gib is None or measuring.least_gib is None or measuring.least_gib <= device_gib:
        return []
    gpus = max(2, int(2 * measuring.gpus_each))
    return [
        f"measuring holds at least {measuring.least_gib:.0f} GiB of a GPU that has {device_gib:.0f}: spread the model "
        f"over more, such as evaluation: {{resources: {{GPU: {gpus}}}}} without workers"
    ]


def _idle_note(plan: SweepPlan, held: float) -> tuple[str, ...]:
    idle = plan.capacity.get("GPU", 0.0) - held * (plan.at_once or 0)
    if plan.at_once is None or idle < 1:
        return ()
    return (f"{idle:g} of {plan.capacity['GPU']:g} GPUs stay idle: trials at once are bound by {plan.bound_by}",)


UNKNOWN_ROWS = "times, disk and what a metric lacks are not known"
SIZED_ROWS = "times and disk are those of as many rows of their mean length, and what a metric lacks is not known"
UNTIMED = StagePlan(name="", per="trial", count=0, seconds=None, source="unknown")


def _notes(
    job: SweepJob, parameters: int | None, methods: Sequence[MethodPlan], placement: Placement | None
) -> tuple[str, ...]:
    notes = []
    if parameters is None:
        notes.append("the size of the model is unknown, so time and disk are not estimated")
    if placement is None:
        notes.append("the cluster's size is unknown: pass --cpus and --gpus to plan for it")
    for method in methods:
        if method.settings is not None and method.settings < method.trials:
            notes.append(f"{method.method} has only {count_of(method.settings, 'setting')} for {method.trials} trials")
    if job.training.workers:
        notes.append(f"starting and ending the training workers costs about {WORKERS_START_S:g} s in each trial")
    if job.requests is not None:
        notes.append(
            f"each trial forgets requests up to {job.requests.after[-1]}, measured after {len(job.requests.after)} of "
            "them; the times are those of one training and one measurement"
        )
    if job.search.seeds_for_finalists > 1:
        notes.append(_finalists_note(job.search.seeds_for_finalists - 1, methods))
    return tuple(notes)


def _finalists_note(seeds: int, methods: Sequence[MethodPlan]) -> str:
    """Return the note on finalist seeds. Their time is not estimated because the size of the front is unknown."""
    known = [method.trial_seconds for method in methods if method.trial_seconds is not None]
    longest = f", up to {duration(max(known) * seeds)} each" if known else ""
    more = count_of(seeds, "more seed")
    return f"after the search each member of the front is trained with {more}{longest}; that is not counted above"
