"""Objectives against requests: what each trial reached after each of them, and the front at that point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.evaluators.front import non_dominated


class TrialAfter(BaseModel):
    """One trial after a request, on both halves of the rows. `rob` is known after the last request alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    method: str
    ue: float | None
    ut: float | None
    rob: float | None
    report_ue: float | None
    report_ut: float | None
    on_front: bool


class AfterRequest(BaseModel):
    """All complete trials after the first `after` requests.

    `on_front` of a trial is the front of (UE, UT) at that point, and after the last request the front of the sweep.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int
    last: bool
    trials: list[TrialAfter]


def after_requests(
    trials: Sequence[TrialRecord], after: Sequence[int] | None, members: Iterable[str]
) -> list[AfterRequest]:
    """Return the trials after each request that was measured; empty for a sweep without requests."""
    if not after:
        return []
    complete = [trial for trial in trials if trial.state == "complete"]
    return [*(_earlier(complete, number) for number in after[:-1]), _last(complete, after[-1], frozenset(members))]


def request_text(lines: Sequence[AfterRequest], number: int) -> str:
    """Return UE and UT of a trial after each request, on rows that the search never saw; empty without requests."""
    found = [
        f"{line.after}: UE {_two(trial.report_ue)} UT {_two(trial.report_ut)}"
        for line in lines
        for trial in line.trials
        if trial.number == number
    ]
    return f"after requests {'; '.join(found)}" if found else ""


def _earlier(trials: Sequence[TrialRecord], number: int) -> AfterRequest:
    scored = [(trial, score) for trial in trials for score in trial.requests if score.after == number]
    points = [(score.ue, score.ut) for _, score in scored]
    whole = [place for place, (ue, ut) in enumerate(points) if ue is not None and ut is not None]
    best = non_dominated([(points[place][0] or 0.0, points[place][1] or 0.0) for place in whole]) if whole else []
    front = {place for place, there in zip(whole, best, strict=True) if there}
    found = [
        TrialAfter(
            number=trial.number,
            method=trial.method,
            ue=score.ue,
            ut=score.ut,
            rob=None,
            report_ue=score.report_ue,
            report_ut=score.report_ut,
            on_front=place in front,
        )
        for place, (trial, score) in enumerate(scored)
    ]
    return AfterRequest(after=number, last=False, trials=found)


def _last(trials: Sequence[TrialRecord], number: int, members: frozenset[str]) -> AfterRequest:
    found = [
        TrialAfter(
            number=trial.number,
            method=trial.method,
            ue=trial.ue,
            ut=trial.ut,
            rob=trial.rob,
            report_ue=trial.report_ue,
            report_ut=trial.report_ut,
            on_front=trial.key in members,
        )
        for trial in trials
    ]
    return AfterRequest(after=number, last=True, trials=found)


def _two(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.2f}"
