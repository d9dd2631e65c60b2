"""Commands on the folder of a sweep: status, report, export, enqueue, sync."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn_sweep.sweeps.arguments import (
    AsJson,
    Folder,
    FolderOrStorage,
    Folders,
    Plugins,
    given_text,
    path_argument,
    text_if_given,
)
from unlearn_sweep.sweeps.printing import print_json, print_json_text, print_line, print_rich
from unlearn_sweep.user_error import UserError

MOST_DOLLARS = 1_000_000


def status(directory: FolderOrStorage = Path("runs"), as_json: AsJson = False) -> None:
    """Show the progress of a sweep. Of a storage, list its sweeps and show the one that was written to last."""
    from unlearn_sweep.sweeps.report.status_list import render_statuses, statuses

    found: list[dict[str, Any]] = of_folder(statuses, directory)
    if as_json:
        print_json(found[0] if (directory / "events.jsonl").is_file() else found)
    else:
        print_rich(render_statuses(found))


def report(
    directories: Folders,
    gpu_hour_price: Annotated[
        float | None, typer.Option(min=0, max=MOST_DOLLARS, help="Dollars for one hour of one GPU.")
    ] = None,
    cpu_hour_price: Annotated[
        float | None, typer.Option(min=0, max=MOST_DOLLARS, help="Dollars for one hour of one CPU.")
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Write a sweep's report (HTML, PNG, CSV, JSON), or print its content as JSON. Several sweeps are compared too."""
    from unlearn_sweep.sweeps.report import build
    from unlearn_sweep.sweeps.report.provenance import Prices

    prices = Prices(gpu_hour=gpu_hour_price, cpu_hour=cpu_hour_price)
    use_given(plugin)
    if as_json and len(directories) > 1:
        raise UserError("--json prints one sweep", advice="Give one folder, or leave out --json.")
    if as_json:
        found = of_folder(lambda folder: build.load_report(folder, prices), directories[0])
        print_json_text(build.report_json(found))
        return
    for directory in directories:
        paths = of_folder(lambda folder: build.build_report(folder, prices), directory)
        for path in (paths.page, paths.data, paths.table, paths.answers, *paths.pictures):
            print_line(str(path))
    if len(directories) > 1:
        from unlearn_sweep.sweeps.report.comparison import build_comparison

        print_line(str(build_comparison(directories, directories[0].resolve().parent / "comparison.html")))


def export(
    directory: Folder,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Number or key of a trial.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", parser=path_argument, help="New folder for the model.")],
) -> None:
    """Write the unlearned model of a trial as an ordinary Hugging Face folder."""
    from unlearn_sweep.sweeps.export import export_trial

    done = of_folder(lambda folder: export_trial(folder, trial, out), directory)
    print_line(f"{done.folder}: trial {done.record.number} ({done.record.method}), {len(done.files)} files")


def enqueue(
    directory: Folder,
    setting: Annotated[
        str,
        typer.Argument(
            metavar="SETTING", callback=given_text, help='A method with values: "{npo: {learning_rate: 1e-5}}".'
        ),
    ],
) -> None:
    """Have a sweep that is under way try a setting next. The sampler chooses the parameters that are left out."""
    from unlearn_sweep.sweeps.enqueue import enqueue_setting

    done = of_folder(lambda folder: enqueue_setting(folder, setting), directory)
    print_line(f"enqueued: {done.setting}\n{done.when}")


def sync(
    directory: Folder,
    tracking: Annotated[
        str | None, typer.Option(metavar="URI", callback=text_if_given, help="Another tracking server.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write the recorded trials of a sweep to MLflow."""
    from unlearn_sweep.engine.tracking.sink import sync as synchronise

    use_given(plugin)
    done = of_folder(lambda folder: synchronise(folder, tracking), directory)
    print_line(f"{done.trials_written} trials written to {done.tracking_uri}, experiment {done.experiment}")
    if done.runs_page is not None:
        print_line(done.runs_page)


def use_given(plugins: list[Path] | None) -> None:
    """Add the cards of these plugins to the catalogs.

    Raises:
        PluginError: a plugin is invalid.
    """
    if plugins:
        from unlearn_sweep.sweeps.file.plugins import use_plugins

        use_plugins(plugins)


def of_folder(view: Callable[[Path], Any], directory: Path) -> Any:
    """Return `view(directory)`.

    Raises:
        UserError: the folder is not a sweep, or a file of it cannot be read or written.
    """
    try:
        return view(directory)
    except UserError:
        raise
    except (OSError, ValueError) as error:  # a folder that cannot be read or written
        raise UserError(str(error)) from error
