"""Format durations for people."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Format as "3.2 s", "45 s", "4 min 05 s", "2 h 10 min" or "3 d 4 h"; None as an en dash."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
