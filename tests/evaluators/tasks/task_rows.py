"""Made rows of the harness's tasks, in the columns of their own data sets, and the same tasks as definitions of files.

The second form goes through the harness's own loading of local files, so that the two can be held against each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from unlearn_sweep.evaluators.tasks.definitions import definition, known_files

WHO = ("Orla Beck", "Tomas Arn", "Ines Falk", "Petra Voss", "Liam Osei", "Nora Quist")
Rows = Sequence[Mapping[str, Any]]


def choices(index: int, count: int = 4) -> dict[str, Any]:
    """Columns of `cais/wmdp` and `cais/mmlu`."""
    named = [WHO[(index + place) % len(WHO)] for place in range(count)]
    return {
        "question": f"Who keeps lighthouse {index}?",
        "choices": named,
        "answer": index % count,
        "subject": "anatomy",
    }


def mathqa(index: int) -> dict[str, Any]:
    """Columns of `regisss/math_qa`: the options are one text."""
    numbers = [index + place for place in range(5)]
    options = " , ".join(f"{letter} ) {number}" for letter, number in zip("abcde", numbers, strict=True))
    return {
        "Problem": f"what is {index} and {index % 5} ?",
        "Rationale": "add .",
        "options": options,
        "correct": "abcde"[index % 5],
        "annotated_formula": "add",
        "linear_formula": "add",
        "category": "general",
    }


def truthful(index: int) -> dict[str, Any]:
    """Columns of `truthfulqa/truthful_qa`, configuration multiple_choice; one to three true answers."""
    true = [f"{name} does." for name in WHO[: 1 + index % 3]]
    false = [f"{name} does not." for name in WHO[: 2 + index % 2]]
    return {
        "question": f"Who keeps tower {index}?",
        "mc1_targets": {"choices": [true[0], *false], "labels": [1, *[0] * len(false)]},
        "mc2_targets": {"choices": [*true, *false], "labels": [*[1] * len(true), *[0] * len(false)]},
    }


def gsm8k(index: int) -> dict[str, Any]:
    return {"question": f"Ann has {index} nets and buys 3. How many?", "answer": f"{index} + 3\n#### {index + 3}"}


def ifeval(index: int) -> dict[str, Any]:
    """Columns of `google/IFEval`; the first kind of row is easy for a model that babbles, the second hard."""
    easy = index % 2 == 0
    return {
        "key": index,
        "prompt": f"Describe lighthouse {index}.",
        "instruction_id_list": ["punctuation:no_comma"] if easy else ["detectable_format:number_bullet_lists"],
        "kwargs": [{}] if easy else [{"num_bullets": 3}],
    }


ROWS: Mapping[str, tuple[str, Rows]] = {
    "wmdp_bio": ("test", [choices(index) for index in range(50)]),
    "mmlu_anatomy": ("test", [choices(index + 3) for index in range(8)]),
    "mathqa": ("test", [mathqa(index) for index in range(8)]),
    "truthfulqa_mc1": ("validation", [truthful(index) for index in range(8)]),
    "truthfulqa_mc2": ("validation", [truthful(index) for index in range(8)]),
    "gsm8k": ("test", [gsm8k(index) for index in range(6)]),
    "ifeval": ("train", [ifeval(index) for index in range(6)]),
}
"""Task, the split it asks, and rows."""
SHOWN: Mapping[str, tuple[str, Rows]] = {
    "mmlu_anatomy": ("dev", [choices(index + 20) for index in range(5)]),
    "gsm8k": ("train", [gsm8k(index + 20) for index in range(6)]),
}
"""The split that examples are from."""


def write_rows(folder: Path, name: str) -> Path:
    """The rows of one task as files of its splits, in a folder of their own."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for split, rows in filter(None, (ROWS[name], SHOWN.get(name))):
        (place / f"{split}.jsonl").write_text("".join(json.dumps(dict(row)) + "\n" for row in rows), encoding="utf-8")
    return place


def write_definition(folder: Path, name: str, place: Path, cache: Path) -> str:
    """A task of one's own: the harness's definition over these files. Returns its name."""
    source = known_files(None)[name]
    files = {file.stem: str(file) for file in sorted(place.glob("*.jsonl"))}
    changes: dict[str, Any] = {
        "include": str(source),
        "task": f"own_{name}",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files, "cache_dir": str(cache)},
    }
    changes |= {
        key: None
        for key in ("training_split", "validation_split", "fewshot_split")
        if definition(source).get(key) not in files
    }
    folder.mkdir(exist_ok=True)
    (folder / f"own_{name}.yaml").write_text(yaml.safe_dump(changes), encoding="utf-8")
    return f"own_{name}"
