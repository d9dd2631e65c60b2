"""Verdicts of one judge on many rows: one row a call, strict verdicts, and no verdict is never a verdict.

A failed call or an unreadable verdict leaves the row without a value and says why: were it counted as "no", an outage
would look like perfect forgetting. Above a share of such rows nothing is reported at all.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from unlearn_sweep.evaluators.chat_models.endpoint import CallError, Completion, complete
from unlearn_sweep.evaluators.chat_models.settings import ChatModelSettings
from unlearn_sweep.evaluators.judge.kept_verdicts import KeptVerdicts
from unlearn_sweep.evaluators.judge.questions import Question
from unlearn_sweep.user_error import UserError


class JudgeFailedError(UserError):
    """Too many rows are without a verdict for the rest to mean anything; the message has the counts and reasons."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says in [0, 1]: 1 for yes, or for the first of two; None with the reason why nobody knows."""

    value: float | None
    reason: str | None = None


@dataclass(slots=True)
class Cost:
    """What judging took. `cached` counts questions that were judged before, `empty` those that need no judge."""

    rows: int = 0
    calls: int = 0
    cached: int = 0
    empty: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    def plus(self, other: Cost) -> Cost:
        """Return the sum of two costs. Dollars are None only if neither has a price."""
        prices = [cost.dollars for cost in (self, other) if cost.dollars is not None]
        reasons = {
            name: self.reasons.get(name, 0) + other.reasons.get(name, 0) for name in {**self.reasons, **other.reasons}
        }
        counts = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__slots__
            if name not in ("dollars", "reasons")
        }
        return Cost(**counts, dollars=sum(prices) if prices else None, reasons=reasons)


class Judge:
    """Asks one judge, an endpoint or a model of this process; safe to use from several threads."""

    def __init__(self, settings: ChatModelSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._kept = KeptVerdicts(settings.cache)

    def identity(self, question: type[Question]) -> str:
        """What decides a verdict besides the row: model, prompt, fields sent along. It holds no key and no address."""
        more = f":{self.settings.body}" if self.settings.body != "{}" else ""
        return f"{self.settings.model}:{question.prompt_id}{more}"

    def verdicts(self, asked: Sequence[Question]) -> tuple[list[Verdict], Cost]:
        """A verdict for each question, in order; equal ones are asked once.

        Raises:
            JudgeFailedError: more than the settings' share of them failed.
            EndpointUnusableError: the endpoint refuses every call.
        """
        cost = Cost(rows=len(asked), dollars=0.0 if self.settings.prices else None)
        found: dict[Question, Verdict] = {}
        for item in dict.fromkeys(asked):
            known = self._recall(item)
            if known is not None:
                found[item] = known
        cost.empty = sum(item.settled() is not None for item in asked)
        cost.cached = sum(item in found for item in asked) - cost.empty
        open_items = [item for item in dict.fromkeys(asked) if item not in found]
        found |= self._ask(open_items, Counter(asked), len(asked), cost)
        reasons = Counter(str(found[item].reason) for item in asked if found[item].value is None)
        cost.failed, cost.reasons = reasons.total(), dict(reasons)
        return [found[item] for item in asked], cost

    def _ask(
        self, items: Sequence[Question], weights: Counter[Question], rows: int, cost: Cost
    ) -> dict[Question, Verdict]:
        """Ask about each item, at most `concurrency` at once; gives up as soon as too many have failed."""
        failed: Counter[str] = Counter()
        gone = threading.Event()

        def one(item: Question) -> Verdict:
            if gone.is_set():
                return Verdict(None, "not asked")
            verdict = self._ask_once(item, weights[item], cost)
            if verdict.value is None:
                with self._lock:
                    failed[str(verdict.reason)] += weights[item]
                    if failed.total() > self.settings.failure_cap * rows:
                        gone.set()
            return verdict

        with ThreadPoolExecutor(max_workers=self.settings.concurrency, thread_name_prefix="judge") as pool:
            waiting: list[Future[Verdict]] = [pool.submit(one, item) for item in items]
            try:
                wait(waiting, return_when=FIRST_EXCEPTION)
                broken = next((future for future in waiting if future.done() and future.exception()), None)
            finally:
                gone.set()  # whoever has not begun by now is not to begin
                pool.shutdown(cancel_futures=True)
        if broken is not None:
            broken.result()
        if failed.total() > self.settings.failure_cap * rows:
            reasons = "; ".join(f"{reason}: {count}" for reason, count in failed.most_common(3))
            raise JudgeFailedError(
                f"no verdict for {failed.total()} or more of {rows} answers, and at most "
                f"{self.settings.failure_cap:.0%} may be without one ({reasons})"
            )
        return {item: future.result() for item, future in zip(items, waiting, strict=True)}

    def _ask_once(self, item: Question, weight: int, cost: Cost) -> Verdict:
        """Ask, unless another thread or process has asked the same since: what it was told counts as cached."""
        with self._kept.asking(self._key(item)):
            known = self._recall(item)
            if known is None:
                return self._call(item, cost)
        with self._lock:
            cost.cached += weight
        return known

    def _call(self, item: Question, cost: Cost) -> Verdict:
        try:
            answer = self._complete(item)
        except CallError as error:
            with self._lock:
                cost.calls += error.calls
            return Verdict(None, str(error))
        with self._lock:
            cost.calls += answer.calls
            cost.prompt_tokens += answer.prompt_tokens
            cost.completion_tokens += answer.completion_tokens
            if self.settings.prices and cost.dollars is not None:
                read, written = self.settings.prices
                cost.dollars += (answer.prompt_tokens * read + answer.completion_tokens * written) / 1e6
        value = item.verdict(answer.text)
        if value is None:
            return Verdict(None, f"an answer that is neither {item.expected}")
        self._kept.keep(self._key(item), value, self.identity(type(item)))
        return Verdict(value)

    def _complete(self, item: Question) -> Completion:
        if self.settings.folder is not None:
            from unlearn_sweep.evaluators.chat_models.local_model import local_model

            return local_model(self.settings.folder).complete(item.messages(), self.settings.tokens)
        return complete(self.settings, item.messages())

    # --- what was judged before -------------------------------------------------------------------------------------

    def _recall(self, item: Question) -> Verdict | None:
        settled = item.settled()
        value = settled if settled is not None else self._kept.recall(self._key(item))
        return None if value is None else Verdict(value)

    def _key(self, item: Question) -> str:
        parts = json.dumps([self.identity(type(item)), *item.parts])
        return hashlib.sha256(parts.encode()).hexdigest()
