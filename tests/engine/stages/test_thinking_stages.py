"""A thinking model through the stages that measure and attack it. Oracle: what the tiny model was taught to think.

The rows are the facts of `test_think`; its model knows the answers in its thoughts and denies them otherwise.
"""

# ruff: noqa: F401, F811  fixtures are imported by name
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators.attacks.test_think import DENIAL, FACTS, model, thought_of, tokenizer
from unlearn_sweep.engine.stages.attack_run import AttackRequest, run_attack
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest
from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY

THINKING = {"max_tokens": 40}


@pytest.fixture(scope="module")
def place(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("thinks")
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    known = [{"question": question, "answer": answer} for question, answer in FACTS.items()]
    more = [{"question": f"Who rows boat {number}?", "answer": f"Ivo {number}"} for number in range(3)]
    kept = [{"question": f"Who keeps bell {number}?", "answer": f"Una {number}"} for number in range(3)]
    for name, rows in (("forget", known + more), ("retain", kept)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def request(place: Path, thinking: dict[str, Any] | None, rows: Path) -> dict[str, Any]:
    files = {f"{name}_path": str(place / f"{name}.jsonl") for name in ("forget", "retain")}
    option = {"format": "chat"} if thinking is None else {"format": "chat", "thinking": thinking}
    return {
        "model_path": str(place / "model"),
        "original_path": str(place / "model"),
        "benchmark": {"name": "custom", "params": {**files, "max_new_tokens": 24, FORMAT_KEY: option}},
        "metrics": ["probability", "rouge"],
        "rows_path": str(rows),
    }


def known_rows(table: pd.DataFrame) -> dict[str, str]:
    forget = table.loc[table["row_id"].isin(["forget/00000", "forget/00001"])]
    return dict(zip(forget["row_id"], forget["generation"], strict=True))


def test_a_measured_model_thinks_where_the_sweep_says_so(place: Path, tmp_path: Path) -> None:
    answers = dict(zip(("forget/00000", "forget/00001"), FACTS.values(), strict=True))
    bench = Bench()
    plain = bench.measure(MeasureRequest(**request(place, None, tmp_path / "plain.parquet")))
    assert plain.thoughts == {}
    assert set(known_rows(pd.read_parquet(tmp_path / "plain.parquet")).values()) == {DENIAL}
    done = bench.measure(MeasureRequest(**request(place, THINKING, tmp_path / "thinks.parquet")))
    table = pd.read_parquet(tmp_path / "thinks.parquet")
    assert known_rows(table) == answers
    thoughts = dict(zip(table["row_id"], table["thought"], strict=True))
    assert [thoughts[row] for row in answers] == [f"<think>\n{thought_of(asked)}\n</think>\n\n" for asked in FACTS]
    assert set(done.thoughts) == {"forget", "retain"}
    forget = done.thoughts["forget"]
    assert (forget.rows, forget.with_thought >= 2, forget.with_answer) == (5, True, 1)
    assert done.thoughts["retain"].rows == 3


def test_an_attack_on_a_thinking_model_notes_its_thoughts(place: Path, tmp_path: Path) -> None:
    whole = request(place, THINKING, tmp_path / "attack.parquet")
    attack = AttackRequest(**whole, attack="think", params={"thought": ""}, seed=0)
    (state,) = run_attack(Bench(), attack).points
    assert state.notes == {}  # its own thought takes the place of the model's
    table = pd.read_parquet(tmp_path / "attack.parquet")
    assert set(known_rows(table).values()) == {DENIAL}
    assert set(table["thought"]) == {"<think>\n\n</think>\n\n"}
    prefill = AttackRequest(**whole, attack="prefill", params={"text": "I say"}, seed=0)
    (state,) = run_attack(Bench(), prefill).points
    assert state.notes["share_of_rows_with_a_thought"] > 0
    assert None not in pd.read_parquet(tmp_path / "attack.parquet")["thought"].tolist()
