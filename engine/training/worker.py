"""Run one training in this process, from a job to a model folder: in a Ray Train worker or a reused process.

If `torch.distributed` is initialised, every rank calls `run_worker` with the same job. Rank 0 writes the model. All
ranks return the same outcome, except that only rank 0 has `relative_change`, and that times and memory are their own.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.training_progress import ProgressFile
from unlearn_sweep.engine.training.adapter_file import restore, save_adapter
from unlearn_sweep.engine.training.assembly import Loaded, assemble
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.export import export
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.loop import Watcher, thinned, train
from unlearn_sweep.engine.training.state import History, Training, TrainProgress
from unlearn_sweep.engine.training.weight_change import relative_change
from unlearn_sweep.engine.training.weights_on_the_way import WeightsOnTheWay
from unlearn_sweep.engine.zero.session import zero_session
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.composition import final_weights
from unlearn_sweep.methods.interface import Method

OnProgress = Callable[[TrainProgress], None]
Watch = Callable[[Benchmark, Training, History], Watcher | None]

_DATA = DataCache()


def unwatched(benchmark: Benchmark, training: Training, history: History) -> None:
    """Look at no training."""


def run_worker(
    job: Mapping[str, Any],
    *,
    benchmark: Benchmark | None = None,
    method: Method | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Run a training whose job and outcome cross a process boundary: both are JSON. See `run_training`.

    Raises:
        ValueError: the job is invalid (pydantic.ValidationError is a ValueError), or as `run_training`.
    """
    task = TrainJob.from_json(job)
    return run_training(task, benchmark=benchmark, method=method, on_progress=on_progress).model_dump(mode="json")


def run_training(
    task: TrainJob,
    *,
    benchmark: Benchmark | None = None,
    method: Method | None = None,
    on_progress: OnProgress | None = None,
    watch: Watch = unwatched,
) -> TrainOutcome:
    """Run a training, write the model to its `output_dir`, and return the outcome.

    A training that is stopped as beaten writes no model and keeps no checkpoint.

    Global random states and the thread count are restored on return. `output_dir` is created atomically.

    Args:
        task: The request.
        benchmark: Use this data instead of the job's, for data outside the catalog.
        method: Use this method instead of the job's, for losses outside the catalog.
        on_progress: Called about once per second on rank 0. By default, progress is written to the checkpoint folder.
        watch: Makes what looks at the model on the way and may stop the training; by default, nothing does.

    Raises:
        ValueError: unknown benchmark, view, method or parameter; a method this trainer does not support; rows that
            cannot be trained on.
        FileExistsError: `output_dir` exists already.
    """
    if task.attack is not None:
        raise ValueError(f"this job is the training of attack {task.attack.name!r}: see `any_training`")
    output = Path(task.output_dir)
    if output.exists():
        raise FileExistsError(f"output_dir {task.output_dir}: exists already; remove it or name another")
    if task.kept_adapter is not None:
        with own_process(task):
            return restore(task, task.kept_adapter, method)
    with own_process(task):
        data = benchmark if benchmark is not None else _DATA.benchmark(task.benchmark)
        loaded = assemble(task, data, _DATA, method=method)
        training = loaded.training
        try:
            report_progress = on_progress or progress_file(task)
            exporter = WeightsOnTheWay(loaded, outcome_of) if task.export_shares else None
            progress = report_progress if training.ranks.first else None
            history = train(training, progress, loaded.checkpoints, exporter, partial(watch, data))
            if history.beaten is not None:
                return end_beaten(loaded, history)
            for frozen in training.run.frozen_models:
                frozen.check_unchanged()
                frozen.close()
            training.backend.finish()
            if training.average is not None:
                training.average.put()
            if task.adapter_file is not None and training.ranks.first:
                save_adapter(loaded.model, Path(task.adapter_file))
            finite = export(loaded, output, final_weights(training.method))
            if loaded.checkpoints is not None and training.ranks.first:
                loaded.checkpoints.clear()
            outcome = outcome_of(loaded, history, finite)
            if training.ranks.first:
                outcome = outcome.model_copy(update={"relative_change": relative_change(task.start_model, output)})
            return outcome
        finally:
            training.close()


def end_beaten(loaded: Loaded, history: History) -> TrainOutcome:
    """Delete what a training has left that was stopped as beaten, and return its outcome."""
    if loaded.checkpoints is not None and loaded.training.ranks.first:
        loaded.checkpoints.clear()
    export_dir = loaded.training.job.export_dir
    if export_dir is not None and loaded.training.ranks.first:
        shutil.rmtree(export_dir, ignore_errors=True)
    return outcome_of(loaded, history, None)


def progress_file(job: TrainJob) -> OnProgress | None:
    """Return a callback that writes progress to the checkpoint folder; None if the job has no `checkpoint_dir`."""
    if job.checkpoint_dir is None:
        return None
    file = ProgressFile(Path(job.checkpoint_dir))

    def write(progress: TrainProgress) -> None:
        watched = [name for name in progress.values if name.endswith("_cross_entropy")]
        name = next(iter([*watched, *(name for name in progress.values if name != "step")]), None)
        value = progress.values[name] if name is not None else math.nan
        file.write(
            progress.step, progress.steps, None if name is None else (name, value if math.isfinite(value) else None)
        )

    return write


def outcome_of(loaded: Loaded, history: History, finite: bool | None) -> TrainOutcome:
    training = loaded.training
    views, plan, job = training.views, training.plan, training.job
    last = {name: value for name, value in history.curve[-1].items() if name != "step"}
    return TrainOutcome(
        steps=history.steps,
        planned_steps=training.run.steps,
        resumed_at_step=history.resumed_at_step,
        epochs=history.steps / plan.steps_per_epoch,
        seconds=history.seconds,
        reference_seconds=loaded.reference_seconds,
        tokens=history.tokens,
        terms=jsonable(last),
        curve=[jsonable(point) for point in thinned(history.curve)],
        stopped_early="diverged" if history.stop_reason is not None else "beaten" if history.beaten else None,
        stop_reason=history.stop_reason or history.beaten,
        weights_finite=finite,
        parameters=loaded.parameters,
        peak_memory_mib=history.peak_memory_mib,
        world_size=training.ranks.world_size,
        backend=f"deepspeed ZeRO-{job.training.zero}" if job.training.backend == "deepspeed" else "torch",
        dtype=str(loaded.dtype).removeprefix("torch."),
        global_batch_rows=min(job.training.global_batch_size, plan.sizes[plan.anchor]),
        micro_batch_rows=history.micro_rows,
        mean_answer_tokens=views.mean_answer_tokens(),
        conventions={
            "normalise": normalisation(history.conventions.values()),
            "epoch": f"one pass over view {plan.anchor}",
            **history.conventions,
        },
        probes=history.probes,
    )


def normalisation(conventions: Iterable[str]) -> str:
    """Name what the terms are averaged over: "global", "micro" (`compat` of a method) or both, for two phases."""
    kinds = {"micro" if "micro-batch" in text else "global" for text in conventions}
    return " and ".join(sorted(kinds))


def jsonable(values: Mapping[str, float]) -> dict[str, float | None]:
    """Replace numbers that JSON cannot represent (NaN, infinities) by None."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


@contextmanager
def own_process(task: TrainJob) -> Iterator[None]:
    """Give a training its random states, threads and what its backend needs of the process; restore all on exit."""
    session = zero_session() if task.training.backend == "deepspeed" else nullcontext()
    with own_random_state(task.seed), thread_count(task.threads), session:
        yield


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Seed every global random state (dropout uses torch's) and restore the previous states on exit."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Set torch's intra-op threads inside the context; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
