"""`unlearn-sweep run`: run the engine with live view, MLflow, mirror, report and final table."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.privacy.secrets import TELEMETRY_NOTICE, quiet_environment, redact, silence_telemetry
from unlearn_sweep.engine.stop import StopSignal, reason_of_stop, stop_signals, stops_ignored
from unlearn_sweep.engine.tracking.sink import MlflowSink, MlflowThread, tracking_target
from unlearn_sweep.engine.zero.accelerator import accelerator_environment
from unlearn_sweep.evaluators.judge.settings import PREFIX
from unlearn_sweep.sweeps.printing import print_refusal
from unlearn_sweep.sweeps.screen import Screen
from unlearn_sweep.user_error import EXIT_INTERRUPTED, EXIT_OK, UserError

if TYPE_CHECKING:
    from unlearn_sweep.engine.mirror.background import MirrorThread
    from unlearn_sweep.sweeps.file.spec import SweepSpec
    from unlearn_sweep.sweeps.resolve import Overrides

NO_CLUSTER = "Start the cluster, or unset RAY_ADDRESS and leave out --address to run on this machine."
SUBMIT = "Run it on a machine of the cluster with --address auto, or by `ray job submit` (docs/cluster.md)."
CLOSE_STOPPED_S = 20.0


def launch(
    job: SweepJob,
    *,
    address: str | None = None,
    plain: bool = False,
    console: Console | None = None,
    accept_new_code: bool = False,
    planned_s: float | None = None,
) -> int:
    """Run or resume a sweep to its end, write its report and return the exit status.

    A stage that fails in a trial is recorded as the result of that trial. `planned_s` are the seconds that the plan
    expects, for the views; None if they are unknown.

    Raises:
        UserError: the sweep is refused or ends early, for a reason that the user can remove.
    """
    console = console or Screen()
    say: Callable[[str], None] = lambda text: console.print(Text(redact(text)), soft_wrap=True)  # noqa: E731
    check_ray(address)
    if silence_telemetry():
        say(TELEMETRY_NOTICE)
    from unlearn_sweep.engine.on_ray.head_failure import GO_ON, end_process, ray_was_up
    from unlearn_sweep.engine.on_ray.heartbeat import HeadLostError

    try:
        with stop_signals():
            _run(job, address, plain, console, say, accept_new_code=accept_new_code, planned_s=planned_s)
    except KeyboardInterrupt as error:
        with stops_ignored():
            say(f"{reason_of_stop(error)}; {GO_ON}")
            status = error.status if isinstance(error, StopSignal) else EXIT_INTERRUPTED
            return end_process(status) if ray_was_up() else status
    except HeadLostError as error:
        return end_process(print_refusal(error))
    except (UserError, OSError) as error:
        explained = _explained(error, job, address)
        if explained is error:
            raise
        raise explained from error
    return EXIT_OK


def check_ray(address: str | None) -> None:
    """Check within seconds whether Ray can start here, or its cluster can be joined, as far as that is known.

    Raises:
        UserError: it cannot.
    """
    from unlearn_sweep.engine.on_ray.obstacles import address_obstacle, folder_obstacle

    if address is None:
        obstacle, advice = folder_obstacle(os.environ), None
    elif address.startswith("ray://"):
        obstacle = f"{address}: Ray's client mode is not supported: a sweep's driver writes to the shared storage"
        advice = SUBMIT
    else:
        obstacle, advice = address_obstacle(address, os.environ), NO_CLUSTER
    if obstacle is not None:
        raise UserError(obstacle, advice=advice)


def _explained(error: UserError | OSError, job: SweepJob, address: str | None) -> UserError | OSError:
    """Return the error that says what to do; `error` itself if it says so, or if it is a bug."""
    from unlearn_sweep.engine.stages.runner import StageFailedError
    from unlearn_sweep.engine.store.durable import DiskFullError, says_disk_full

    reason = error.reason if isinstance(error, StageFailedError) else error
    may_be_full = isinstance(error, StageFailedError | OSError) and says_disk_full(reason)
    if may_be_full or isinstance(error, DiskFullError):
        return DiskFullError(
            f"the disk is full ({error}). Finished work is kept, and no trial was settled because of it",
            advice=f"Free space under {job.storage} or set storage_limit_gib, then rerun the same command.",
        )
    if address is not None and isinstance(error, ConnectionError):
        first_line = str(error).partition("\n")[0]
        return UserError(f"no Ray cluster answers at {address}: {first_line}", advice=NO_CLUSTER)
    return error


def _run(
    job: SweepJob,
    address: str | None,
    plain: bool,
    console: Console,
    say: Callable[[str], None],
    *,
    accept_new_code: bool,
    planned_s: float | None,
) -> None:
    from unlearn_sweep.engine.driver.sweep import run_sweep
    from unlearn_sweep.engine.mirror.background import mirrored, weights_from_mirror
    from unlearn_sweep.sweeps.report.progress import LiveProgress

    with ExitStack() as stack:
        mirror = stack.enter_context(mirrored(job, say))  # closes last, so that it copies the report too
        mlflow = _mlflow(job, say)
        run_sweep(
            job,
            environment=worker_environment(job.threads) | judge_cache(job),
            address=address,
            watch=lambda folder, wanted: LiveProgress(folder, wanted, console=console, plain=plain or None),
            on_open=partial(_start, mlflow, stack, partial(_note_plan, job, planned_s)),
            on_settled=partial(_poke, [view for view in (mlflow, mirror) if view is not None]),
            announce=say,
            accept_new_code=accept_new_code,
            fetch_weights=weights_from_mirror(job, say) if job.mirror is not None else None,
        )
        _finish(job, console)


def _start(mlflow: MlflowThread | None, stack: ExitStack, note_plan: Callable[[], None]) -> None:
    """Start writing to MLflow; stop when `stack` closes. Write the plan's time into the log."""
    note_plan()
    if mlflow is not None:
        mlflow.start()
        stack.push(partial(_close, mlflow))


def _note_plan(job: SweepJob, planned_s: float | None) -> None:
    """Write what the plan expects into the event log, from which the live view and `status` read it."""
    from unlearn_sweep.engine.store.events import EventLog
    from unlearn_sweep.sweeps.report.durations import duration
    from unlearn_sweep.sweeps.report.timeline import PLANNED_SECONDS

    if planned_s:
        reason = f"planned: about {duration(planned_s)}, within a factor of about 2"
        EventLog(job.directory / "events.jsonl").append("note", reason=reason, data={PLANNED_SECONDS: planned_s})


def planned_seconds(spec: SweepSpec, overrides: Overrides, job: SweepJob) -> float | None:
    """Return the seconds that the plan expects; None if unknown, or if a trial is settled: then recorded times tell."""
    from unlearn_sweep.sweeps.plan.plan import make_plan

    return None if any((job.directory / "trials").glob("*.json")) else make_plan(spec, overrides).total_seconds


def _close(mlflow: MlflowThread, kind: type[BaseException] | None, error: object, trace: object) -> None:
    """Write to MLflow once more. Limit the time after an exception: a stopped process may be killed within 30 s."""
    if kind is None:
        mlflow.close()
    else:
        mlflow.close(CLOSE_STOPPED_S)


def _poke(views: list[MlflowThread | MirrorThread]) -> None:
    for view in views:
        view.poke()


def _mlflow(job: SweepJob, say: Callable[[str], None]) -> MlflowThread | None:
    """Return the MLflow writer, or None if the sweep file turns it off."""
    target = tracking_target(job.mlflow, job.storage)
    return None if target is None else MlflowThread(MlflowSink(job.directory, target, job.name), say)


def _finish(job: SweepJob, console: Console) -> None:
    """Write the report and print the final table from the records. MLflow logs the report files when it closes."""
    from unlearn_sweep.sweeps.report.build import build_report
    from unlearn_sweep.sweeps.report.summary import final_table

    build_report(job.directory)
    final_table(job.directory, console)


def judge_cache(job: SweepJob) -> dict[str, str]:
    """Return the variable for the folder of the judge cache: in the shared store, unless the environment sets it.

    The cache avoids paying for the same judgement twice.
    """
    name = f"{PREFIX}CACHE"
    return {name: os.environ.get(name, str(job.storage / "store" / "judge"))}


def worker_environment(threads: int) -> dict[str, str]:
    """Return environment variables for worker processes. Variables that are already set keep their values.

    They turn off telemetry and progress bars and give all numeric libraries the same thread count.
    """
    count = str(threads)
    environment = {
        **quiet_environment(),
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    if importlib.util.find_spec("deepspeed") is not None:
        environment |= accelerator_environment()
    return {name: os.environ.get(name, value) for name, value in environment.items()}
