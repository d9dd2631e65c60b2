"""Data files that are well formed and cannot be read all the same. Oracle: the message names file and row."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn_sweep.evaluators.benchmarks.tables import read_table

DEEP = "[" * 200_000
DIGITS = '{"question": ' + "9" * 5000 + "}"


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.json", DEEP, "row 1"),
        ("a.jsonl", '{"question": "q"}\n{"question": ' + DEEP + "\n", "row 2"),
        ("a.jsonl", '{"question": "q"}\n' + DIGITS + "\n", "row 2"),
        ("a.json", "[" + DIGITS + "]", "row 1"),
    ],
    ids=["deep list", "deep row", "digits in a row", "digits in a list"],
)
def test_the_file_and_the_row_are_named(tmp_path: Path, name: str, text: str, place: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=place) as caught:
        list(read_table(path))
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
