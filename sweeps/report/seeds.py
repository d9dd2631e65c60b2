"""How mean and spread over seeds are written."""

from __future__ import annotations

from unlearn_sweep.engine.study.seed_summary import Spread


def spread_text(found: Spread | None) -> str:
    """ "0.71 ± 0.02"; a dash for None."""
    if found is None:
        return "\N{EN DASH}"
    return f"{found.mean:.2f}" + (f" \N{PLUS-MINUS SIGN} {found.deviation:.2f}" if found.deviation is not None else "")
