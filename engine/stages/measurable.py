"""Check, after measuring the controls and before any trial, that a sweep can measure its objectives.

Objectives are normalised by the scores of the controls. If the original and the gold model do not differ in an
objective, no trial can have a value for it.
"""

from __future__ import annotations

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_settings import OBJECTIVE_NAMES
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.scoring import Scorer
from unlearn_sweep.engine.store.records import Controls
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.user_error import UserError


class UnmeasurableError(UserError):
    """An objective cannot have a value for any trial. The message names the objective and the reason."""


def unmeasurable(job: SweepJob, prepared: Prepared, controls: Controls, store: StageStore) -> dict[str, str]:
    """Return the objectives that no trial of this sweep can have, each with the reason; empty if there are none."""
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
    """Return the warning for a sweep that continues without some objectives; None if it has all of them.

    Raises:
        UnmeasurableError: all objectives are lost, or some are and the sweep file has `search.unmeasured: stop`. A
            sweep of one trial only stops if all are: it searches nothing, and its trial has the other objectives.
    """
    if not lost:
        return None
    objectives = ["ue", "ut", "rob"] if job.attacks else ["ue", "ut"]
    what = " and ".join(OBJECTIVE_NAMES[name] for name in objectives if name in lost)
    figures = "; ".join(f"{OBJECTIVE_NAMES[name]}: {reason}" for name, reason in lost.items())
    text = f"no trial of this sweep can have {what}, given the scores of the original and gold model. {figures}"
    if len(lost) == len(objectives):
        raise UnmeasurableError(f"{text}. No trial was started", advice=ADVICE)
    if job.search.unmeasured == "stop" and job.search.trials > 1:
        rest = " and ".join(OBJECTIVE_NAMES[name] for name in objectives if name not in lost)
        raise UnmeasurableError(
            f"{text}. No trial was started",
            advice=f"{ADVICE}; or write search: {{unmeasured: go_on}} to have {rest} alone, without a front.",
        )
    return text


ADVICE = "Train original and gold so that they differ, judge by more rows or by other metrics, or by weaker attacks"
