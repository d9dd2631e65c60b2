"""Check `search.sampler` and its options, after plugins are read."""

from __future__ import annotations

from pydantic import ValidationError

from unlearn_sweep.engine.samplers.catalog import SAMPLERS
from unlearn_sweep.sweeps.file import pydantic_errors
from unlearn_sweep.sweeps.file.file_schema import SearchSection
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing, near_miss, shown

SAMPLER, OPTIONS = ("search", "sampler"), ("search", "sampler_options")


def check_sampler(search: SearchSection, collector: ProblemCollector) -> None:
    """Report an unknown sampler, invalid options of it, and options of `search` that belong to other samplers."""
    if search.sampler not in SAMPLERS:
        nearest = near_miss(search.sampler, SAMPLERS)
        advice = f"write {nearest}" if nearest else "name one of these, or add its file to plugins"
        collector.add(
            SAMPLER,
            "unknown sampler",
            given=shown(search.sampler),
            allowed=listing(SAMPLERS),
            nearest=nearest,
            advice=advice,
        )
        return
    _check_options(search, collector)
    if search.grid_points is not None and search.sampler != "grid" and collector.is_valid(("search", "grid_points")):
        message = f"belongs to the grid sampler, and the sampler is {search.sampler}"
        collector.add(
            ("search", "grid_points"),
            message,
            given=shown(search.grid_points),
            advice="remove it, or write sampler: grid",
        )
    if (
        "startup_trials" in search.model_fields_set
        and not SAMPLERS[search.sampler].models
        and collector.is_valid(("search", "startup_trials"))
    ):
        modelling = listing(name for name, card in SAMPLERS.items() if card.models)
        message = f"belongs to {modelling}; the sampler is {search.sampler}"
        collector.add(("search", "startup_trials"), message, given=shown(search.startup_trials), advice="remove it")


def _check_options(search: SearchSection, collector: ProblemCollector) -> None:
    params = SAMPLERS[search.sampler].params
    if not collector.is_valid(OPTIONS):
        return
    try:
        params.model_validate(search.sampler_options)
    except ValidationError as error:
        pydantic_errors.report(error, params, search.sampler_options, OPTIONS, collector)
