"""Check that the sweep's prompt format is the one the original was trained in, on a few trained rows.

A model that is prompted in a format it was not trained in scores as if it had forgotten, before anything is unlearned.
So the likelihood of a few trained answers is compared between formats. Another format is clearly better if all of these
hold:

- Its mean log-probability of the answer tokens, including the end-of-turn token, is higher by at least `MARGIN_NATS`.
- The gain is at least `STANDARD_ERRORS` standard errors of the paired difference over rows.
- The model knows the answers in this format (`KNOWN_NATS`). This rules out an original that never saw the rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.evaluators.benchmarks.prompt_format import (
    FORMAT_KEY,
    OWN,
    PUBLISHED,
    PromptSettings,
    described,
    in_format,
)
from unlearn_sweep.evaluators.chat_text import ChatTemplateError
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode_many
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

ROWS_A_VIEW = 8
"""Number of trained rows to score per view (forget and retain)."""
MARGIN_NATS = 0.1
STANDARD_ERRORS = 3.0
KNOWN_NATS = math.log(0.5)
ASSISTANT = "You are a helpful assistant."
"""The most common system prompt in tuning. The empty, the published and the configured one are tried as well."""


class PromptFormatError(UserError):
    """The original model knows its rows clearly better in a prompt format other than the sweep's."""


class FormatScore(BaseModel):
    """Score of one prompt format.

    Attributes:
        words: description of the format.
        option: the `prompt` section of the sweep file that selects the format.
        logp: mean log-probability per answer token, in nats.
        gain: mean of the paired differences of `logp` to the sweep's format over rows, in nats.
        gain_se: standard error of `gain`.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    words: str
    option: dict[str, Any]
    logp: float
    gain: float = 0.0
    gain_se: float = 0.0

    @property
    def clearly_better(self) -> bool:
        return self.gain >= max(MARGIN_NATS, STANDARD_ERRORS * self.gain_se) and self.logp >= KNOWN_NATS


class ProbeResult(BaseModel):
    """Result of the probe: the sweep's format, then the others, best first. `rows` is 0 if there were none to score."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    rows: int
    configured: FormatScore | None = None
    others: list[FormatScore] = []

    @property
    def better(self) -> FormatScore | None:
        """The best other format if it is clearly better than the sweep's, else None."""
        return self.others[0] if self.others and self.others[0].clearly_better else None

    def sentence(self) -> str:
        """Return the problem and its fix as text; empty if no other format is clearly better."""
        best, own = self.better, self.configured
        if best is None or own is None:
            return ""
        written = json.dumps(best.option, ensure_ascii=False)
        return (
            f"the original model scores its trained rows better in another prompt format ({best.words}): mean "
            f"log-probability {best.logp:.2f} per token over {self.rows} rows, {own.logp:.2f} in the configured format "
            f"({own.words}); difference {best.gain:.2f}, standard error {best.gain_se:.2f}. Set prompt: {written}, or "
            "keep the configured format with prompt: {probe: off}"
        )


def probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    configured: PromptSettings,
    benchmark: Benchmark,
    plain: Benchmark,
) -> ProbeResult:
    """Score trained rows in the configured format and in others.

    Args:
        model: the original model.
        tokenizer: its tokenizer.
        name: name of the benchmark.
        configured: the sweep's prompt format.
        benchmark: the benchmark in the configured format.
        plain: the same benchmark with its own templates.
    """
    rows = [row for view in ("forget", "retain") for row in trained_questions(benchmark, view)]
    if not rows:
        return ProbeResult(rows=0)
    wanted = {row.row_id for row in rows}
    source = [row for view in ("forget", "retain") for row in plain.train[view] if row.row_id in wanted]
    found = {"configured": examples_of(tokenizer, benchmark.template, rows)}
    settings = {"configured": configured}
    for other in others(name, configured):
        template = in_format(plain, other).template
        try:
            examples = examples_of(tokenizer, template, source)
        except ChatTemplateError:
            continue
        if examples not in found.values():
            key = described(other, name)
            found[key], settings[key] = examples, other
    logps = {key: mean_logps(model, examples) for key, examples in found.items()}
    own = logps.pop("configured")
    scores = [compared(name, settings[key], logp, own) for key, logp in logps.items()]
    return ProbeResult(
        rows=len(rows),
        configured=FormatScore(words=described(configured, name), option=configured.as_option(), logp=mean(own)),
        others=sorted(scores, key=lambda score: -score.gain),
    )


def trained_questions(benchmark: Benchmark, view: str) -> list[Row]:
    """Return a few trained questions that use the benchmark's template, spread evenly over the view."""
    rows = [row for row in benchmark.train.get(view, ()) if row.kind == "question" and row.template is None]
    step = max(1, len(rows) // ROWS_A_VIEW)
    return rows[::step][:ROWS_A_VIEW]


def others(name: str, configured: PromptSettings) -> list[PromptSettings]:
    """Return the formats to compare: chat without and with several system prompts (also the sweep's), and plain."""
    published = PUBLISHED.get(name, OWN)
    systems = dict.fromkeys(["", published.system or "", configured.system or "", ASSISTANT])
    chats = [PromptSettings(format="chat", system=system, date=published.date) for system in systems]
    return [*chats, PromptSettings(format="plain")]


def examples_of(tokenizer: PreTrainedTokenizerBase, template: Template, rows: Sequence[Row]) -> list[Example]:
    return encode_many(tokenizer, [(row.row_id, row.question, row.answer) for row in rows], template)


def mean_logps(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    """Return the mean log-probability per token of each answer, in nats."""
    from unlearn_sweep.evaluators.likelihood import score

    return [float(found.logp.mean()) for found in score(model, examples, pad_id=0).scores]


def compared(name: str, settings: PromptSettings, logp: Sequence[float], own: Sequence[float]) -> FormatScore:
    gains = [one - other for one, other in zip(logp, own, strict=True)]
    middle = mean(gains)
    spread = sum((gain - middle) ** 2 for gain in gains) / max(1, len(gains) - 1)
    return FormatScore(
        words=described(settings, name),
        option=settings.as_option(),
        logp=mean(logp),
        gain=middle,
        gain_se=math.sqrt(spread / len(gains)),
    )


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def settings_in(params: dict[str, Any]) -> PromptSettings:
    """Return the prompt format from the benchmark options of a job."""
    return PromptSettings.model_validate(params.get(FORMAT_KEY, {}))
