"""Keep the libraries' usage reports and secrets from the environment on this machine.

`quiet_environment` returns the variables that disable usage reports, `silence_telemetry` sets them (before the
libraries are imported), and `redact` removes secrets from text written to a log, a record, MLflow or a report.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, MutableMapping

_SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
}

TELEMETRY_NOTICE = "Usage reports of Ray, MLflow and the Hugging Face hub are off."

_SECRET_NAME = re.compile(
    r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|ACCESS_KEY_ID|PAT)(_|$)", re.IGNORECASE
)
# Shorter values ("1", "true", "none") occur in ordinary text, which redaction would garble.
_MIN_SECRET_CHARS = 8

_TOKEN_SHAPES = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|AKIA[0-9A-Z]{16}|xox[abprs]-[A-Za-z0-9-]{10,})"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{12,}")
_URL_LOGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s@]+@")


def quiet_environment() -> dict[str, str]:
    """Return the variables that disable usage reports, for this process and for workers on other machines."""
    return dict(_SWITCHES)


def silence_telemetry(environ: MutableMapping[str, str] | None = None) -> dict[str, str]:
    """Set the variables that are not yet set, and return those. Existing values of the user are kept."""
    target = os.environ if environ is None else environ
    missing = {name: value for name, value in quiet_environment().items() if name not in target}
    target.update(missing)
    return missing


def secret_values(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Map value to name for each environment variable named like a secret. Skip values under 8 characters."""
    source = os.environ if environ is None else environ
    # By name and not by `items()`: another thread may remove a variable in between, as the driver does after Ray's end.
    named = ((name, source.get(name, "")) for name in list(source) if _SECRET_NAME.search(name))
    return {value: name for name, value in named if len(value) >= _MIN_SECRET_CHARS}


_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def redact(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return `text` without secrets: values of secret variables, known token shapes, bearer headers, logins in URLs.

    Control characters are escaped (`visible`), because redacted text is displayed.
    """
    # Longest first: one secret may contain another.
    for value, name in sorted(secret_values(environ).items(), key=lambda item: -len(item[0])):
        text = text.replace(value, f"[{name}]")
    text = _TOKEN_SHAPES.sub("[token]", text)
    text = _BEARER.sub(r"\1 [token]", text)
    return visible(_URL_LOGIN.sub(r"\g<scheme>[login]@", text))


def visible(text: str) -> str:
    """Escape control characters, text-direction marks and lone surrogates, except line feeds and tabs.

    Names, model answers and library messages can then not control the terminal. A lone surrogate comes from a file name
    that is not UTF-8 and could not be printed at all.
    """
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def visible_json(document: str) -> str:
    """Escape the same characters in a JSON document, as JSON escapes: it still parses to the same value."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", document)


class RedactSecrets(logging.Filter):
    """A filter for log handlers that redacts the formatted message and the traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
