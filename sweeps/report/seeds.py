"""Format mean and spread over seeds."""

from __future__ import annotations

from unlearn_sweep.engine.study.seed_summary import Spread


def spread_text(found: Spread | None) -> str:
    """Format as "0.71 ± 0.02" (mean and standard deviation); None as an en dash."""
    if found is None:
        return "\N{EN DASH}"
    return f"{found.mean:.2f}" + (f" \N{PLUS-MINUS SIGN} {found.deviation:.2f}" if found.deviation is not None else "")
