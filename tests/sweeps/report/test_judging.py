"""What judging cost. Oracle: sums by hand."""

from __future__ import annotations

from collections.abc import Mapping

from unlearn_sweep.engine.store.records import Event
from unlearn_sweep.sweeps.report.judging import JudgingCost, judging_costs, judging_text


def finished(**judging: Mapping[str, object]) -> Event:
    return Event(time=0.0, event="stage_finished", data={"judging": judging})


def test_costs_of_finished_stages_add_up_by_kind_of_judgement() -> None:
    paid = {"rows": 4, "calls": 3, "cached": 1, "prompt_tokens": 90, "completion_tokens": 6, "dollars": 0.25}
    failed = {"rows": 2, "calls": 2, "failed": 1, "dollars": 0.5, "reasons": {"HTTP 500": 1}}
    events = [
        finished(judge=paid, entailment={"rows": 7}),
        finished(judge=failed),
        Event(time=0.0, event="stage_failed", data={"judging": {"judge": paid}}),
    ]

    assert judging_costs(events) == [
        JudgingCost(asked="entailment", stages=1, rows=7),
        JudgingCost(
            asked="judge",
            stages=2,
            rows=6,
            calls=5,
            cached=1,
            failed=1,
            prompt_tokens=90,
            completion_tokens=6,
            dollars=0.75,
            reasons={"HTTP 500": 1},
        ),
    ]


def test_a_price_of_zero_is_a_price_and_no_price_is_none() -> None:
    free, unpriced = {"rows": 1, "dollars": 0.0}, {"rows": 1}

    assert judging_costs([finished(judge=free), finished(judge=unpriced)])[0].dollars == 0.0
    assert judging_costs([finished(judge=unpriced)])[0].dollars is None


def test_the_sentence_names_rows_calls_tokens_and_dollars() -> None:
    cost = JudgingCost(asked="judge", stages=1, rows=1200, calls=3, prompt_tokens=90, completion_tokens=6, dollars=0.25)

    text = judging_text([cost, JudgingCost(asked="entailment", stages=1, rows=7)])

    assert text == "judge: 1,200 rows, 3 calls (90 tokens read, 6 written, $0.2500); entailment: 7 rows"
    assert judging_text([]) is None
