"""Sum up what judging cost: calls, tokens and dollars over all finished stages. Reused stages are not counted again."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.store.records import Event

COUNTED = ("rows", "calls", "cached", "empty", "failed", "prompt_tokens", "completion_tokens")


class JudgingCost(BaseModel):
    """Cost of one kind of judgement, summed over the sweep. `dollars` is None if no price is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asked: str
    stages: int
    rows: int = 0
    calls: int = 0
    cached: int = 0
    empty: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float | None = None


def judging_costs(events: Iterable[Event]) -> list[JudgingCost]:
    """Sum the costs in the event log by kind of judgement. Only finished stages count: failed ones log no costs."""
    sums: dict[str, JudgingCost] = {}
    for event in events:
        if event.event != "stage_finished":
            continue
        for asked, cost in (event.data.get("judging") or {}).items():
            before = sums.get(asked, JudgingCost(asked=asked, stages=0))
            counts = {name: getattr(before, name) + int(cost.get(name) or 0) for name in COUNTED}
            spent = cost.get("dollars")
            dollars = before.dollars if spent is None else (before.dollars or 0.0) + float(spent)
            sums[asked] = JudgingCost(asked=asked, stages=before.stages + 1, dollars=dollars, **counts)
    return [sums[asked] for asked in sorted(sums)]


def judging_text(costs: Iterable[JudgingCost]) -> str | None:
    """Return the costs as one sentence; None if there are none."""
    parts = [_part(cost) for cost in costs]
    return "; ".join(parts) if parts else None


def _part(cost: JudgingCost) -> str:
    text = f"{cost.asked}: {cost.rows:,} rows"
    if not cost.calls:
        return text
    text += f", {cost.calls:,} calls ({cost.prompt_tokens:,} tokens read, {cost.completion_tokens:,} written"
    text += ")" if cost.dollars is None else f", ${cost.dollars:.4f})"
    return text if not cost.failed else f"{text}, {cost.failed:,} without a verdict"
