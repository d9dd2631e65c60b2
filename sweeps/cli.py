"""Command line of `unlearn-sweep`. Each command imports its dependencies when called, so that `--help` is fast.

Exit status: 0 success, 1 failure, 2 invalid request (nothing was started), 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from unlearn_sweep import __version__
from unlearn_sweep.plugins import PluginError
from unlearn_sweep.sweeps.answers import answers
from unlearn_sweep.sweeps.arguments import (
    EXIT_FAILED,
    EXIT_REFUSED,
    AsJson,
    Folder,
    given_text,
    path_argument,
)
from unlearn_sweep.sweeps.examples import chosen_file, example

if TYPE_CHECKING:
    from unlearn_sweep.engine.job import SweepJob
    from unlearn_sweep.sweeps.file.spec import SweepSpec
    from unlearn_sweep.sweeps.resolve import Overrides

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="unlearn-sweep",
    help="Search unlearning methods for settings that are still forgotten after the attacks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _not_empty(text: str | None) -> str | None:
    return None if text is None else given_text(text)


File = Annotated[Path, typer.Argument(metavar="FILE", parser=path_argument, help="A sweep file (YAML).")]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials in all, in place of the file's; more extend a sweep.")]
Storage = Annotated[
    str | None, typer.Option(metavar="DIR", callback=_not_empty, help="Folder of all results, in place of the file's.")
]
Mirror = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        callback=_not_empty,
        help="Copy of what is finished (s3://bucket/runs, ...), in place of the file's.",
    ),
]
Concurrent = Annotated[int | None, typer.Option(min=1, help="Trials at once at most.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", envvar="RAY_ADDRESS", callback=_not_empty, help='A Ray cluster to join: "auto" or host:port.'
    ),
]
AcceptNewCode = Annotated[
    bool, typer.Option("--accept-new-code", help="Go on over changed code; each trial names the code that made it.")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A file with cards of your own; may be repeated."),
]

app.command()(example)
app.command()(answers)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unlearn-sweep {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search unlearning methods for settings that are still forgotten after the attacks."""


@app.command()
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
    try:
        file = chosen_file(file, example)
    except ValueError as error:
        _refuse(str(error))
    spec = _spec(file, address=address)
    overrides = _overrides(trials, storage, max_concurrent, mirror)
    from unlearn_sweep.sweeps.launch import launch
    from unlearn_sweep.sweeps.plan.data_check import check_hub, check_rows
    from unlearn_sweep.sweeps.resolve import resolve

    job = resolve(spec, overrides)
    check_hub(spec, job)
    check_rows(spec, job, hub=True)
    for note in spec.notes:
        typer.echo(f"note: {note}")
    raise typer.Exit(launch(job, address=address, plain=plain, accept_new_code=accept_new_code))


@app.command()
def plan(
    file: File,
    trials: Trials = None,
    storage: Storage = None,
    max_concurrent: Concurrent = None,
    address: Address = None,
    cpus: Annotated[int | None, typer.Option(min=0, help="Plan for as many CPUs.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Plan for as many GPUs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a sweep will do: trials, stages, concurrency, time, disk. Starts and writes nothing."""
    spec = _spec(file, address=address, cpus=cpus, gpus=gpus, as_json=as_json)
    from unlearn_sweep.sweeps.plan.plan import make_plan

    made = make_plan(spec, _overrides(trials, storage, max_concurrent))
    if as_json:
        _print_json(made.as_json())
    else:
        from unlearn_sweep.sweeps.plan.view import render

        _print_rich(render(made))
    if made.obstacles:
        raise typer.Exit(EXIT_REFUSED)


@app.command()
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
    rows = _checked_rows(spec, job, as_json=as_json)
    facts = {
        "file": str(file),
        "valid": True,
        "name": job.name,
        "methods": [space.method for space in job.spaces],
        "trials": job.search.trials,
        "attacks": [attack.label for attack in job.attacks],
        "benchmark": job.benchmark.name,
        "directory": str(job.directory),
        "rows": rows,
        "notes": list(spec.notes),
        "problems": [],
    }
    if as_json:
        _print_json(facts)
        return
    parts = f"{job.search.trials} trials of {', '.join(facts['methods'])} on {job.benchmark.name}"
    typer.echo(f"{file}: valid; {parts}; attacks {', '.join(facts['attacks'])}")
    typer.echo(f"rows: {rows}")
    for note in spec.notes:
        typer.echo(f"note: {note}")
    if show_prompt:
        _show_prompts(spec, job)


@app.command()
def schema() -> None:
    """Print the JSON Schema of sweep files, for editors."""
    from unlearn_sweep.sweeps.file.json_schema import sweep_schema

    _print_json(sweep_schema())


@app.command()
def status(directory: Folder, as_json: AsJson = False) -> None:
    """Show the progress of a sweep."""
    from unlearn_sweep.sweeps.report import status as view

    facts = _of_folder(view.status, directory)
    if as_json:
        _print_json(facts)
    else:
        _print_rich(view.render(facts))


@app.command()
def report(directory: Folder, as_json: AsJson = False) -> None:
    """Write a sweep's report (HTML, PNG, CSV, JSON), or print its content as JSON."""
    from unlearn_sweep.sweeps.report import build

    if as_json:
        typer.echo(build.report_json(_of_folder(build.load_report, directory)))
        return
    paths = _of_folder(build.build_report, directory)
    for path in (paths.page, paths.data, paths.table, paths.answers, *paths.pictures):
        typer.echo(str(path))


@app.command()
def export(
    directory: Folder,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Number or key of a trial.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=path_argument, help="New folder for the model.")],
) -> None:
    """Write the unlearned model of a trial as an ordinary Hugging Face folder."""
    from unlearn_sweep.sweeps.export import export_trial

    done = _of_folder(lambda folder: export_trial(folder, trial, out), directory)
    typer.echo(f"{done.folder}: trial {done.record.number} ({done.record.method}), {len(done.files)} files")


@app.command()
def audit(
    model: Annotated[
        str, typer.Option(metavar="PATH", callback=_not_empty, help="The model: a folder, or a hub id owner/name.")
    ],
    benchmark: Annotated[
        str, typer.Option(metavar="NAME", callback=_not_empty, help="What it was to forget: a benchmark's name.")
    ],
    gold: Annotated[
        str | None,
        typer.Option(metavar="PATH", callback=_not_empty, help="A model that never saw the forget set, or: chance."),
    ] = None,
    original: Annotated[
        str | None, typer.Option(metavar="PATH", callback=_not_empty, help="The model before unlearning.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the benchmark.")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(metavar="ATTACK", help='A name, or "{name: {parameter: value}}".')
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help='How it is asked: auto, chat, plain, or "{format: chat, system: ...}".'),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", callback=_not_empty, help="Folder of the audit below the storage.")
    ] = None,
    storage: Storage = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws rows and demonstrations.")] = 0,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", callback=_not_empty, help="Tokenizer of all models, where it is not beside the weights."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="auto (float32 on a CPU, bfloat16 on a GPU), float32, bfloat16.")] = "auto",
    attention: Annotated[str, typer.Option(help="auto, sdpa, eager, flash_attention_2.")] = "auto",
    ue: Annotated[
        list[str] | None, typer.Option(metavar="METRIC", help="A metric of forgetting; several times.")
    ] = None,
    ut: Annotated[list[str] | None, typer.Option(metavar="METRIC", help="A metric of utility; several times.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    plain: Annotated[bool, typer.Option("--plain", help="Lines in place of the live view.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure and attack one existing model and write the same report, without a search or unlearning."""
    from rich.console import Console

    from unlearn_sweep.sweeps import audit as auditing
    from unlearn_sweep.sweeps.file.problems import SpecError

    request = auditing.AuditRequest(
        model=model,
        benchmark=benchmark,
        gold=gold,
        original=original,
        settings=tuple(settings or ()),
        attacks=tuple(attack or ()),
        prompt=prompt,
        name=name,
        storage=storage or "runs",
        seed=seed,
        tokenizer=tokenizer,
        dtype=dtype,
        attention=attention,
        ue=tuple(ue or ()),
        ut=tuple(ut or ()),
        threads=threads,
        folder=Path.cwd(),
    )
    try:
        checked = auditing.check(request)
    except SpecError as error:
        if not as_json:
            raise
        _print_json(error.as_json())
        raise typer.Exit(EXIT_REFUSED) from None
    code = auditing.audit(checked, console=Console(stderr=as_json), plain=plain or as_json, quiet=as_json)
    if as_json:
        from unlearn_sweep.sweeps.report import build

        typer.echo(build.report_json(build.load_report(checked.job.directory)))
    raise typer.Exit(code)


@app.command()
def sync(
    directory: Folder,
    tracking: Annotated[str | None, typer.Option(metavar="URI", help="Another tracking server.")] = None,
) -> None:
    """Write the recorded trials of a sweep to MLflow."""
    from unlearn_sweep.engine.tracking.sink import sync as synchronise

    done = _of_folder(lambda folder: synchronise(folder, tracking), directory)
    typer.echo(f"{done.trials_written} trials written to {done.tracking_uri}, experiment {done.experiment}")


@app.command()
def methods(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the unlearning methods and wrappers with their parameters."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.methods, plugin, as_json)


@app.command()
def evaluators(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the metrics, what they measure and which direction is better."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.evaluators, plugin, as_json)


@app.command()
def attacks(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the attacks with their threat models and parameters."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.attacks, plugin, as_json)


@app.command()
def benchmarks(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List the benchmarks with their options."""
    from unlearn_sweep.sweeps import listing

    _print_facts(listing.benchmarks, plugin, as_json)


@app.command("check-plugin")
def check_plugin(file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file with cards.")]) -> None:
    """Run the contract checks of built-in methods, metrics, attacks and benchmarks on the cards of a plugin."""
    from unlearn_sweep.sweeps.check_plugin import check_plugin as results

    failed = total = 0
    for result in results(file):
        typer.echo(result.line())
        total, failed = total + 1, failed + (result.reason is not None)
    typer.echo(f"{total - failed} of {total} checks passed")
    if failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def papers(
    benchmark: Annotated[str | None, typer.Option(help="Only benchmarks with this in their name.")] = None,
    method: Annotated[str | None, typer.Option(help="Only methods with this in their name.")] = None,
    paper: Annotated[str | None, typer.Option(help="Only papers with this in their name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print published numbers, each with its source and a grade of how reliable it is."""
    from unlearn_sweep.evaluators.papers import published_numbers

    found = published_numbers(benchmark=benchmark, method=method, paper=paper)
    if as_json:
        _print_json([number.model_dump() for number in found])
    else:
        from unlearn_sweep.sweeps.papers_view import render

        _print_rich(render(found))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this machine: versions, GPUs, disk, and what would not work."""
    from unlearn_sweep.sweeps.doctor import doctor as examination

    findings = examination.examine()
    if as_json:
        _print_json([examination.as_json(finding) for finding in findings])
    else:
        _print_rich(examination.render(findings))
    if any(examination.is_failure(finding) for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Entry point of `unlearn-sweep`. User errors print a message and exit; a traceback means a bug."""
    from unlearn_sweep.engine.privacy import visible
    from unlearn_sweep.sweeps.file.problems import SpecError

    try:
        app()
    except SpecError as error:
        typer.echo(visible(error.text()), err=True)
        sys.exit(EXIT_REFUSED)
    except PluginError as error:
        typer.echo(str(error), err=True)
        sys.exit(EXIT_REFUSED)
    except KeyboardInterrupt:
        typer.echo("interrupted; rerun the same command to resume", err=True)
        sys.exit(EXIT_INTERRUPTED)


def _spec(
    file: Path, *, address: str | None, cpus: int | None = None, gpus: int | None = None, as_json: bool = False
) -> SweepSpec:
    """Return the checked sweep file. With `as_json`, print mistakes as JSON and exit with status 2."""
    from unlearn_sweep.sweeps.file.problems import SpecError
    from unlearn_sweep.sweeps.file.spec import load_spec

    try:
        return load_spec(file, cluster=address is not None, cpus=cpus, gpus=gpus)
    except SpecError as error:
        if not as_json:
            raise
        _print_json(error.as_json())
        raise typer.Exit(EXIT_REFUSED) from None


def _show_prompts(spec: SweepSpec, job: SweepJob) -> None:
    """Print the prompts as the model reads them. Rows and tokenizers on the hub are downloaded."""
    from unlearn_sweep.sweeps.plan.data_check import check_rows
    from unlearn_sweep.sweeps.show_prompt import prompt_lines

    benchmark = check_rows(spec, job, hub=True)
    if benchmark is None:
        _refuse("the benchmark's rows cannot be read here, so no prompt can be shown")
    try:
        for line in prompt_lines(job, benchmark):
            typer.echo(line)
    except (ValueError, OSError) as error:
        _refuse(f"no prompt can be shown: {error}")


def _checked_rows(spec: SweepSpec, job: SweepJob, *, as_json: bool) -> str:
    """Check the benchmark's rows if they are on this machine and small enough; return a summary."""
    from unlearn_sweep.sweeps.file.problems import SpecError
    from unlearn_sweep.sweeps.plan.data_check import check_rows, describe

    try:
        return describe(spec, job, check_rows(spec, job, at_once=True))
    except SpecError as error:
        if not as_json:
            raise
        _print_json(error.as_json())
        raise typer.Exit(EXIT_REFUSED) from None


def _overrides(
    trials: int | None, storage: str | None, max_concurrent: int | None, mirror: str | None = None
) -> Overrides:
    from unlearn_sweep.sweeps.resolve import Overrides

    return Overrides(trials=trials, storage=storage, mirror=mirror, max_concurrent=max_concurrent)


def _of_folder(view: Callable[[Path], Any], directory: Path) -> Any:
    """Return `view(directory)`. Exit with status 2 if the folder is not a sweep or the trial is unknown."""
    try:
        return view(directory)
    except (FileNotFoundError, ValueError) as error:
        _refuse(str(error))


def _refuse(message: str) -> NoReturn:
    from unlearn_sweep.engine.privacy import visible

    typer.echo(visible(message), err=True)
    raise typer.Exit(EXIT_REFUSED)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str))


def _print_rich(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


def _print_facts(listed: Callable[[], list[dict[str, Any]]], plugins: list[Path] | None, as_json: bool) -> None:
    """Print a catalog, including the cards of these plugins and of installed packages."""
    from unlearn_sweep.sweeps.file.plugins import use_plugins

    use_plugins(plugins or ())
    facts = listed()
    if as_json:
        _print_json(facts)
    else:
        from unlearn_sweep.sweeps.listing_view import render

        _print_rich(render(facts))


if __name__ == "__main__":
    main()
