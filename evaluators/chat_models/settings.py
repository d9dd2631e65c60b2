"""A chat model that is asked for verdicts or texts: an OpenAI-compatible endpoint, or a model in a folder.

It is named in the environment and nowhere else, by variables that begin with a prefix of its role:

URL        base address, up to and with /v1
MODEL      the model's id there; pin a dated one, preview ids get retired
KEY        key, where the endpoint wants one; it is sent there and goes nowhere else
PRICES     "0.15,0.60": dollars for a million tokens read and written, to count the cost
FOLDER     in place of URL and MODEL: folder of an instruct model, which answers in this process
CACHE      folder of what was answered before, for a judge; left out: not kept
REASONING  1: a model that thinks first: `max_completion_tokens` is sent and no temperature; found out by itself where
           the endpoint refuses `max_tokens` or `temperature` with a 400
TOKENS     tokens an answer may have, thinking included; left out: by the role
BODY       JSON object of more fields to send: {"reasoning_effort": "low"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from unlearn_sweep.evaluators.local_models import folder_identity, model_folder

SHORT_TOKENS, THINKING_TOKENS = 16, 4096
"""Tokens of an answer of one word, and of one behind a chain of thought."""
OWN_FIELDS = frozenset({"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "stream", "n"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModelSettings:
    """One model: an endpoint at `url`, or the model in `folder`, whose `model` is then its content.

    `attempts` calls a row at most; `failure_cap` is the share of rows that may stay without a verdict. `reasoning`: the
    model thinks before it answers. `tokens` an answer may have (None: by kind of model). `body`: more fields to send,
    as canonical JSON; they are part of its identity. `prefix` begins the names of its variables, `role` is the word
    for it in messages. `temperature` 0 is greedy.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    prices: tuple[float, float] | None = None
    cache: Path | None = None
    folder: Path | None = None
    reasoning: bool = False
    tokens: int | None = None
    body: str = "{}"
    timeout_s: float = 60.0
    attempts: int = 5
    concurrency: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    failure_cap: float = 0.05
    temperature: float = 0.0
    prefix: str = "UNLEARN_SWEEP_JUDGE_"
    role: str = "judge"


def chat_model_settings(prefix: str, role: str, environment: Mapping[str, str] | None = None) -> ChatModelSettings:
    """The model that the environment names by variables with this prefix.

    Raises:
        ValueError: an address or model is missing, the address is none that a key may be sent to, the folder holds no
            model, or another variable is not what it should be.
    """
    given = os.environ if environment is None else environment
    if given.get(f"{prefix}FOLDER"):
        return _local(given, prefix, role)
    url, model = given.get(f"{prefix}URL", ""), given.get(f"{prefix}MODEL", "")
    absent = [f"{prefix}{name}" for name, value in (("URL", url), ("MODEL", model)) if not value]
    if absent:
        wanted = f"set {' and '.join(absent)} in the environment, or {prefix}FOLDER (see docs/{_page(role)}.md)"
        raise ValueError(f"a {role} is asked for: {wanted}")
    key = _checked_key(given.get(f"{prefix}KEY"), prefix)
    cache = given.get(f"{prefix}CACHE")
    return ChatModelSettings(
        url=_checked_url(url, key, prefix),
        model=model,
        key=key,
        prices=_prices(given.get(f"{prefix}PRICES"), prefix),
        cache=Path(cache) if cache else None,
        reasoning=_switch(given.get(f"{prefix}REASONING"), prefix),
        tokens=_tokens(given.get(f"{prefix}TOKENS"), prefix),
        body=_body(given.get(f"{prefix}BODY"), prefix),
        prefix=prefix,
        role=role,
    )


def _local(given: Mapping[str, str], prefix: str, role: str) -> ChatModelSettings:
    """A model of this process, named by its content; one call at a time."""
    if given.get(f"{prefix}URL") or given.get(f"{prefix}MODEL"):
        raise ValueError(f"{prefix}FOLDER: is set, and so is {prefix}URL or {prefix}MODEL: one {role}, please")
    folder = model_folder(given[f"{prefix}FOLDER"], f"{prefix}FOLDER")
    cache = given.get(f"{prefix}CACHE")
    return ChatModelSettings(
        url="",
        model=f"folder:{folder_identity(folder)}",
        cache=Path(cache) if cache else None,
        folder=folder,
        tokens=_tokens(given.get(f"{prefix}TOKENS"), prefix),
        attempts=1,
        concurrency=1,
        prefix=prefix,
        role=role,
    )


def _page(role: str) -> str:
    """The page that names the variables of a role."""
    return "metrics" if role == "judge" else "views"


def _checked_url(url: str, key: str | None, prefix: str) -> str:
    parts = urlsplit(url)
    name = f"{prefix}URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{name}: must be an address, https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{name}: must not hold a login or a query; a key goes into {prefix}KEY")
    if key and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError(f"{name}: the key would travel unencrypted to {parts.hostname}; use https")
    return url.rstrip("/")


def _checked_key(key: str | None, prefix: str) -> str | None:
    """Return the key, None if it is empty. It must be fit for a header; the error does not show it."""
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError(f"{prefix}KEY: must be printable ASCII without blanks; it may end with a line break")
    return key or None


def _switch(text: str | None, prefix: str) -> bool:
    if (text or "0") not in ("0", "1"):
        raise ValueError(f"{prefix}REASONING: must be 0 or 1; got {text!r}")
    return text == "1"


def _tokens(text: str | None, prefix: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{prefix}TOKENS: must be a whole number of at least 1; got {text!r}")
    return int(text)


def _body(text: str | None, prefix: str) -> str:
    """More fields of a request, as canonical JSON."""
    try:
        fields: Any = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f'{prefix}BODY: must be a JSON object: {{"reasoning_effort": "low"}}') from error
    if not isinstance(fields, dict):
        raise ValueError(f'{prefix}BODY: must be a JSON object: {{"reasoning_effort": "low"}}')
    taken = sorted(OWN_FIELDS & set(fields))
    if taken:
        raise ValueError(f"{prefix}BODY: {taken[0]} is set by this tool; it cannot be sent twice")
    return json.dumps(fields, sort_keys=True)


def _prices(text: str | None, prefix: str) -> tuple[float, float] | None:
    if not text:
        return None
    try:
        read, written = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"{prefix}PRICES: must be two numbers, dollars for a million tokens: 0.15,0.60") from error
    return read, written
