"""Telemetry switches and redaction. Oracle: what each library concludes from its switch, and texts written by hand."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.engine.privacy.secrets import (
    RedactSecrets,
    quiet_environment,
    redact,
    secret_values,
    silence_telemetry,
)

SECRETS = {
    "OPENAI_API_KEY": "abc-123-def-456",
    "HF_TOKEN": "token-of-the-hub",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t/with+odd=chars",
}


def test_the_libraries_understand_their_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in quiet_environment().items():
        monkeypatch.setenv(name, value)
    import huggingface_hub.constants
    from mlflow.telemetry.utils import is_telemetry_disabled
    from ray._common.usage.usage_lib import usage_stats_enabled

    assert usage_stats_enabled() is False
    assert is_telemetry_disabled() is True
    # Read when the library is imported; conftest.py set it before that.
    assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY is True


def test_what_a_person_chose_stays() -> None:
    environ = {"RAY_USAGE_STATS_ENABLED": "1"}
    changed = silence_telemetry(environ)
    assert environ["RAY_USAGE_STATS_ENABLED"] == "1"
    assert environ.keys() == quiet_environment().keys()
    assert changed.keys() == quiet_environment().keys() - {"RAY_USAGE_STATS_ENABLED"}
    assert silence_telemetry(environ) == {}


def test_values_of_secret_variables_are_replaced_by_their_names() -> None:
    text = "401 for abc-123-def-456 at token-of-the-hub, s3cr3t/with+odd=chars"
    assert redact(text, SECRETS) == "401 for [OPENAI_API_KEY] at [HF_TOKEN], [AWS_SECRET_ACCESS_KEY]"


def test_a_secret_inside_another_does_not_leave_a_rest() -> None:
    assert redact("abcdefgh-ijkl", {"A_KEY": "abcdefgh", "B_TOKEN": "abcdefgh-ijkl"}) == "[B_TOKEN]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-" + "a1B2" * 6, "key [token]"),
        ("hf_" + "x" * 30, "[token]"),
        ("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: Bearer [token]"),
        ("http://me:pass@host:5000/x", "http://[login]@host:5000/x"),
        ("postgresql+psycopg://u:p@db/mlflow", "postgresql+psycopg://[login]@db/mlflow"),
    ],
)
def test_known_shapes(text: str, expected: str) -> None:
    assert redact(text, {}) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ue 0.5 on trial 3",
        "task-specific sketch-based risk-averse",
        "http://127.0.0.1:5000/#/experiments",
        "mail me@example.org",
        "the bearer of this",
        "basic settings",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text, {"SHORT_KEY": "ue", "KEYBOARD": "settings of the risk", "MONKEY": "task-specific"}) == text


def test_only_names_of_secrets_count() -> None:
    environ = {
        "API_KEY": "12345678",
        "KEYBOARD_LAYOUT": "qwertyuiop",
        "TOKENIZERS_PARALLELISM": "falsefalse",
        "PATH": "/usr/bin/x",
    }
    assert secret_values(environ) == {"12345678": "API_KEY"}


@given(st.text(), st.text(), st.sampled_from(sorted(SECRETS)))
def test_no_text_around_it_saves_a_secret(before: str, after: str, name: str) -> None:
    assert SECRETS[name] not in redact(f"{before}{SECRETS[name]}{after}", SECRETS)


def test_log_lines_and_tracebacks_are_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "abc-123-def-456")
    screen = io.StringIO()
    handler = logging.StreamHandler(screen)
    handler.addFilter(RedactSecrets())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("refused abc-123-def-456")
    except ValueError:
        logger.exception("asking with %s", "abc-123-def-456")
    text = screen.getvalue()
    assert "abc-123-def-456" not in text
    assert text.startswith("asking with [JUDGE_API_KEY]\nTraceback")
    assert "ValueError: refused [JUDGE_API_KEY]" in text
