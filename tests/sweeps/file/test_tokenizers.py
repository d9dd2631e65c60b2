"""Which tokenizer goes with which model. Oracle: the folders' own files, changed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_folders import write_model_folder
from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, parse_spec
from unlearn_sweep.sweeps.resolve import resolve


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("original", "gold"):
        write_model_folder(tmp_path / name)
    return tmp_path


def spec(folders: Path, model: str = "path: ./original", gold: str = "path: ./gold") -> SweepSpec:
    return parse_spec(sweep_text(model=f"model: {{{model}}}", gold=f"gold: {{{gold}}}"), folder=folders)


def refusal(folders: Path, **parts: str) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        spec(folders, **parts)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def rewrite(file: Path, **entries: Any) -> None:
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(known | entries))


def test_equal_tokenizers_are_nothing_to_say(folders: Path) -> None:
    assert spec(folders).notes == ()


def test_another_end_or_template_is_said_and_another_vocabulary_refused(folders: Path) -> None:
    rewrite(folders / "gold" / "tokenizer_config.json", eos_token="b", add_eos_token=True, chat_template="x")
    (note,) = spec(folders).notes
    assert note.startswith("gold.path: its tokenizer is not the original's (")
    assert "eos_token b (not None), add_eos_token True (not None), another chat template" in note
    rewrite(folders / "gold" / "tokenizer.json", model={"vocab": {"a": 1, "b": 0}})
    assert refusal(folders)[0][0] == "gold.path"
    assert "another vocabulary than the original's" in refusal(folders)[0][1]
    assert spec(folders, gold="path: ./gold, tokenizer: ./gold").notes == ()


def test_a_model_without_tokenizer_needs_one_named(folders: Path) -> None:
    (folders / "gold" / "tokenizer.json").unlink()
    assert "the original's tokenizer is used" in spec(folders).notes[0]
    (folders / "original" / "tokenizer.json").unlink()
    assert [path for path, message in refusal(folders) if "no tokenizer" in message] == ["model.path"]
    (folders / "words").mkdir()
    assert refusal(folders, model="path: ./original, tokenizer: ./words")[0] == (
        "model.tokenizer",
        "no tokenizer in this folder",
    )
    rewrite(folders / "words" / "tokenizer.json", model={"vocab": {"a": 0}})
    job = resolve(spec(folders, model="path: ./original, tokenizer: ./words"))
    assert job.original.tokenizer == str(folders / "words")
    assert job.gold.tokenizer is None


def test_a_tokenizer_must_fit_the_embedding_and_a_place(folders: Path) -> None:
    rewrite(folders / "gold" / "tokenizer.json", model={"vocab": {"a": 0, "b": 9}})
    assert "beyond the embedding's 4 rows: b" in refusal(folders, gold="path: ./gold, tokenizer: ./gold")[0][1]
    assert refusal(folders, gold="path: ./gold, tokenizer: ./nowhere")[0] == ("gold.tokenizer", "no such path")
    assert "gold.tokenizer" in dict(refusal(folders, gold="train: {}, tokenizer: ./gold"))
