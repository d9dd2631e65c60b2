"""Count planned and settled trials per method."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.sweeps.file.checks import grid_size


def trials_per_method(job: SweepJob) -> dict[str, int]:
    """Return the number of trials per method, in the order of the file.

    With equal allocation, a remainder goes to the first methods. With free allocation the sampler decides, and the
    result is the even share. With the grid sampler, each method in turn gets its grid points until no trials are left.
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
    """Return the number of settled trials per method, without running trials and duplicates."""
    counts: Counter[str] = Counter()
    for path in sorted((directory / "trials").glob("*.json")):
        try:
            record = TrialRecord.model_validate_json(path.read_bytes())
        except ValidationError:
            continue  # written by another version; `run` reports it
        if record.state not in ("running", "duplicate"):
            counts[record.method] += 1
    return dict(counts)
