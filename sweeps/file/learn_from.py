"""`search.learn_from`: all trials of another sweep, as knowledge of where good settings lie.

They are no trials of this sweep: not on its front, and not run again. `warm_start` runs the other sweep's front again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearn_sweep.engine.search_settings import LearntTrial, ObjectiveName
from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.snapshot import NotASweepError, read_snapshot
from unlearn_sweep.sweeps.file.file_schema import SearchSection
from unlearn_sweep.sweeps.file.paths import absolute
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import shown
from unlearn_sweep.sweeps.file.warm_start import setting_in

PATH = ("search", "learn_from")
SAMPLER = "tpe"


def learnt_from(folder: Path, spaces: Sequence[MethodSpace]) -> list[LearntTrial]:
    """Return the trials of a sweep that lie in the space, by number: whole ones and collapsed ones.

    Rob may be a bound, as for the sweep's own sampler. Of a sweep without attacks, Rob counts as 1 for every trial.
    """
    by_method = {space.method: space for space in spaces}
    found = []
    for record in sorted(read_snapshot(folder).records, key=lambda record: record.number):
        setting = setting_in(record, by_method.get(record.method))
        values = _values(record)
        if setting is not None and (values is not None or record.state == "collapsed"):
            found.append(LearntTrial(method=setting.method, params=setting.params, values=values))
    return found


def check_learn_from(
    search: SearchSection, spaces: Sequence[MethodSpace], folder: Path, collector: ProblemCollector
) -> None:
    """Check that the sampler learns from trials, and that the folder is a sweep with trials in this space."""
    if search.learn_from is None or not collector.is_valid(PATH, ("methods",)):
        return
    given = shown(search.learn_from)
    if search.sampler != SAMPLER:
        advice = f"write sampler: {SAMPLER}, or warm_start to run the other sweep's front first"
        collector.add(PATH, f"{search.sampler} does not learn from another sweep", given=given, advice=advice)
        return
    try:
        learnt = learnt_from(absolute(search.learn_from, folder), spaces)
    except (NotASweepError, OSError) as error:
        collector.add(PATH, str(error), given=given, allowed="the folder of a sweep: <storage>/<name>")
        return
    if not learnt:
        collector.add(PATH, "none of its trials is in this search space", given=given, advice="widen the ranges")


def _values(record: TrialRecord) -> dict[ObjectiveName, float] | None:
    rob = record.rob if record.attacks else 1.0
    if record.state != "complete" or record.ue is None or record.ut is None or rob is None:
        return None
    return {"ue": record.ue, "ut": record.ut, "rob": rob}
