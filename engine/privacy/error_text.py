"""Show errors of libraries on one line: their messages can be pages long and can contain secrets."""

from __future__ import annotations

from unlearn_sweep.engine.privacy.secrets import redact

LINE_CHARS = 300


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def named_line(error: BaseException) -> str:
    """Return type and first line of an error, at most `LINE_CHARS` characters of the line and without secrets."""
    lines = redact(str(error)).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:LINE_CHARS]}"
