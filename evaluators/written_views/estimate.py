"""How many calls a view will take, and roughly what they cost, before any is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.written_views.prompts import answer_tokens, messages
from unlearn_sweep.evaluators.written_views.writers import Writer, price
from unlearn_sweep.evaluators.written_views.writing import Work

CHARACTERS_PER_TOKEN = 4.0
"""Of English; other scripts have more tokens."""
PAIR_TOKENS = 40
TURN_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Calls that are certain to be made (texts that are refused need more), and their tokens.

    `dollars` is None where a writer that has calls to make has no price.
    """

    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None

    def __str__(self) -> str:
        cost = "" if self.dollars is None else f", about ${self.dollars:,.2f}"
        tokens = f"{self.prompt_tokens:,} tokens read, {self.completion_tokens:,} written{cost}"
        return f"about {self.calls:,} calls ({tokens}), and more for texts that are refused"


def estimate(work: Work, writers: Mapping[str, Writer]) -> Estimate:
    """The first call for each text that no answer is kept for. Writers that are not named keep none."""
    calls = read = written = 0
    dollars: float | None = 0.0
    for name in work.view.writers:
        writer = writers.get(name)
        before = (read, written)
        for row in work.rows:
            for variation in range(1 if work.view.card.pairs else work.view.number):
                asked = messages(work.view, row, variation, work.forget)
                if writer is not None and writer.knows(asked, answer_tokens(work.view, row), variation):
                    continue
                calls += 1
                read += TURN_TOKENS + round(len(asked[0]["content"]) / CHARACTERS_PER_TOKEN)
                written += expected_tokens(work.view, row)
        if (read, written) != before:
            priced = writer is not None and writer.settings.prices is not None
            cost = (
                price(writer.settings, read - before[0], written - before[1]) if writer is not None and priced else None
            )
            dollars = None if cost is None or dollars is None else dollars + cost
    return Estimate(calls=calls, prompt_tokens=read, completion_tokens=written, dollars=dollars)


def expected_tokens(view: WrittenView, row: Row) -> int:
    """Tokens of an answer: as long as what it rewords, half of it for a summary, short pairs."""
    if view.card.pairs:
        return PAIR_TOKENS * view.number
    source = row.question if view.words_question else row.answer
    share = 0.5 if view.kind == "summary" else 1.2
    return max(8, round(share * len(source) / CHARACTERS_PER_TOKEN))
