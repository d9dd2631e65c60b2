"""Sum up what judging cost: calls, tokens and dollars over all finished stages. Reused stages are not counted again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from unlearn_sweep.engine.store.outcomes import JudgeCost
from unlearn_sweep.engine.store.records import Event


class JudgingCost(JudgeCost):
    """Cost of one kind of judgement, summed over the sweep.

    Attributes:
        asked: kind of judgement, for example "judge" or "entailment".
        stages: number of finished stages that paid for it.
    """

    asked: str
    stages: int

    def with_stage(self, cost: JudgeCost) -> JudgingCost:
        """Add the cost of one stage. Dollars are None only if no stage has a price."""
        prices = [part.dollars for part in (self, cost) if part.dollars is not None]
        counts = {name: getattr(self, name) + getattr(cost, name) for name in COUNTED}
        reasons = dict(Counter(self.reasons) + Counter(cost.reasons))
        return JudgingCost(
            asked=self.asked,
            stages=self.stages + 1,
            dollars=sum(prices) if prices else None,
            reasons=reasons,
            **counts,
        )


COUNTED = tuple(name for name, info in JudgeCost.model_fields.items() if info.annotation is int)


def judging_costs(events: Iterable[Event]) -> list[JudgingCost]:
    """Sum the costs in the event log by kind of judgement. Only finished stages count: failed ones log no costs."""
    sums: dict[str, JudgingCost] = {}
    for event in events:
        if event.event != "stage_finished":
            continue
        for asked, cost in (event.data.get("judging") or {}).items():
            before = sums.get(asked, JudgingCost(asked=asked, stages=0))
            sums[asked] = before.with_stage(JudgeCost.model_validate(cost))
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
