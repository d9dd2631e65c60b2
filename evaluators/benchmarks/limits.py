"""How long a row may be, in tokens of the run's tokenizer: one limit for training, metrics and attacks.

`limited` writes the limit into every template when a benchmark is loaded. `fitted` is called where the tokenizer is
known: running text that is longer is divided into passages at the end of a paragraph, sentence or word, so that none of
it is lost; every other row is cut at the limit when it is encoded, and `cut_rows` counts what that loses.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.passages import continuation_row, passages
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode_many

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_TOKENS = 1024
"""Longest row where neither the sweep file nor the benchmark's authors name a limit."""
UNLIMITED = 1 << 30
SPARE_TOKENS = 8
"""Room for begin and end tokens in the quick check that needs no tokenizer."""
CHAT_TOKENS = 256
"""The same with what a chat template writes around a question."""
CLOSER = 0.9
"""A passage is cut a little shorter than its mean number of characters per token allows."""


class DataParams(BaseModel):
    """Options that every benchmark has."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    max_tokens: int | None = Field(
        default=None,
        ge=16,
        description="longest row in tokens, question and answer together, or one passage of a text; "
        f"None: {DEFAULT_TOKENS}, or what the benchmark's authors read; never beyond the model's context",
    )

    requests: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="requests that the forget facts are divided into, for the sweep file's section requests; None: one",
    )

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        """The hub's data sets that are read with these options, each with its revision (None: the newest)."""
        return ()


class Cut(NamedTuple):
    """What is lost of one split: rows that are cut, their tokens beyond the limit, rows without room for an answer."""

    rows: int
    tokens: int
    unaskable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What the limit costs, by split. `texts` running texts become `passages` passages, of which nothing is lost."""

    splits: Mapping[str, Cut]
    texts: int
    passages: int

    def __str__(self) -> str:
        lines = [
            f"{cut.rows} rows {split} are cut at benchmark.max_tokens, {cut.tokens} tokens are lost"
            for split, cut in self.splits.items()
            if cut.rows
        ]
        if self.passages > self.texts:
            lines.append(f"{self.texts} texts are cut into {self.passages} passages, nothing of them is lost")
        return "; ".join(lines)


def limited(benchmark: Benchmark, max_tokens: int | None) -> Benchmark:
    """The same benchmark with a limit in every template: its own, else `max_tokens`, else the default."""
    limit = max_tokens or DEFAULT_TOKENS

    def template(own: Template) -> Template:
        return own if own.max_tokens is not None else replace(own, max_tokens=limit)

    return _with_templates(benchmark, template)


def within_context(benchmark: Benchmark, context: int | None) -> Benchmark:
    """The same benchmark with no limit beyond the model's longest sequence (None: it has none)."""
    if context is None:
        return benchmark

    def template(own: Template) -> Template:
        unlimited = own.max_tokens is None and context >= DEFAULT_TOKENS  # the encoder's own limit holds
        return own if unlimited else replace(own, max_tokens=min(own.max_tokens or context, context))

    return _with_templates(benchmark, template)


def fitted(benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, context: int | None) -> Benchmark:
    """The benchmark as this tokenizer and a model of `context` positions read it: running text divided to fit."""
    found = within_context(benchmark, context)

    def divide(rows: Sequence[Row]) -> list[Row]:
        return [part for row in rows for part in divided(row, tokenizer, found.template)]

    return replace(
        found,
        train={view: divide(rows) for view, rows in found.train.items()},
        evaluation={split: divide(rows) for split, rows in found.evaluation.items()},
    )


def divided(row: Row, tokenizer: PreTrainedTokenizerBase, template: Template) -> list[Row]:
    """A running text as rows that fit; the row itself where it fits, or is no running text. They share its group."""
    own = row.template or template
    limit = own.max_tokens or DEFAULT_TOKENS
    if not row.divisible or surely_fits(row, own, limit) or token_count(tokenizer, row, own) <= limit:
        return [row]
    whole = f"{row.question}{own.answer_lead if row.question else ''}{row.answer}"
    parts = _fitting(whole, limit - SPARE_TOKENS // 2, tokenizer, row, own)
    rows = []
    for place, part in enumerate(parts):
        name = f"{row.row_id}/{place:02d}"
        if row.kind == "continuation":
            made = continuation_row(name, row.split, part)
            if made is not None:
                lead = replace(own, answer_lead=made.template.answer_lead if made.template else own.answer_lead)
                rows.append(replace(made, group_id=row.group_id, form=row.form, template=lead, divisible=True))
        else:
            rows.append(replace(row, row_id=name, answer=part))
    return rows


def _fitting(text: str, limit: int, tokenizer: PreTrainedTokenizerBase, row: Row, template: Template) -> list[str]:
    """The text in pieces of at most `limit` tokens each, cut where a reader would pause."""
    tokens = token_count(tokenizer, replace(row, question="", answer=text), template)
    if tokens <= limit or len(text) < 2:
        return [text]
    characters = max(1, min(len(text) - 1, int(CLOSER * len(text) * limit / tokens)))
    return [piece for part in passages(text, characters) for piece in _fitting(part, limit, tokenizer, row, template)]


def surely_fits(row: Row, template: Template, limit: int) -> bool:
    """Whether a row fits under any tokenizer: a token is at least one byte of its text, a chat header some more."""
    text = template.prompt(row.question) + template.answer_lead + row.answer + (template.system or "")
    longest = max(len(text.encode()), len(unicodedata.normalize("NFKC", text).encode()))
    return longest + (CHAT_TOKENS if template.chat or template.auto else SPARE_TOKENS) <= limit


def token_count(tokenizer: PreTrainedTokenizerBase, row: Row, template: Template) -> int:
    """Tokens of prompt and answer, uncut."""
    example = _uncut(tokenizer, [row], [template])[0]
    return len(example.prompt_ids) + len(example.answer_ids)


def cut_rows(benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, context: int | None) -> Losses:
    """What is lost of each training view ("to train forget") and each judged split ("to judge forget")."""
    given, read = within_context(benchmark, context), fitted(benchmark, tokenizer, context)
    views = {f"to train {view}": rows for view, rows in read.train.items()}
    views |= {f"to judge {split}": rows for split, rows in read.evaluation.items()}
    texts, parts = (sum(row.divisible for rows in data.train.values() for row in rows) for data in (given, read))
    splits = {name: _cut(rows, tokenizer, read.template) for name, rows in views.items()}
    return Losses(splits=splits, texts=texts, passages=parts)


def doubtful_rows(benchmark: Benchmark, context: int | None) -> int:
    """Rows that may be too long for some tokenizer, counted without one."""
    read = within_context(benchmark, context)
    rows = [row for found in (*read.train.values(), *read.evaluation.values()) for row in found]
    templates = [row.template or read.template for row in rows]
    return sum(
        not surely_fits(row, own, own.max_tokens or DEFAULT_TOKENS) for row, own in zip(rows, templates, strict=True)
    )


def _cut(rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, template: Template) -> Cut:
    templates = [row.template or template for row in rows]
    doubtful = [
        (row, own)
        for row, own in zip(rows, templates, strict=True)
        if not surely_fits(row, own, own.max_tokens or DEFAULT_TOKENS)
    ]
    examples = _uncut(tokenizer, [row for row, _ in doubtful], [own for _, own in doubtful])
    lost, unaskable = [], []
    for (row, own), example in zip(doubtful, examples, strict=True):
        limit = own.max_tokens or DEFAULT_TOKENS
        if len(example.prompt_ids) >= limit and row.kind != "instruction":
            unaskable.append(row.row_id)
        lost.append(max(0, len(example.prompt_ids) + len(example.answer_ids) - limit))
    return Cut(rows=sum(count > 0 for count in lost), tokens=sum(lost), unaskable=tuple(unaskable))


def _uncut(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], templates: Sequence[Template]) -> list[Example]:
    asked = [(row.row_id, row.question, row.answer) for row in rows]
    return encode_many(tokenizer, asked, [replace(own, max_tokens=UNLIMITED) for own in templates])


def _with_templates(benchmark: Benchmark, change: Callable[[Template], Template]) -> Benchmark:
    """The same benchmark with each of its templates changed."""
    changed: dict[Template, Template] = {}

    def rows_with(rows: Sequence[Row]) -> list[Row]:
        for row in rows:
            if row.template is not None and row.template not in changed:
                changed[row.template] = change(row.template)
        return [row if row.template is None else replace(row, template=changed[row.template]) for row in rows]

    return replace(
        benchmark,
        template=change(benchmark.template),
        train={view: rows_with(rows) for view, rows in benchmark.train.items()},
        evaluation={split: rows_with(rows) for split, rows in benchmark.evaluation.items()},
    )
