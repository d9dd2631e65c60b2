"""Published numbers as data, to lay one's own beside them: `papers.csv`, one number a line, with where it is from.

`grade` says how sure a number is: C read in the authors' code or documents, P read in the paper itself (figures among
them), S from somebody else's summary, R recalled and not verified. Numbers of different grades do not belong into one
ranking. `direction` is where unlearning did well: lower, higher, zero, or gold (as near as can be to the gold model's).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

GRADES = {
    "C": "read in the authors' code or documents",
    "P": "read in the paper, figures among it",
    "S": "from a third party's summary",
    "R": "recalled, not verified",
}


class PublishedNumber(BaseModel):
    """One number of one paper, as it is printed there, in the paper's own unit."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    paper: str = Field(min_length=1)
    benchmark: str = Field(min_length=1)
    model: str = Field(min_length=1)
    method: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    value: float = Field(allow_inf_nan=False)
    unit: str = Field(min_length=1)
    direction: Literal["lower", "higher", "zero", "gold"]
    grade: Literal["C", "P", "S", "R"]
    note: str


def published_numbers(
    *, benchmark: str | None = None, method: str | None = None, paper: str | None = None
) -> list[PublishedNumber]:
    """All numbers, in the order of the file; limited to those whose names contain what is given, case aside."""
    text = files("unlearn_sweep.evaluators").joinpath("papers.csv").read_text(encoding="utf-8")
    numbers = [PublishedNumber.model_validate(row) for row in csv.DictReader(text.splitlines())]
    wanted = {"benchmark": benchmark, "method": method, "paper": paper}
    return [number for number in numbers if all(_contains(number, name, part) for name, part in wanted.items())]


def _contains(number: PublishedNumber, name: str, part: str | None) -> bool:
    return part is None or part.lower() in str(getattr(number, name)).lower()


def papers(numbers: Sequence[PublishedNumber]) -> list[str]:
    """The papers these numbers are from, each once."""
    return list(dict.fromkeys(number.paper for number in numbers))
