"""Who writes: chat models by name, each named in the environment. What they answered is kept by content.

The writer `main` is named by UNLEARN_SWEEP_WRITER_URL, _MODEL, _KEY, _PRICES, _FOLDER, _REASONING, _TOKENS and _BODY
(`chat_models.settings`), any other NAME by UNLEARN_SWEEP_WRITER_NAME_URL and so on. An answer's file is named by a
digest of the writer, what it was asked and how it samples, so the same question is paid for once, in this process or
any later one. A call that failed leaves nothing and is made again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from unlearn_sweep.evaluators.benchmarks.view_settings import DEFAULT_WRITER
from unlearn_sweep.evaluators.chat_models.endpoint import CallError, Completion, complete
from unlearn_sweep.evaluators.chat_models.kept_files import KeptFiles
from unlearn_sweep.evaluators.chat_models.settings import THINKING_TOKENS, ChatModelSettings, chat_model_settings
from unlearn_sweep.evaluators.judge.judge import Cost
from unlearn_sweep.evaluators.written_views.prompts import Message
from unlearn_sweep.user_error import UserError

PREFIX = "UNLEARN_SWEEP_WRITER_"
TEMPERATURE = 0.8
"""As GAO's released code samples."""
HOPELESS_CALLS = 8
"""So many failures before the first answer end the command."""


class WriterFailedError(UserError):
    """A writer gives no answers; the message says why."""


def writer_settings(name: str, environment: Mapping[str, str] | None = None) -> ChatModelSettings:
    """The writer of this name.

    Raises:
        ValueError: the environment names none, or names it wrongly.
    """
    prefix = PREFIX if name == DEFAULT_WRITER else f"{PREFIX}{name.upper()}_"
    found = chat_model_settings(prefix, "writer" if name == DEFAULT_WRITER else f"writer {name}", environment)
    return replace(found, temperature=TEMPERATURE, cache=None)


class KeptAnswers:
    """Answers by what was asked, one file each, below a folder; a file that is cut off counts as not there."""

    def __init__(self, folder: Path) -> None:
        self.files = KeptFiles(folder)

    def get(self, key: str) -> Completion | None:
        kept = self.files.read(key)
        try:
            return Completion(**kept) if isinstance(kept, dict) else None
        except TypeError:
            return None

    def put(self, key: str, answer: Completion) -> None:
        self.files.write(key, asdict(answer))


class Writer:
    """Asks one writer; safe to use from several threads. `cost` counts what it took in this process."""

    def __init__(self, settings: ChatModelSettings, kept: KeptAnswers) -> None:
        self.settings = settings
        self.kept = kept
        self.cost = Cost(dollars=0.0 if settings.prices else None)
        self._lock = threading.Lock()
        self._places = threading.Semaphore(settings.concurrency)
        self._answered = 0
        self._failures: list[str] = []

    def key(self, messages: Sequence[Message], tokens: int, variation: int) -> str:
        """Digest of the writer, what it is asked, and the number of the answer; it holds no key and no address."""
        asked = [self.settings.model, self.settings.body, list(messages), self._tokens(tokens), TEMPERATURE, variation]
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()

    def knows(self, messages: Sequence[Message], tokens: int, variation: int) -> bool:
        return self.kept.get(self.key(messages, tokens, variation)) is not None

    def ask(self, messages: list[Message], tokens: int, variation: int) -> Completion:
        """The answer, kept or new.

        Raises:
            CallError: every attempt failed; the message is the reason.
            EndpointUnusableError: the endpoint refuses the key, the address or the model.
            WriterFailedError: it has failed many times and never answered.
        """
        key = self.key(messages, tokens, variation)
        with self.kept.files.asking(key):
            known = self.kept.get(key)
            if known is None:
                return self._new(key, messages, self._tokens(tokens))
        with self._lock:
            self.cost.cached += 1
        return known

    def _new(self, key: str, messages: list[Message], tokens: int) -> Completion:
        try:
            with self._places:
                answer = self._complete(messages, tokens, int(key[:8], 16))
        except CallError as error:
            self._failed(error)
            raise
        self.kept.put(key, answer)
        self._paid(answer)
        return answer

    def _complete(self, messages: list[Message], tokens: int, seed: int) -> Completion:
        if self.settings.folder is not None:
            from unlearn_sweep.evaluators.chat_models.local_model import local_model

            model = local_model(self.settings.folder)
            return model.complete(messages, tokens, temperature=TEMPERATURE, seed=seed)
        return complete(replace(self.settings, tokens=tokens), messages)

    def _tokens(self, wanted: int) -> int:
        """Tokens of an answer: what the environment says, or what the text needs, and the thinking of a model."""
        return self.settings.tokens or wanted + (THINKING_TOKENS if self.settings.reasoning else 0)

    def _paid(self, answer: Completion) -> None:
        with self._lock:
            self._answered += 1
            self.cost.calls += answer.calls
            self.cost.prompt_tokens += answer.prompt_tokens
            self.cost.completion_tokens += answer.completion_tokens
            if self.settings.prices and self.cost.dollars is not None:
                self.cost.dollars += price(self.settings, answer.prompt_tokens, answer.completion_tokens)

    def _failed(self, error: CallError) -> None:
        with self._lock:
            self.cost.calls += error.calls
            self._failures.append(str(error))
            if not self._answered and len(self._failures) >= HOPELESS_CALLS:
                reasons = "; ".join(sorted(set(self._failures))[:3])
                names = f"{self.settings.prefix}URL and {self.settings.prefix}MODEL"
                raise WriterFailedError(
                    f"the {self.settings.role} gave no answer to {len(self._failures)} questions: {reasons}",
                    advice=f"Check {names}; what was answered is kept",
                )


def price(settings: ChatModelSettings, prompt_tokens: int, completion_tokens: int) -> float:
    """Dollars for so many tokens; 0 without prices."""
    read, written = settings.prices or (0.0, 0.0)
    return (prompt_tokens * read + completion_tokens * written) / 1e6
