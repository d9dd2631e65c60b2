"""Win rate. Oracles: the rule a real server judges by, and the order swap's own algebra."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.evaluators import tiny_models
from tests.evaluators.judge.server import Reply, serving
from unlearn_sweep.evaluators.chat_models.settings import ChatModelSettings
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.external_judges import summed, verdict_identity
from unlearn_sweep.evaluators.judge.judge import Cost, Judge
from unlearn_sweep.evaluators.judge.questions import Compared
from unlearn_sweep.evaluators.rows import Row, Template

FAST = ChatModelSettings(url="", model="judge-2025-01-01", timeout_s=10.0, attempts=2, first_wait_s=0.01)
ROWS = [
    Row(
        row_id=f"r{i}",
        group_id=f"g{i}",
        split="retain",
        question=f"Tell me of tower {i}.",
        answer="",
        kind="instruction",
    )
    for i in range(4)
]
HIDDEN = Row(row_id="f", group_id="f", split="forget", question="Who wrote volume 3?", answer="Anna")


def longer(row: dict[str, Any], before: int) -> Reply:
    """A judge who prefers the longer one."""
    first, second = len(row["A"]), len(row["B"])
    return Reply(text="TIE" if first == second else "A" if first > second else "B")


def win_rates(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, rule: Any, opponents: dict[str, str] | None
) -> tuple[Any, list[dict[str, Any]]]:
    with serving(rule) as server:
        monkeypatch.setenv("UNLEARN_SWEEP_JUDGE_URL", server.url)
        monkeypatch.setenv("UNLEARN_SWEEP_JUDGE_MODEL", "m")
        found = evaluate_rows(
            tiny_models.llama().eval(),
            tokenizer,
            [*ROWS, HIDDEN],
            metrics=["win_rate"],
            template=Template(),
            max_new_tokens=6,
            opponents=opponents,
        )
    return found, [json.loads(body["messages"][1]["content"]) for body in server.bodies]


def test_every_answer_is_compared_in_both_orders(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {"r0": "x", "r1": "a far longer answer than any of six tokens can be", "r2": "y", "f": "z"}
    found, asked = win_rates(tiny_tokenizer, monkeypatch, longer, others)
    table = found.table.set_index("row_id")
    assert table["win_rate"].tolist()[:3] == [1.0, 0.0, 1.0]
    assert table["win_rate"].isna().tolist() == [False, False, False, True, True], (
        "r3 has no opponent, f is to be forgotten"
    )
    pairs = {(row["A"], row["B"]) for row in asked}
    assert len(asked) == 6
    assert pairs == {(second, first) for first, second in pairs}
    assert found.judging["comparison"].calls == 6


def test_a_judge_who_takes_the_first_gives_a_half(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {row.row_id: "another answer" for row in ROWS}
    found, _ = win_rates(tiny_tokenizer, monkeypatch, lambda row, before: Reply(text="A"), others)
    assert found.table["win_rate"].dropna().tolist() == [0.5] * 4


def test_the_original_against_itself_is_a_half_without_a_call(
    tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, asked = win_rates(tiny_tokenizer, monkeypatch, longer, None)
    assert found.table["win_rate"].dropna().tolist() == [0.5] * 4
    assert asked == []


def test_a_call_that_fails_leaves_no_value_and_is_no_loss(tmp_path: Path) -> None:
    """One order answered, the other not: nothing can be said."""
    asked = [Compared("Tell.", f"long answer {i}", "short") for i in range(10)]
    with serving(lambda row, before: Reply(text="C" if row["A"].endswith("3") else "A")) as server:
        settings = replace(FAST, url=server.url, failure_cap=0.2, cache=tmp_path)
        verdicts, cost = Judge(settings).verdicts(asked)
        again, cached = Judge(settings).verdicts(asked)
    assert verdicts[3].value is None
    assert verdicts[3].reason == "an answer that is neither A nor B nor TIE"
    assert [verdict.value for verdict in verdicts].count(1.0) == 9
    assert (cost.failed, cached.cached) == (1, 9)
    assert again[:3] == verdicts[:3]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("A", 1.0), (" b.\n", 0.0), ("**TIE**", 0.5), ("A is better", None), ("", None), ("AB", None), ("C", None)],
)
def test_only_a_plain_preference_is_one(text: str, verdict: float | None) -> None:
    assert Compared("x", "y", "z").verdict(text) == verdict


@given(st.text(), st.text())
def test_what_needs_no_judge_is_fair_to_both(first: str, second: str) -> None:
    there, back = Compared("x", first, second).settled(), Compared("x", second, first).settled()
    assert (there is None) == (back is None)
    assert there is None or back is None or there + back == 1.0


def test_the_identity_is_that_of_the_comparisons_own_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARN_SWEEP_JUDGE_URL", "https://judge.example/v1")
    monkeypatch.setenv("UNLEARN_SWEEP_JUDGE_MODEL", "m")
    both = verdict_identity(["win_rate", "judge_accuracy"])
    assert set(both) == {"judge", "comparison"}
    assert both["judge"] != both["comparison"]


def test_costs_add_up() -> None:
    one = Cost(rows=2, calls=1, reasons={"HTTP 500": 1})
    other = Cost(rows=3, calls=3, dollars=0.5, reasons={"HTTP 500": 1, "stall": 2})
    expected = Cost(rows=5, calls=4, dollars=0.5, reasons={"HTTP 500": 2, "stall": 2})
    assert summed([{"judge": one}, {}, {"judge": other}]) == {"judge": expected}
    assert summed([{"judge": one}, {"entailment": Cost(rows=1)}]) == {"judge": one, "entailment": Cost(rows=1)}
    assert one.plus(one).dollars is None
