"""`search.stop_trainings`, and what has to fit it."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.engine.search_space import CHECKPOINT, MethodSpace
from unlearn_sweep.methods.catalog import card, in_two
from unlearn_sweep.sweeps.file.checks import DEFAULT_TRIALS
from unlearn_sweep.sweeps.file.file_schema import SweepFile
from unlearn_sweep.sweeps.file.problem_collector import ProblemCollector
from unlearn_sweep.sweeps.file.problems import listing

OPTION = ("search", "stop_trainings")


def check_stopping(file: SweepFile, spaces: Sequence[MethodSpace], collector: ProblemCollector) -> None:
    """Check that the probes of every training say something about its end, and that a stopped one is missed by none."""
    settings = file.search.stop_trainings
    if settings is None or not collector.is_valid(OPTION):
        return
    if file.requests is not None and collector.is_valid(("requests",)):
        message = "a sweep of requests is measured after each, and a training that stops would leave none for the next"
        collector.add(OPTION, message, allowed="requests or stop_trainings, not both", advice="leave one of them out")
    if any(CHECKPOINT in space.params for space in spaces) and collector.is_valid(("training", "checkpoints")):
        message = "the shares of a training are trials of their own, and a training that stops would leave them none"
        allowed = "training.checkpoints or stop_trainings, not both"
        collector.add(OPTION, message, allowed=allowed, advice="leave one of them out")
    for space in spaces:
        reason = why_unprobed(space.method)
        if reason is not None and collector.is_valid(("methods", space.method)):
            message = f"method {space.method} cannot be stopped on its way: {reason}"
            advice = f"leave it out, or remove search.stop_trainings (method {space.method})"
            collector.add(OPTION, message, allowed="methods that move the original step by step", advice=advice)
    trials = DEFAULT_TRIALS if file.search.trials is None else file.search.trials
    if trials <= settings.learn_from and file.search.sampler != "grid":
        text = f"no training can be stopped: the first {settings.learn_from} trials only teach, and there are {trials}"
        collector.note(OPTION, text)
    else:
        shares = listing([f"{rung:.0%}" for rung in settings.rungs])
        collector.note(OPTION, f"a training may stop after {shares} of its steps; plans count each to its end")


def why_unprobed(method: str) -> str | None:
    """Return why probes on the way say nothing about a method's end; None if they do."""
    if in_two(method, {}) is not None:
        return "it is two trainings in turn"
    entry = card(method)
    if entry.reverses:
        return "it keeps what its training moved away from"
    if "noise" in entry.needs:
        return "its training begins at a damaged model"
    return None
