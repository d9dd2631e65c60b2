"""Shipped sweep files in a form that can be checked on any machine: rows that they read from a folder are made."""

from __future__ import annotations

from pathlib import Path

from tests.evaluators.benchmarks.test_tofu import row, write
from tests.support.published_data import story
from tests.support.published_data import write as write_lines

ROWS = "path: data/tofu"
TEXTS = "data/blur"
SIZES = {"forget01": range(40), "retain99": range(100, 300)}
JUDGED = {"forget01_perturbed": range(40), "retain_perturbed": range(100, 300, 2)}


def placed(file: Path, folder: Path) -> Path:
    """The file itself, or a copy in `folder` that reads made rows in TOFU's form, written there too."""
    text = file.read_text(encoding="utf-8")
    if TEXTS in text:
        return _with_texts(file, text, folder)
    if ROWS not in text:
        return file
    rows = folder / "tofu"
    rows.mkdir(parents=True)
    for name, numbers in SIZES.items():
        write(rows, name, [row(number, extra=False) for number in numbers])
    for name, numbers in JUDGED.items():
        write(rows, name, [row(number) for number in numbers])
    copy = folder / file.name
    copy.write_text(text.replace(ROWS, f"path: {rows}"), encoding="utf-8")
    return copy


def _with_texts(file: Path, text: str, folder: Path) -> Path:
    """A copy that trains on made texts, one file to forget and one to keep."""
    folder.mkdir(parents=True)
    for side, kind in (("forget", "lighthouse"), ("retain", "ferry")):
        write_lines(folder, side, [{"text": story(kind, i)} for i in range(16)])
    copy = folder / file.name
    copy.write_text(text.replace(TEXTS, str(folder)), encoding="utf-8")
    return copy
