"""One chat completion from an OpenAI-compatible endpoint, over httpx2: deadlines, retries with back-off.

Connections are kept and shared by all threads. Redirects are not followed, since the key would go along. No message of
this module holds the key or what was sent. An answer that is no chat completion is retried like a failed call, so both
count as attempts.

Endpoints of models that think first refuse `max_tokens` and `temperature` with a 400 that names the field. The call is
then repeated in their form, which is kept for this process and logged once.
"""

from __future__ import annotations

import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from unlearn_sweep.evaluators.chat_models.settings import SHORT_TOKENS, THINKING_TOKENS, ChatModelSettings
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    import httpx2  # at run time in the functions that call: commands that call nothing start faster

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
HOPELESS = frozenset({401, 403, 404, 405})
LARGEST_ANSWER_BYTES = 1 << 20
REFUSAL_BYTES = 1 << 14
"""How much of a refusal is read to find the field that it names."""
THOUGHT = re.compile(r"\A.*</think>|<think>.*?</think>", re.DOTALL)
ADAPTABLE = ("max_tokens", "temperature")
"""Fields that are left out or renamed where an endpoint refuses them."""

_log = logging.getLogger(__name__)
_refused_fields: dict[tuple[str, str], frozenset[str]] = {}
_lock = threading.Lock()


class CallError(RuntimeError):
    """A call failed; the message is the reason to record. `wait_s`: how long the server asks to be left alone."""

    def __init__(self, reason: str, *, again: bool, wait_s: float | None = None, calls: int = 1) -> None:
        super().__init__(reason)
        self.calls = calls
        self.again = again
        self.wait_s = wait_s


class FieldRefusedError(CallError):
    """The endpoint does not take a field of the request; the same call without it may do."""


class EndpointUnusableError(UserError):
    """The endpoint will not answer any call: a wrong key, address or model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The text of an answer, the tokens it cost (0 where the endpoint does not say), and the calls it took.

    `cut`: the answer ends because it reached its limit of tokens.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    calls: int
    cut: bool = False


@cache
def _client(timeout_s: float) -> httpx2.Client:
    """Return the process's client with this limit, in seconds, for connecting and for each read. It is thread-safe."""
    import httpx2

    return httpx2.Client(timeout=timeout_s, follow_redirects=False, headers={"Accept-Encoding": "identity"})


def complete(
    settings: ChatModelSettings, messages: list[dict[str, str]], *, sleep: Callable[[float], None] = time.sleep
) -> Completion:
    """The answer to `messages`, after at most `attempts` calls, at the settings' temperature if the endpoint takes one.

    A call in a form that the endpoint refuses is no attempt.

    Raises:
        CallError: every attempt failed; the message is the last reason.
        EndpointUnusableError: the endpoint refuses the key, the address or the model.
    """
    adapted = 0
    for attempt in range(1, settings.attempts + 1):
        try:
            while True:
                try:
                    return _once(settings, messages, calls=attempt + adapted)
                except FieldRefusedError:
                    adapted += 1  # each field is refused once at most, so this ends
        except CallError as error:
            if not error.again or attempt == settings.attempts:
                raise CallError(str(error), again=False, calls=attempt + adapted) from error
            sleep(_wait(settings, attempt, error.wait_s))
    raise CallError("no attempt was allowed", again=False)


def _wait(settings: ChatModelSettings, attempt: int, asked_s: float | None) -> float:
    """Doubles with each attempt, spread so that callers do not come back together; never less than was asked for."""
    grown = settings.first_wait_s * 2 ** (attempt - 1) * (0.5 + random.random())
    return min(settings.longest_wait_s, max(grown, asked_s or 0.0))


def _once(settings: ChatModelSettings, messages: list[dict[str, str]], *, calls: int) -> Completion:
    import httpx2

    refused = frozenset(ADAPTABLE) if settings.reasoning else _refused_fields.get(_endpoint(settings), frozenset())
    body = request_body(settings, messages, refused)
    headers = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
    deadline = time.monotonic() + settings.timeout_s
    try:
        address = f"{settings.url}/chat/completions"
        with _client(settings.timeout_s).stream("POST", address, json=body, headers=headers) as answer:
            if not answer.is_success:
                raise _refused(answer, settings, refused)
            raw = _read(answer, deadline)
    except httpx2.TimeoutException:
        raise CallError(f"no answer within {settings.timeout_s:g} s", again=True) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:  # ValueError: a key that is no header
        raise CallError(f"no connection: {_root(error)}", again=True) from None
    return _parsed(raw, settings, calls)


def _root(error: BaseException) -> str:
    """Return the type of the system's error behind the client's, if there is one."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OSError):
        inner = inner.__cause__ or inner.__context__
    return type(inner or error).__name__


def request_body(
    settings: ChatModelSettings, messages: list[dict[str, str]], refused: frozenset[str]
) -> dict[str, Any]:
    """What is sent; `refused` are fields that this endpoint does not take."""
    thinks = settings.reasoning or "max_tokens" in refused
    tokens = settings.tokens or (THINKING_TOKENS if thinks else SHORT_TOKENS)
    body: dict[str, Any] = {"model": settings.model, "messages": messages, **json.loads(settings.body)}
    body["max_completion_tokens" if "max_tokens" in refused else "max_tokens"] = tokens
    return body if "temperature" in refused else {**body, "temperature": settings.temperature}


def without_thought(text: str) -> str:
    """An answer without the chain of thought before it, also where the template wrote its opening tag."""
    return THOUGHT.sub("", text).strip() if "</think>" in text else text


def _endpoint(settings: ChatModelSettings) -> tuple[str, str]:
    return settings.url, settings.model


def _refused_field(answer: httpx2.Response, refused: frozenset[str]) -> str | None:
    """Return the field that a 400 names and that can be left out; None if it names none."""
    import httpx2

    if answer.status_code != 400:
        return None
    message = b""
    try:
        for part in answer.iter_bytes():
            message += part
            if len(message) >= REFUSAL_BYTES:
                break
    except httpx2.HTTPError:
        return None
    text = message.decode("utf-8", errors="replace")
    return next((name for name in ADAPTABLE if name in text and name not in refused), None)


def _adapt(settings: ChatModelSettings, field: str) -> None:
    """Leave a field out from now on, and say so the first time."""
    with _lock:
        known = _refused_fields.get(_endpoint(settings), frozenset())
        _refused_fields[_endpoint(settings)] = known | {field}
    if field not in known:
        instead = "max_completion_tokens is sent" if field == "max_tokens" else "it is left out"
        _log.warning("the %s's endpoint does not take %s: %s from now on", settings.role, field, instead)


def _refused(answer: httpx2.Response, settings: ChatModelSettings, refused: frozenset[str]) -> CallError:
    field, status = _refused_field(answer, refused), answer.status_code
    if field is not None:
        _adapt(settings, field)
        return FieldRefusedError(f"HTTP 400: {field} is not taken", again=True)
    if status in HOPELESS:
        raise EndpointUnusableError(
            f"the {settings.role}'s endpoint answers {status}: wrong key, address or model"
        ) from None
    return CallError(f"HTTP {status}", again=status in RETRIED, wait_s=_retry_after(answer.headers))


def _retry_after(headers: httpx2.Headers) -> float | None:
    value = headers.get("Retry-After")
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:  # a date: the back-off of our own will do
        return None


def _read(answer: httpx2.Response, deadline: float) -> bytes:
    """Return the whole body. A server that sends a byte now and then is over the deadline like one that stalls."""
    import httpx2

    parts, size = [], 0
    for part in answer.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER_BYTES:
            raise CallError(f"an answer of more than {LARGEST_ANSWER_BYTES} bytes", again=False)
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout("the whole answer took too long")
    return b"".join(parts)


def _parsed(raw: bytes, settings: ChatModelSettings, calls: int) -> Completion:
    try:
        answer = json.loads(raw)
        text = answer["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise CallError("an answer that is no chat completion", again=True) from None
    cut = answer["choices"][0].get("finish_reason") == "length"
    if not text and cut:
        raise CallError(f"thinking took all tokens: raise {settings.prefix}TOKENS", again=False)
    if not isinstance(text, str):
        raise CallError("an answer without text", again=True)
    usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
    return Completion(
        text=without_thought(text),
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        calls=calls,
        cut=cut,
    )


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else 0
