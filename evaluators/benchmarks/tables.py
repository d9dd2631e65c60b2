"""Rows of a benchmark from files or the hub, checked column by column before anything else is done with them.

A mistake is told by file, row and column, with the name that was probably meant. JSON, JSON lines, CSV and parquet are
read; row numbers are those a person sees: lines of JSON lines, rows of a spreadsheet (the header of a CSV is row 1),
items of a JSON list and rows of a parquet file from 1.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

ENDINGS = (".json", ".jsonl", ".csv", ".parquet")
MISTAKES_SHOWN = 5
SHOWN_CHARACTERS = 60
LARGEST_CELL = (1 << 31) - 1
"""Characters of a CSV cell: a text may be of any length."""

Numbered = Iterable[tuple[int, Any]]
Kind = TypeVar("Kind", bound=BaseModel)


def read_table(file: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each row of a file; the ending says how it is read. Empty cells and nulls are left out.

    Raises:
        ValueError: no such file, an ending that is not read, or a file that is not what its ending says.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file{_beside(file)}")
    if file.suffix not in ENDINGS:
        raise ValueError(f"{file}: files end with {', '.join(ENDINGS)}; this one ends with {file.suffix!r}")
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    yield from readers.get(file.suffix, _json_rows)(file)


def find_table(folder: Path, name: str) -> Path:
    """The file of this name in a folder, whatever its ending; names with a slash lie in a folder below.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    for ending in ENDINGS:
        file = folder / f"{name}{ending}"
        if file.is_file():
            return file
    there = sorted({found.stem for found in (folder / name).parent.glob("*") if found.suffix in ENDINGS})
    near = difflib.get_close_matches(Path(name).name, there, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(there) or "none"
    raise ValueError(f"{folder / name}.json: no such file; this folder has: {listed}{hint}")


def hub_table(hub: str, name: str | None, split: str, *, revision: str | None = None, advice: str = "") -> Numbered:
    """Rows of one split of one configuration of a hub data set, numbered from 1.

    Where the hub gives nothing, they are read from a copy of the whole data set in its cache (`hf download`), which the
    datasets library by itself does not look at.

    Raises:
        ValueError: it cannot be loaded; the message says what to do without a network.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        rows = list(load_dataset(hub, name, split=split, revision=revision))
    except (OSError, ValueError, DatasetsError) as error:
        if (downloaded := _downloaded(hub, name, split, revision)) is not None:
            return enumerate(downloaded, start=1)
        hint = advice or "with no network, point benchmark.path at a folder with the files"
        what = hub if name is None else f"{hub}, configuration {name},"
        raise ValueError(f"data set {what} cannot be loaded: {error}; {hint}") from error
    return enumerate(rows, start=1)


def _downloaded(hub: str, name: str | None, split: str, revision: str | None) -> list[Any] | None:
    """Rows from the snapshot of a data set in the hub's cache; None where there is none, or it lacks them."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(hub, repo_type="dataset", revision=revision, local_files_only=True)
        return list(load_dataset(folder, name, split=split))
    except (LocalEntryNotFoundError, OSError, ValueError, DatasetsError):
        return None


def check_rows(place: str, numbered: Numbered, kind: type[Kind]) -> list[Kind]:
    """Rows of this kind; every mistake is found, the first few are told in full.

    Raises:
        ValueError: a row lacks a column, or has one of another type or with a name close to a missing one.
    """
    rows, mistakes = [], []
    for number, value in numbered:
        try:
            rows.append(kind.model_validate(value))
        except ValidationError as error:
            details = error.errors(include_url=False)
            mistakes += [f"{place}, row {number}, {described(detail, value, kind)}" for detail in details]
    if not rows and not mistakes:
        mistakes.append(f"{place}: no rows")
    raise_mistakes(mistakes)
    return rows


def raise_mistakes(mistakes: list[str]) -> None:
    """ValueError with the first few of them, if there are any."""
    if mistakes:
        more = f"\n... and {len(mistakes) - MISTAKES_SHOWN} more" if len(mistakes) > MISTAKES_SHOWN else ""
        raise ValueError("\n".join(mistakes[:MISTAKES_SHOWN]) + more)


def described(detail: Mapping[str, Any], value: Any, kind: type[BaseModel]) -> str:
    """A pydantic mistake as "column ...: what is wrong", with the column that was probably meant."""
    column = ".".join(map(str, detail["loc"])) or "(the whole row)"
    if detail["type"] == "missing":
        return f"column {column}: field required{_meant(column, value, kind)}"
    message = str(detail["msg"]).removeprefix("Value error, ").lower()
    return f"column {column}: {message}, got {str(detail['input'])[:SHOWN_CHARACTERS]!r}"


def near_columns(columns: Iterable[str], kind: type[BaseModel]) -> dict[str, str]:
    """Columns that are none of this kind's but look like one of them, with the name that was probably meant."""
    given = list(columns)
    absent = {plain(name): name for name in kind.model_fields if name not in given}
    found = {}
    for column in given:
        if column not in kind.model_fields:
            near = difflib.get_close_matches(plain(column), absent, n=1, cutoff=0.75)
            if near:
                found[column] = absent[near[0]]
    return found


def plain(name: str) -> str:
    """A column's name without what people write differently."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _meant(column: str, value: Any, kind: type[BaseModel]) -> str:
    """What the row has in place of a missing column."""
    if not isinstance(value, Mapping):
        return ""
    strangers = {plain(str(name)): str(name) for name in value if name not in kind.model_fields}
    near = difflib.get_close_matches(column, strangers, n=1, cutoff=0.6)
    if near:
        return f"; the row has {strangers[near[0]]!r}: is that it?"
    return f"; the row has {', '.join(map(str, value)) or 'no column'}"


def _beside(file: Path) -> str:
    """The nearest name in the same folder."""
    if not file.parent.is_dir():
        return f" (there is no folder {file.parent})"
    near = difflib.get_close_matches(file.name, [found.name for found in file.parent.iterdir()], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text: {error}") from error


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """A JSON list, or JSON lines: TOFU's files are lines that end with `.json`."""
    text = _text(file)
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {error.lineno}: no JSON ({error.msg} at column {error.colno})") from error
        except (RecursionError, ValueError) as error:
            raise ValueError(f"{file}, row 1 or later: {_unread(error)}") from error
        yield from ((number, _known(item)) for number, item in enumerate(items, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, _known(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{file}, row {number}: no JSON ({error.msg} at column {error.colno})") from error
            except (RecursionError, ValueError) as error:
                raise ValueError(f"{file}, row {number}: {_unread(error)}") from error


def _unread(error: Exception) -> str:
    """Why JSON that is well formed so far cannot be read: too deep, or a number of thousands of digits."""
    return "lists or objects nested too deeply" if isinstance(error, RecursionError) else f"no JSON ({error})"


def _csv_rows(file: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(LARGEST_CELL)  # the module's own limit of 131,072 characters is one of the process
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        header = next(reader, [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ValueError(f"{file}, row 1: column {twice[0]!r} is there more than once")
        for number, cells in enumerate(reader, start=2):
            if not cells:
                continue
            if len(cells) != len(header):
                raise ValueError(f"{file}, row {number}: {len(cells)} cells, and the header has {len(header)} columns")
            yield number, {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    except csv.Error as error:
        raise ValueError(f"{file}, line {reader.line_num}: no CSV ({error})") from error


def _parquet_rows(file: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(file).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{file}: no parquet file: {error}") from error
    yield from ((number, _known(row)) for number, row in enumerate(rows, start=1))


def _known(row: Any) -> Any:
    return {name: value for name, value in row.items() if value is not None} if isinstance(row, dict) else row
