"""Commands on a sweep file: run, plan, validate, schema."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearn_sweep.sweeps.arguments import (
    AcceptNewCode,
    Address,
    AsJson,
    Concurrent,
    File,
    Mirror,
    Storage,
    Trials,
    path_argument,
)
from unlearn_sweep.sweeps.examples import chosen_file
from unlearn_sweep.sweeps.printing import print_json, print_line, print_rich
from unlearn_sweep.user_error import EXIT_REFUSED, UserError

if TYPE_CHECKING:
    from unlearn_sweep.engine.job import SweepJob
    from unlearn_sweep.sweeps.file.spec import SweepSpec
    from unlearn_sweep.sweeps.resolve import Overrides


def run(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", parser=path_argument, help="A sweep file (YAML).")
    ] = None,
    example: Annotated[
        str | None, typer.Option(metavar="NAME", help="A sweep file that comes with the package, in place of FILE.")
    ] = None,
    trials: Trials = None,
    storage: Storage = None,
    mirror: Mirror = None,
    max_concurrent: Concurrent = None,
    address: Address = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines in place of the live view.")] = False,
    accept_new_code: AcceptNewCode = False,
) -> None:
    """Run a sweep, resume an interrupted one, or extend a finished one."""
    spec = _spec(chosen_file(file, example), address=address)
    overrides = _overrides(trials, storage, max_concurrent, mirror)
    from unlearn_sweep.sweeps.checked_job import checked_job
    from unlearn_sweep.sweeps.launch import launch, planned_seconds

    job = checked_job(spec, overrides)
    for note in spec.notes:
        print_line(f"note: {note}")
    planned_s = planned_seconds(spec, overrides, job)
    raise typer.Exit(launch(job, address=address, plain=plain, accept_new_code=accept_new_code, planned_s=planned_s))


def plan(
    file: File,
    trials: Trials = None,
    storage: Storage = None,
    max_concurrent: Concurrent = None,
    address: Address = None,
    cpus: Annotated[int | None, typer.Option(min=0, help="Plan for as many CPUs.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Plan for as many GPUs.")] = None,
    gpu_gib: Annotated[float | None, typer.Option(min=1, help="Memory of each GPU in GiB.")] = None,
    gpu_hour_price: Annotated[float | None, typer.Option(min=0, help="Dollars for an hour of one GPU.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a sweep will do: trials, stages, concurrency, time, disk. Starts and writes nothing."""
    spec = _spec(file, address=address, cpus=cpus, gpus=gpus, gpu_gib=gpu_gib, as_json=as_json)
    from unlearn_sweep.sweeps.plan.plan import make_plan

    made = make_plan(spec, _overrides(trials, storage, max_concurrent)).priced(gpu_hour_price)
    if as_json:
        print_json(made.as_json())
    else:
        from unlearn_sweep.sweeps.plan.view import render

        print_rich(render(made))
    if made.obstacles:
        raise typer.Exit(EXIT_REFUSED)


def validate(
    file: File,
    address: Address = None,
    as_json: AsJson = False,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print what a model reads, with the supervised tokens marked.")
    ] = False,
) -> None:
    """Check a sweep file and report every mistake with its line."""
    spec = _spec(file, address=address, as_json=as_json)
    from unlearn_sweep.sweeps.resolve import resolve

    job = resolve(spec)
    rows, remote = _checked_rows(spec, job, as_json=as_json)
    settings = Counter(job.attackers.get(attack.label, attack.label) for attack in job.attacks)
    facts = {
        "file": str(file),
        "valid": True,
        "name": job.name,
        "methods": [space.method for space in job.spaces],
        "trials": job.search.trials,
        "attacks": list(settings),
        "attacker_settings": {label: count for label, count in settings.items() if count > 1},
        "benchmark": job.benchmark.name,
        "directory": str(job.directory),
        "rows": rows,
        "notes": [*spec.notes, *remote],
        "problems": [],
    }
    if as_json:
        print_json(facts)
        return
    parts = f"{job.search.trials} trials of {', '.join(facts['methods'])} on {job.benchmark.name}"
    named = [label if count == 1 else f"{label} ({count} settings)" for label, count in settings.items()]
    print_line(f"{file}: valid; {parts}; attacks {', '.join(named)}")
    print_line(f"rows: {rows}")
    for note in (*spec.notes, *remote):
        print_line(f"note: {note}")
    if show_prompt:
        _show_prompts(spec, job)


def schema() -> None:
    """Print the JSON Schema of sweep files, for editors."""
    from unlearn_sweep.sweeps.file.json_schema import sweep_schema

    print_json(sweep_schema())


@contextlib.contextmanager
def mistakes_as_json(as_json: bool) -> Iterator[None]:
    """With `as_json`, print the mistakes of a SpecError raised in the block as JSON and exit with its status."""
    from unlearn_sweep.sweeps.file.problems import SpecError

    try:
        yield
    except SpecError as error:
        if not as_json:
            raise
        print_json(error.as_json())
        raise typer.Exit(error.status) from None


def _spec(
    file: Path,
    *,
    address: str | None,
    cpus: int | None = None,
    gpus: int | None = None,
    gpu_gib: float | None = None,
    as_json: bool = False,
) -> SweepSpec:
    """Return the checked sweep file. With `as_json`, print mistakes as JSON and exit with status 2."""
    from unlearn_sweep.sweeps.file.spec import load_spec

    with mistakes_as_json(as_json):
        return load_spec(file, cluster=address is not None, cpus=cpus, gpus=gpus, gpu_gib=gpu_gib)


def _show_prompts(spec: SweepSpec, job: SweepJob) -> None:
    """Print the prompts as the model reads them. Rows and tokenizers on the hub are downloaded."""
    from unlearn_sweep.sweeps.plan.data_check import check_rows
    from unlearn_sweep.sweeps.show_prompt import prompt_lines

    benchmark = check_rows(spec, job, hub=True)
    if benchmark is None:
        raise UserError("the benchmark's rows cannot be read here, so no prompt can be shown")
    try:
        for line in prompt_lines(job, benchmark):
            print_line(line)
    except (ValueError, OSError) as error:
        raise UserError(f"no prompt can be shown: {error}") from error


def _checked_rows(spec: SweepSpec, job: SweepJob, *, as_json: bool) -> tuple[str, list[str]]:
    """Check the benchmark's rows if they are on this machine and small enough, and what is on the hub.

    Return a summary of the rows, and notes on what could not be asked of the hub.
    """
    from unlearn_sweep.sweeps.plan.data_check import check_rows, describe
    from unlearn_sweep.sweeps.plan.hub_check import check_hub

    with mistakes_as_json(as_json):
        rows = describe(spec, job, check_rows(spec, job, at_once=True))
        return rows, check_hub(spec, job, certain=True)


def _overrides(
    trials: int | None, storage: str | None, max_concurrent: int | None, mirror: str | None = None
) -> Overrides:
    from unlearn_sweep.sweeps.resolve import Overrides

    return Overrides(trials=trials, storage=storage, mirror=mirror, max_concurrent=max_concurrent)
