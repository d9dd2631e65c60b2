"""How the trials of a sweep are shared among its methods, and how many are done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.sweeps.file.checks import grid_size


def trials_per_method(job: SweepJob) -> dict[str, int]:
    """Trials of each method, in the file's order.

    With equal allocation the first methods get what does not divide. With free allocation the sampler decides, and this
    is the even share. A grid has as many as its points, taken method by method until the trials are used up.
    """
    names, trials = [space.method for space in job.spaces], job.search.trials
    if job.search.sampler == "grid":
        shares, left = {}, trials
        for space in job.spaces:
            shares[space.method] = min(left, grid_size(space, job.search.grid_points))
            left -= shares[space.method]
        return shares
    each, more = divmod(trials, len(names))
    return {name: each + (index < more) for index, name in enumerate(names)}


def settled_trials(directory: Path) -> dict[str, int]:
    """Trials of each method that an earlier run has settled; repeats of a setting do not count."""
    counts: Counter[str] = Counter()
    for path in sorted((directory / "trials").glob("*.json")):
        try:
            record = TrialRecord.model_validate_json(path.read_bytes())
        except ValidationError:
            continue  # written by another version; the run itself will say so
        if record.state not in ("running", "duplicate"):
            counts[record.method] += 1
    return dict(counts)
