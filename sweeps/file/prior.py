"""`search.prior`: where good settings are believed to lie. Early trials of a method are drawn around its belief.

`published` believes in the defaults of each method's card; a list has a setting for each method that has a belief.
"""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.engine.samplers.catalog import SAMPLERS
from unlearn_sweep.engine.search_settings import Configuration
from unlearn_sweep.engine.search_space import MethodSpace, holds
from unlearn_sweep.methods.catalog import defaults
from unlearn_sweep.sweeps.file.enqueue import check_settings, enqueued_settings
from unlearn_sweep.sweeps.file.file_schema import SearchSection
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, shown

PATH = ("search", "prior")
PUBLISHED = "published"
FOLLOWING = ("tpe", "gp", "noisy")
"""Samplers that learn from all trials of a method, however they were drawn."""


def beliefs_of(search: SearchSection, spaces: Sequence[MethodSpace]) -> list[Configuration]:
    """Return the belief of each method that has one: values of its searched parameters that lie in its space."""
    if search.prior == PUBLISHED:
        found = [_published(space) for space in spaces]
    else:
        by_method = {space.method: space for space in spaces}
        given = enqueued_settings(search.prior)
        found = [_searched(setting, by_method[setting.method]) for setting in given]
    return [belief for belief in found if belief.params]


def check_prior(search: SearchSection, spaces: Sequence[MethodSpace], collector: ProblemCollector) -> None:
    """Check that the sampler follows beliefs, and that each is a setting of the space, at most one for each method."""
    if not search.prior or not collector.is_valid(PATH, ("methods",), ("search", "sampler")):
        return
    if search.sampler in SAMPLERS and search.sampler not in FOLLOWING:
        message = f"{search.sampler} draws its trials without beliefs"
        collector.add(PATH, message, given=shown(search.prior), allowed=f"with sampler {listing(FOLLOWING)}",
                      advice="remove it, or write sampler: tpe")  # fmt: skip
        return
    if search.prior == PUBLISHED:
        if not any(_published(space).params for space in spaces):
            message = "no searched parameter has its published default inside its range"
            collector.add(PATH, message, given=PUBLISHED, advice="widen a range, or write settings of your own")
        return
    check_settings(search.prior, PATH, spaces, collector)
    if not collector.is_valid(PATH):
        return
    methods = [setting.method for setting in enqueued_settings(search.prior)]
    for name in dict.fromkeys(name for name in methods if methods.count(name) > 1):
        collector.add(PATH, f"two beliefs for {name}", given=shown(name), allowed="one for each method",
                      advice="keep one, and write the other under search.enqueue")  # fmt: skip


def _published(space: MethodSpace) -> Configuration:
    """Return the published defaults of the searched parameters, as far as they lie in their ranges."""
    known = defaults(space.method)
    inside = {
        name: known[name]
        for name, dimension in space.searched().items()
        if name in known and holds(dimension, known[name])
    }
    return Configuration(method=space.method, params=inside)


def _searched(setting: Configuration, space: MethodSpace) -> Configuration:
    searched = space.searched()
    return Configuration(
        method=setting.method, params={name: value for name, value in setting.params.items() if name in searched}
    )
