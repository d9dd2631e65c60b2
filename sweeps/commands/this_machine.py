"""Commands about this machine and its programs: doctor, grafana."""

from __future__ import annotations

import typer

from unlearn_sweep.sweeps.arguments import AsJson
from unlearn_sweep.sweeps.printing import print_error, print_json, print_line, print_rich
from unlearn_sweep.user_error import EXIT_FAILED


def doctor(as_json: AsJson = False) -> None:
    """Check this machine: versions, GPUs, disk, and what would not work."""
    from unlearn_sweep.sweeps.doctor import doctor as examination

    findings = examination.examine(tell=lambda text: print_error(f"checking {text}"))
    if as_json:
        print_json([examination.as_json(finding) for finding in findings])
    else:
        print_rich(examination.render(findings))
    if any(examination.is_failure(finding) for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def grafana() -> None:
    """Print the path of the Grafana dashboard file for the metrics that running sweeps export through Ray."""
    from unlearn_sweep.engine.on_ray.dashboard import grafana_file

    print_line(str(grafana_file()))
