"""From a checked sweep file to a job that can start: the checks that `run` makes before anything is written."""

from __future__ import annotations

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.sweeps.file.spec import SweepSpec
from unlearn_sweep.sweeps.plan.data_check import check_rows
from unlearn_sweep.sweeps.plan.hub_check import check_fit, check_hub
from unlearn_sweep.sweeps.resolve import Overrides, resolve


def checked_job(spec: SweepSpec, overrides: Overrides | None = None) -> SweepJob:
    """Return the job of a sweep file whose models, memory and rows were checked. May download from the hub.

    Raises:
        SpecError: An override is invalid, a model is not available or does not fit, or rows lack what the sweep needs.
    """
    job = resolve(spec, overrides)
    check_hub(spec, job)
    check_fit(spec, job)
    check_rows(spec, job, hub=True)
    return job
