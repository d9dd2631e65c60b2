"""Whether a sweep can measure what it searches for: known when the controls are measured, before any trial.

An objective lies between original and gold. Where these cannot be told apart it has no value for any trial, however
long the search is.
"""

from __future__ import annotations

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.scoring import Scorer
from unlearn_sweep.engine.store.records import Controls
from unlearn_sweep.engine.store.stages import StageStore

NAMES = {"ue": "UE", "ut": "UT", "rob": "Rob"}


class UnmeasurableError(RuntimeError):
    """The controls leave an objective without a value for every trial; the message says which and why."""


def unmeasurable(job: SweepJob, prepared: Prepared, controls: Controls, store: StageStore) -> dict[str, str]:
    """The objectives that no trial of this sweep can have, each with the reason; empty for a sound sweep."""
    found: dict[str, str] = {}
    if controls.gold.ue is None:
        found["ue"] = controls.gold.ue_reason or "no reason given"
    if controls.original.ut is None:
        found["ut"] = controls.original.ut_reason or "no reason given"
    if job.attacks:
        robust = Scorer(job, prepared, store).gold_robustness()
        if robust.rob is None:
            found["rob"] = robust.rob_reason or "no reason given"
    return found


def check_measurable(job: SweepJob, lost: dict[str, str]) -> str | None:
    """What a sweep that goes on without some objectives should say; None where it has all.

    Raises:
        UnmeasurableError: an objective is lost and the file does not say to go on, or all are.
    """
    if not lost:
        return None
    objectives = ["ue", "ut", "rob"] if job.attacks else ["ue", "ut"]
    what = " and ".join(NAMES[name] for name in objectives if name in lost)
    figures = "; ".join(f"{NAMES[name]}: {reason}" for name, reason in lost.items())
    text = f"no trial of this sweep can have {what}, by what original and gold model score. {figures}"
    if len(lost) == len(objectives):
        raise UnmeasurableError(f"{text}. No trial was begun: {ADVICE}")
    if job.search.unmeasured == "stop":
        rest = " and ".join(NAMES[name] for name in objectives if name not in lost)
        raise UnmeasurableError(
            f"{text}. No trial was begun: {ADVICE}; or write search: {{unmeasured: go_on}} to have {rest} alone, "
            "without a front"
        )
    return text


ADVICE = "train original and gold so that they differ, judge by more rows or by other metrics, or by weaker attacks"
