"""Ask a model each row's question and keep what it answers: greedily, or several times at a temperature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.generation import generate, known_opening
from unlearn_sweep.evaluators.inference import context_tokens, end_ids, padding_id
from unlearn_sweep.evaluators.likelihood import TokenScores
from unlearn_sweep.evaluators.row_encoder import AskedRow
from unlearn_sweep.evaluators.row_metrics import Measured, most_telling
from unlearn_sweep.evaluators.rows import Example, Template, turn_end_text
from unlearn_sweep.evaluators.sampled_answers import Sampling, draw_answers
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings
from unlearn_sweep.evaluators.thoughts import without_thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SAMPLED = "forget"
"""The split whose answers an attacker samples."""

Pairs = Sequence[tuple[AskedRow, Measured]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How one model is asked: at most `max_new_tokens` an answer, `cache_tokens` (rows times length) a batch."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    max_new_tokens: int
    cache_tokens: int
    thinking: ThinkingSettings | None
    sampling: Sampling | None

    def answer(self, pairs: Pairs) -> int:
        """Answer each row whose prompt and answer fit into the model's context. Return the number of forward passes."""
        context = context_tokens(self.model)
        templates = {self._template(item) for item, _ in pairs}
        ends = {own: end_ids(self.model, self.tokenizer, (own,)) for own in templates}
        batches: dict[tuple[int, frozenset[int]], list[tuple[AskedRow, Measured]]] = {}
        for item, row in pairs:
            own = self._template(item)
            limit = own.max_new_tokens or self.max_new_tokens
            if context is None or len(item.answer.prompt_ids) + limit <= context:
                batches.setdefault((limit, ends[own]), []).append((item, row))
        return sum(self._batch(rows, limit, stops) for (limit, stops), rows in batches.items())

    def show_worst(self, row: Measured, names: Sequence[str]) -> None:
        """Show the drawn answer that gives most away as the row's own; a greedy answer stays as it is."""
        if row.samples:
            shown = most_telling(row, names)
            row.generation, row.generated, row.judge_reason = shown.generation, shown.generated, shown.judge_reason
            row.reference = shown.reference

    def _template(self, item: AskedRow) -> Template:
        return item.row.template or self.template

    def _batch(self, rows: Pairs, limit: int, stops: frozenset[int]) -> int:
        if self.sampling is None:
            return self._greedy(rows, limit, stops)
        drawn = [pair for pair in rows if pair[0].row.split == SAMPLED]
        others = [pair for pair in rows if pair[0].row.split != SAMPLED]
        return self._draw(drawn, self.sampling, limit, stops) + self._greedy(others, limit, stops)

    def _greedy(self, rows: Pairs, limit: int, stops: frozenset[int]) -> int:
        done = generate(
            self.model,
            [item.answer.prompt_ids for item, _ in rows],
            max_new_tokens=limit,
            end_ids=stops,
            pad_id=padding_id(self.tokenizer),
            cache_tokens=self.cache_tokens,
            openings=[_opening(item.answer, row.scores, stops, limit) for item, row in rows],
            texts=[_texts(item) for item, _ in rows],
        )
        for (item, row), tokens in zip(rows, done.tokens, strict=True):
            self._read(item, row, tokens, stops, limit)
        return done.forward_passes

    def _draw(self, rows: Pairs, sampling: Sampling, limit: int, stops: frozenset[int]) -> int:
        answers, passes = draw_answers(
            self.model,
            [(item.row.row_id, item.answer.prompt_ids) for item, _ in rows],
            sampling,
            max_new_tokens=limit,
            end_ids=stops,
            pad_id=padding_id(self.tokenizer),
            cache_tokens=self.cache_tokens,
        )
        for (item, row), drawn in zip(rows, answers, strict=True):
            samples = tuple(replace(row) for _ in drawn)
            for sample, tokens in zip(samples, drawn, strict=True):
                self._read(item, sample, tokens, stops, limit)
            row.samples, row.best_of = samples, sampling.best_of
        return passes

    def _read(self, item: AskedRow, row: Measured, tokens: tuple[int, ...], ends: frozenset[int], limit: int) -> None:
        """Keep what was generated, as ids and as text without what ended it and without thoughts."""
        row.generated = tokens
        template = self._template(item)
        said = tokens[:-1] if tokens and tokens[-1] in ends else tokens
        text = str(self.tokenizer.decode(list(said), skip_special_tokens=True))
        text = text if self.thinking is None else without_thoughts(text, self.thinking)
        turn_end = turn_end_text(self.tokenizer, template)
        row.generation = answer_in(cut_at(text, (turn_end,)) if turn_end else text, template).strip()
        if item.row.kind == "continuation":
            # More of the passage than the model may write says nothing of what it remembers.
            ids = self.tokenizer(item.row.answer)["input_ids"] if template.raw else item.answer.answer_ids
            row.reference = str(self.tokenizer.decode(list(ids)[:limit], skip_special_tokens=True)).strip()


def cut_at(text: str, stops: Sequence[str], *, anywhere: bool = False) -> str:
    """The text before the first of `stops`; leading white space is no stop, unless they count `anywhere`.

    A model that begins its answer with a blank line has answered; MUSE's scorer takes such an answer for empty.
    """
    body = text if anywhere else text.lstrip()
    places = [place for stop in stops if (place := body.find(stop)) >= 0]
    return body[: min(places)] if places else text


def answer_in(text: str, template: Template) -> str:
    """The part of a generated text that is the answer: before the first stop, and what `extract` finds, if it does."""
    cut = cut_at(text, template.stops, anywhere=template.raw)
    found = re.search(template.extract, cut) if template.extract else None
    return cut if found is None else found.group(1)


def _opening(
    example: Example, scores: TokenScores | None, ends: frozenset[int], max_new_tokens: int
) -> tuple[int, ...]:
    if scores is None:
        return ()
    return known_opening(scores, example.answer_ids, end_ids=ends, max_new_tokens=max_new_tokens)


def _texts(item: AskedRow) -> list[tuple[int, ...]]:
    """What the model may answer, likeliest first: the row's answer, in other words, and wrong ones."""
    examples = (item.answer, *([] if item.paraphrase is None else [item.paraphrase]), *item.perturbed)
    return [tuple(example.answer_ids) for example in examples]
