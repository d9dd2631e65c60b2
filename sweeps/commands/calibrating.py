"""The command `unlearn-sweep calibrate`: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearn_sweep.sweeps.arguments import AsJson, File, Storage, texts_if_given
from unlearn_sweep.sweeps.printing import print_error, print_json_text, print_line, print_rich


def calibrate(
    file: File,
    models: Annotated[int, typer.Option(min=2, max=100, help="Models to train for each of the two pools.")] = 6,
    unlearned: Annotated[
        int,
        typer.Option(min=0, max=200, help="Models to unlearn and attack, for each metric's robustness; 0: none."),
    ] = 12,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", callback=texts_if_given, help="A metric to calibrate; several times."),
    ] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Train models with and without the forget rows, and show which metrics tell them apart and last under attacks."""
    from unlearn_sweep.sweeps import calibrate as calibrating
    from unlearn_sweep.sweeps.checked_job import checked_job
    from unlearn_sweep.sweeps.commands.sweep_file import mistakes_as_json
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides

    with mistakes_as_json(as_json):
        job = checked_job(load_spec(file), Overrides(storage=storage, weighted=False))
        found = calibrating.calibrate(job, models, unlearned, metric or [], print_error if as_json else print_line)
    if as_json:
        print_json_text(found.model_dump_json(indent=1))
    else:
        print_rich(calibrating.calibration_table(found))
