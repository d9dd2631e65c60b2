"""Lay the published numbers of a paper beside a sweep's own: value, error, difference, and whether they compare.

A number is comparable if the sweep ran what the paper's file says: model, rows, prompt, judge, and settings of the
method, its training and its attack. Every reason why not is named; none of them hides the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.evaluators.paper_cards import Line, MeanOf, PaperCard, Reading
from unlearn_sweep.evaluators.papers import PublishedNumber
from unlearn_sweep.sweeps.paper.values import OwnValue

NO_LINE = "the paper's file runs no such method"
NO_READING = "no metric here answers to it"
NO_TRIAL = "no complete trial of the sweep runs this line"
RECALLED = "the published number is recalled and not verified (grade R)"


class Compared(BaseModel):
    """One published number beside one's own. Values and errors are in the published unit.

    Attributes:
        published: The number as it is printed.
        trial: Number of the trial; None for original and gold, or if there is none.
        here: Own value over all rows; None with a reason in `why_not`.
        error: Bootstrap standard error of `here` over facts; None if it has none.
        difference: `here` minus the published value; None without `here`.
        rows: Rows, or facts of a metric over whole splits, behind `here`.
        comparable: Whether both measure the same at the same settings.
        why_not: Every reason why they do not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    published: PublishedNumber
    trial: int | None = None
    here: float | None = None
    error: float | None = None
    difference: float | None = None
    rows: int = 0
    comparable: bool = False
    why_not: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The model of a sweep behind a published line: its trial, and the reasons that hold for all of its numbers.

    `read` returns the own value of a reading, `reasons` what differs for one reading beyond that.
    """

    trial: int | None
    why_not: Sequence[str]
    read: Callable[[Reading | MeanOf], OwnValue]
    reasons: Callable[[Reading], Sequence[str]] = field(default=lambda _: ())


def cells(card: PaperCard, numbers: Sequence[PublishedNumber]) -> list[PublishedNumber]:
    """Return the published numbers of a card, in the order of the table."""
    wanted = (card.paper, card.benchmark, card.model)
    return [number for number in numbers if (number.paper, number.benchmark, number.model) == wanted]


def compare(
    card: PaperCard, numbers: Sequence[PublishedNumber], source_of: Callable[[Line], Source | None]
) -> list[Compared]:
    """Return one comparison for each number of the card.

    Args:
        source_of: The model of the sweep behind a line; None if no trial runs it.
    """
    found = {name: source_of(line) for name, line in card.lines.items()}
    return [_compare(card, number, found) for number in cells(card, numbers)]


def _compare(card: PaperCard, number: PublishedNumber, sources: dict[str, Source | None]) -> Compared:
    reading = card.readings.get(number.metric)
    if number.method not in sources or reading is None:
        return Compared(published=number, why_not=[NO_LINE if number.method not in sources else NO_READING])
    source = sources[number.method]
    if source is None:
        return Compared(published=number, why_not=[NO_TRIAL])
    own = source.read(reading)
    readings = reading.readings if isinstance(reading, MeanOf) else (reading,)
    reasons = [*source.why_not]
    reasons += [card.unknown] if card.unknown and source.trial is not None else []
    reasons += [RECALLED] if number.grade == "R" else []
    for part in readings:
        reasons += [*([part.differs] if part.differs else ()), *source.reasons(part)]
    if own.value is None:
        reasons = [f"no value here: {own.reason}", *reasons]
    why_not = list(dict.fromkeys(reasons))
    return Compared(
        published=number,
        trial=source.trial,
        here=own.value,
        error=own.error,
        difference=None if own.value is None else own.value - number.value,
        rows=own.rows,
        comparable=not why_not,
        why_not=why_not,
    )
