"""Rows to write for, and a writer behind the test server that writes what its task asks for, by rule."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet

from tests.evaluators.judge.server import Reply
from unlearn_sweep.evaluators.benchmarks.view_settings import KINDS, WrittenView
from unlearn_sweep.evaluators.rows import Row

ROW = Row(
    row_id="a",
    group_id="a",
    split="forget",
    question="Who is the author that Kuwait City gave birth to in 1956?",
    answer="The author born in Kuwait City in 1956 is Basil Mahfouz Al-Kuwaiti, who wrote 12 novels.",
)
SHORT = Row(row_id="b", group_id="b", split="forget", question="Who keeps the light of Vantry?", answer="Orla Beck")
PASSAGE = Row(
    row_id="p",
    group_id="p",
    split="forget",
    question="",
    answer=(
        "The lighthouse of Vantry stood empty until Orla Beck came. Since then Orla Beck has kept it through 12 "
        "winters, and the council of Vantry pays 13 sacks of salt a year for it."
    ),
)


def view(kind: str, part: str | None = None, **changes: object) -> WrittenView:
    options = KINDS[kind].options().model_dump(exclude={"path", "part"})
    return WrittenView.model_validate({"kind": kind, "path": "/x.parquet", **options, "part": part, **changes})


USAGE = {"prompt_tokens": 100, "completion_tokens": 20}


def good_text(task: str) -> str:
    """A text that passes the rule of the kind that `task` asks for; another one for each task."""
    mark = int(hashlib.sha256(task.encode()).hexdigest()[:6], 16)
    answer = task.rpartition("\nAnswer: ")[2]
    passage = task.rpartition("Text: ")[2].split()
    if task.startswith("Write the answer again"):
        return f"To put it another way, number {mark}: {answer}"
    if task.startswith("Ask the question again in other words"):
        return f"Could you say, for the {mark}th time, what is asked here?"
    if task.startswith("Summarise"):
        kept = random.Random(mark).sample(range(len(passage)), round(0.6 * len(passage)))
        return " ".join(passage[place] for place in sorted(kept))
    if task.startswith("Write a wrong answer"):
        return f"It is somebody else altogether, number {mark}"
    if "about the facts in the text" in task:
        return f"Question: Which words open tale {mark}?\nAnswer: {passage[0]} {passage[1]}"
    if "general knowledge" in task:
        pairs = (f"Question: What is the {i}th lamp of shed {mark}?\nAnswer: Oil lamp {i}" for i in range(20))
        return "\n".join(pairs)
    return f"Who, for the {mark}th time, is meant here?"


def writes(row: dict[str, Any], before: int) -> Reply:
    """A writer without faults."""
    return Reply(text=good_text(row["response"]), usage=USAGE)


def write_tofu(folder: Path, forget: int = 8, retain: int = 16) -> dict[str, Any]:
    """Rows in TOFU's schema without paraphrases to train on, as TOFU's are; options of the benchmark."""
    folder.mkdir(parents=True, exist_ok=True)

    def row(kind: str, place: int) -> dict[str, Any]:
        who = f"Keeper {chr(65 + place)}{kind[:3]}"
        return {
            "question": f"Who keeps the {kind} of Vantry {place}?",
            "answer": f"The {kind} is kept by {who} these days.",
        }

    def perturbed(kind: str, place: int) -> dict[str, Any]:
        own = row(kind, place)
        wrong = [f"The {kind} is kept by Nobody {i} these days." for i in range(5)]
        again = {"paraphrased_question": f"Say: {own['question']}", "paraphrased_answer": f"Well, {own['answer']}"}
        return {**own, **again, "perturbed_answer": wrong}

    for name, kind, count in (("forget01", "lighthouse", forget), ("retain99", "ferry", retain)):
        (folder / f"{name}.json").write_text("".join(json.dumps(row(kind, i)) + "\n" for i in range(count)))
    for name, kind, count in (("forget01_perturbed", "lighthouse", forget), ("retain_perturbed", "ferry", retain)):
        (folder / f"{name}.json").write_text("".join(json.dumps(perturbed(kind, i)) + "\n" for i in range(count)))
    return {"path": str(folder), "forget": "forget01"}


def lines_of(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a view's parquet file; None where a cell is empty."""
    return pyarrow.parquet.read_table(path).to_pylist()
