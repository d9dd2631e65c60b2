"""Command line of `unlearn-sweep`. Each command imports its dependencies when called, so that `--help` is fast.

Exit status: 0 success, 1 failure, 2 invalid request (nothing was started), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Annotated

import typer

from unlearn_sweep import __version__
from unlearn_sweep.sweeps.commands.answers import answers
from unlearn_sweep.sweeps.commands.audit_model import audit
from unlearn_sweep.sweeps.commands.calibrating import calibrate
from unlearn_sweep.sweeps.commands.catalogs import (
    attacks,
    benchmarks,
    check_plugin,
    evaluators,
    methods,
    papers,
    samplers,
)
from unlearn_sweep.sweeps.commands.comparing import compare_paper
from unlearn_sweep.sweeps.commands.group import CommandGroup
from unlearn_sweep.sweeps.commands.rescoring import rescore
from unlearn_sweep.sweeps.commands.sweep_file import plan, run, schema, validate
from unlearn_sweep.sweeps.commands.sweep_folder import enqueue, export, report, status, sync
from unlearn_sweep.sweeps.commands.this_machine import doctor, grafana
from unlearn_sweep.sweeps.commands.views import write_views
from unlearn_sweep.sweeps.examples import example
from unlearn_sweep.sweeps.printing import print_line
from unlearn_sweep.sweeps.serve.server import serve

app = typer.Typer(
    name="unlearn-sweep",
    cls=CommandGroup,
    help="Search unlearning methods for settings that are still forgotten after the attacks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"unlearn-sweep {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search unlearning methods for settings that are still forgotten after the attacks."""


OF_SWEEPS = (
    example, run, plan, validate, schema, write_views,
    status, report, serve, answers, compare_paper, enqueue, export, rescore, calibrate, audit, sync,
)  # fmt: skip

for command in OF_SWEEPS:
    app.command()(command)
for command in (methods, evaluators, attacks, benchmarks, samplers, check_plugin, papers, doctor, grafana):
    app.command()(command)


def main() -> None:
    """Entry point of `unlearn-sweep`. A traceback means a bug: user errors print a message and an advice."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):  # text was already read or written
                stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows escapes
    app()


if __name__ == "__main__":
    main()
