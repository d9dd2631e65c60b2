"""Say in words how sure a front, one of its members, and a recommendation are."""

from __future__ import annotations

from unlearn_sweep.sweeps.report.document import Report, ReportTrial
from unlearn_sweep.sweeps.report.margins import margin_text
from unlearn_sweep.sweeps.report.picks import Pick

SURE = 0.9


def sureness(trial: ReportTrial, pick: Pick) -> list[str]:
    """Return the probability of a recommended trial to be on the front, and its margins. Empty if not known."""
    if trial.front_probability is None:
        return []
    member = f"on the front in {100 * trial.front_probability:.3g}% of the bootstrap draws"
    return [member, *(margin_text(found) for found in pick.margins if found.over is not None)]


def front_sureness(report: Report) -> str:
    """Return how many members are sure, and what else may be on the front; or why that is not known."""
    known = report.noise.probability
    members = [known[trial.number] for trial in report.trials if trial.on_front and trial.number in known]
    if not members:
        reason = report.noise.reason
        return f"How sure the front is, is not known: {reason}." if reason else ""
    others = [known[trial.number] for trial in report.trials if not trial.on_front and trial.number in known]
    sure = sum(share >= SURE for share in members)
    maybe = sum(share > 1 - SURE for share in others)
    seed = " and, by the finalists, in the seed" if report.noise.seed_deviation else ""
    more = f"; {maybe} other trials have one above {1 - SURE:.1f}" if maybe else ""
    return (
        f"With the chance in which facts are asked{seed}, {sure} of the {len(members)} members are on the front with a "
        f"probability of at least {SURE:g}{more}."
    )
