"""The command `unlearn-sweep rescore`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearn_sweep.sweeps.arguments import AcceptNewCode, Address, Concurrent, Folder, Storage, path_argument
from unlearn_sweep.sweeps.commands.sweep_folder import of_folder
from unlearn_sweep.sweeps.printing import print_line


def rescore(
    directory: Folder,
    file: Annotated[
        Path,
        typer.Option(
            "--with",
            metavar="FILE",
            parser=path_argument,
            help="A copy of the sweep's file with another name and other evaluators or attacks.",
        ),
    ],
    storage: Storage = None,
    max_concurrent: Concurrent = None,
    address: Address = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines in place of the live view.")] = False,
    accept_new_code: AcceptNewCode = False,
) -> None:
    """Measure and attack the kept models of a finished sweep by another file, without training any."""
    from unlearn_sweep.sweeps.checked_job import checked_job
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.launch import launch
    from unlearn_sweep.sweeps.rescore import rescore_text, rescored
    from unlearn_sweep.sweeps.resolve import Overrides

    spec = load_spec(file, cluster=address is not None)
    job = checked_job(spec, Overrides(storage=storage, max_concurrent=max_concurrent))
    found = of_folder(lambda folder: rescored(job, folder), directory)
    for line in rescore_text(found, directory):
        print_line(line)
    raise typer.Exit(launch(found.job, address=address, plain=plain, accept_new_code=accept_new_code))
