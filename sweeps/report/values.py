"""Format objectives with their standard errors, and lists of trials."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn_sweep.sweeps.report.document import ReportTrial
from unlearn_sweep.sweeps.report.uncertainty import Half, field_of

TRIALS_NAMED = 6


def with_error(trial: ReportTrial, objective: str, half: Half) -> str:
    """Format as "0.91 ± 0.06". A bound of Rob begins with "≤"; a missing value is an en dash."""
    name = field_of(objective, half)
    value, error = getattr(trial, name), trial.errors.get(name)
    if value is None:
        return "\N{EN DASH}"
    bound = "\N{LESS-THAN OR EQUAL TO} " if objective == "rob" and trial.rob_is_bound else ""
    return f"{bound}{value:.2f}" + ("" if error is None else f" \N{PLUS-MINUS SIGN} {error:.2f}")


def trials_text(numbers: Sequence[int]) -> str:
    """Format as "trial 3" or "trials 2, 5 and 8"; name six at most and count the rest."""
    named = [str(number) for number in numbers[:TRIALS_NAMED]]
    if len(numbers) > TRIALS_NAMED:
        named.append(f"{len(numbers) - TRIALS_NAMED} more")
    if len(named) == 1:
        return f"trial {named[0]}"
    return f"trials {', '.join(named[:-1])} and {named[-1]}"
