"""A judge that thinks first, behind a server that refuses what such endpoints refuse. Oracle: what the server got."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.evaluators.judge.server import Reply, serving
from tests.evaluators.judge.test_judge import FAST, rows, truth
from unlearn_sweep.evaluators.chat_models.endpoint import without_thought
from unlearn_sweep.evaluators.judge.judge import Judge
from unlearn_sweep.evaluators.judge.questions import Asked
from unlearn_sweep.evaluators.judge.settings import judge_settings

NOT_TAKEN = ("max_tokens", "temperature")
GIVEN = {"UNLEARN_SWEEP_JUDGE_URL": "https://h/v1", "UNLEARN_SWEEP_JUDGE_MODEL": "m"}


def thinking(row: dict[str, Any], before: int) -> Reply:
    """The right verdict behind a thought that holds the other one."""
    found = truth(row, before).text
    return Reply(text=f"<think>\nIs it YES or NO? {'NO' if found == 'YES' else 'YES'}.\n</think>\n\n{found}")


def test_an_endpoint_that_refuses_fields_is_asked_in_its_form_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(thinking) as server, caplog.at_level(logging.WARNING):
        server.not_taken = NOT_TAKEN
        judge = Judge(replace(FAST, url=server.url, concurrency=1))
        verdicts, cost = judge.verdicts(rows(6))
        again, _ = Judge(replace(FAST, url=server.url)).verdicts([Asked("Who?", "Orla Beck", "answer 8")])
    assert [verdict.value for verdict in verdicts] == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert again[0].value == 1.0
    assert server.refusals == ["max_tokens", "temperature"], "each field is refused once, whoever asks later"
    last = server.bodies[-1]
    assert (last["max_completion_tokens"], "max_tokens" in last, "temperature" in last) == (4096, False, False)
    assert (cost.calls, cost.failed) == (8, 0)
    told = [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()]
    assert len(told) == 2
    assert "max_completion_tokens is sent" in told[0]


def test_many_calls_at_once_adapt_as_well() -> None:
    with serving(thinking) as server:
        server.not_taken = NOT_TAKEN
        verdicts, cost = Judge(replace(FAST, url=server.url, concurrency=8)).verdicts(rows(24))
    assert [verdict.value for verdict in verdicts] == [float(i % 2 == 0) for i in range(24)]
    assert cost.failed == 0


def test_a_judge_known_to_think_is_asked_so_at_once() -> None:
    settings = replace(FAST, reasoning=True, tokens=900, body='{"reasoning_effort": "low"}')
    with serving(thinking) as server:
        server.not_taken = NOT_TAKEN
        Judge(replace(settings, url=server.url)).verdicts(rows(2))
    assert not server.refusals
    assert {(body["max_completion_tokens"], body["reasoning_effort"]) for body in server.bodies} == {(900, "low")}
    assert Judge(settings).identity(Asked) != Judge(FAST).identity(Asked)


def test_another_bad_request_is_a_failure() -> None:
    with serving(lambda row, before: Reply(status=400, raw=b'{"error": "bad prompt"}')) as server:
        verdicts, cost = Judge(replace(FAST, url=server.url, failure_cap=1.0)).verdicts(rows(1))
    assert (verdicts[0].value, verdicts[0].reason, cost.calls) == (None, "HTTP 400", 1)


def test_a_field_that_is_refused_for_ever_ends() -> None:
    """A server that names the field whatever is sent."""
    with serving(lambda row, before: Reply(status=400, raw=b"max_tokens and temperature")) as server:
        verdicts, cost = Judge(replace(FAST, url=server.url, failure_cap=1.0)).verdicts(rows(1))
    assert (verdicts[0].value, verdicts[0].reason, cost.calls) == (None, "HTTP 400", 3)


def test_a_thought_without_end_says_what_to_do() -> None:
    with serving(lambda row, before: Reply(text="", finish="length")) as server:
        verdicts, _ = Judge(replace(FAST, url=server.url, failure_cap=1.0)).verdicts(rows(1))
    assert verdicts[0].reason == "thinking took all tokens: raise UNLEARN_SWEEP_JUDGE_TOKENS"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>NO</think>YES", "YES"),
        ("NO, wait.\n</think>\n\nYES", "YES"),
        ("YES", "YES"),
        ("<think>YES", "<think>YES"),
        ("<think>a</think>b<think>c</think> NO", "NO"),
    ],
)
def test_thoughts_are_left_out(text: str, left: str) -> None:
    assert without_thought(text) == left


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("REASONING", "yes", "must be 0 or 1"),
        ("TOKENS", "-3", "whole number of at least 1"),
        ("BODY", "low", "must be a JSON object"),
        ("BODY", "[1]", "must be a JSON object"),
        ("BODY", '{"temperature": 1}', "temperature is set by this tool"),
    ],
)
def test_mistakes_in_the_environment_are_named(name: str, value: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        judge_settings(GIVEN | {f"UNLEARN_SWEEP_JUDGE_{name}": value})
    assert str(error.value).startswith(f"UNLEARN_SWEEP_JUDGE_{name}: ")
    found = judge_settings(GIVEN | {"UNLEARN_SWEEP_JUDGE_REASONING": "1", "UNLEARN_SWEEP_JUDGE_TOKENS": "50"})
    assert (found.reasoning, found.tokens, found.body) == (True, 50, "{}")
