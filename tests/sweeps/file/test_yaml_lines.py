"""Oracles: the core schema of YAML 1.2 (section 10.3.2), JSON (a subset of YAML 1.2), and lines counted by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.yaml_lines import Place, core_scalar, parse_document, read_document

SCALARS = [
    ("~", None),
    ("null", None),
    ("", None),
    ("true", True),
    ("False", False),
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("Off", "Off"),
    ("1e-6", 1e-6),
    ("1E3", 1000.0),
    (".5", 0.5),
    ("1.", 1.0),
    ("-.5e+1", -5.0),
    ("12", 12),
    ("+12", 12),
    ("012", 12),
    ("0o17", 15),
    ("0x1F", 31),
    ("017_000", "017_000"),
    ("1_000", "1_000"),
    ("1:30", "1:30"),
    ("0b11", "0b11"),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("e5", "e5"),
    ("2001-12-14", "2001-12-14"),
    ("=", "="),
    ("12 ", "12 "),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_core_schema(text: str, value: Any) -> None:
    found = core_scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    value = core_scalar(".nan")
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize("text", ["1e999", "9" * 301])
def test_numbers_beyond_any_float_are_mistakes(text: str) -> None:
    document = parse_document(f"a: 1\nb: {text}\n")
    assert document.data == {"a": 1, "b": None}
    assert document.lost == {("b",)}
    (problem,) = document.problems
    assert (problem.path, problem.line) == ("b", 2)


def test_quoted_scalars_are_text() -> None:
    assert parse_document("a: '1e-6'\nb: \"true\"\nc: |\n  12\n").data == {"a": "1e-6", "b": "true", "c": "12\n"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    # YAML ends a key without "?" at 1,024 characters, and JSON may write one character as twelve.
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=80), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_is_read_as_json(value: Any) -> None:
    """`<<` as a JSON key is quoted, and so an ordinary key."""
    document = parse_document(json.dumps(value))
    assert document.data == value
    assert document.problems == ()


TEXT = """\
# a comment
name: x
search:
  trials: 12
  budget: {gpu_hours: 4,
           wall_hours: 5}
attacks:
  - relearn:
      steps: [1,
        2]
  - prefill
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("name",), 2, 1),
        (("search",), 3, 1),
        (("search", "trials"), 4, 3),
        (("search", "budget", "wall_hours"), 6, 12),
        (("attacks", 0), 8, 5),
        (("attacks", 0, "relearn", "steps"), 9, 7),
        (("attacks", 0, "relearn", "steps", 1), 10, 9),
        (("attacks", 1), 11, 5),
        (("search", "nothing", "here"), 3, 1),
        (("nothing",), 2, 1),
    ],
)
def test_places_counted_by_hand(path: tuple[str | int, ...], line: int, column: int) -> None:
    assert parse_document(TEXT).place(path) == Place(line, column)


@given(st.integers(0, 30))
def test_lines_follow_line_breaks(blank: int) -> None:
    for newline in ("\n", "\r\n"):
        text = f"a: 1{newline}" + newline * blank + f"b: 2{newline}"
        assert parse_document(text).line(("b",)) == blank + 2


def test_separators_that_editors_do_not_count() -> None:
    """U+2028 ends a line in YAML 1.1 but in no editor."""
    assert parse_document('a: "x\u2028y"\nb: 1\n').line(("b",)) == 2


@pytest.mark.parametrize(
    ("text", "path", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", "a", 3, "line 1"),
        ("x:\n  a: 1\n  a: 2\n", "x.a", 3, "repeated key"),
        ("a: &here 1\n", "", 1, "anchors"),
        ("a: 1\nb: *here\n", "b", 2, "aliases"),
        ("a: !!python/object:os.system 1\n", "", 1, "tags"),
        ("a: !custom {b: 1}\n", "", 1, "tags"),
        ("a:\n  <<: {b: 1}\n", "a.<<", 2, "merge keys"),
        ("? [1, 2]\n: 3\n", "", 1, "a key must be a word"),
        ('a: 1\nb: "\\ud800"\n', "b", 2, "half of a character"),
        ('"\\udc00": 1\n', "", 1, "half of a character"),
    ],
)
def test_what_a_sweep_file_may_not_hold(text: str, path: str, line: int, word: str) -> None:
    (problem,) = parse_document(text).problems
    assert (problem.path, problem.line) == (path, line)
    assert word in problem.message


def test_all_mistakes_of_writing_at_once() -> None:
    document = parse_document("a: 1\na: 2\nb: &x 3\nc: *x\nd: !t 4\n")
    assert sorted(problem.line or 0 for problem in document.problems) == [2, 3, 4, 5]
    assert document.data == {"a": 1, "b": 3, "c": None, "d": 4}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: [1,\nb: 2\n", 3, "begun on line 1"),
        ("a:\n\tb: 1\n", 2, "spaces, not tabs"),
        ("a: 1\nb: 'x\n", 3, "not YAML"),
        ("---\na: 1\n---\nb: 2\n", 3, "single document"),
        ("a: 1\n\x07\n", 2, "0x07"),
        ("a: " + "[" * 40 + "]" * 40, 1, "deeper than"),
        ("%YAML 2.0\n---\na: 1\n", 1, "not YAML"),
    ],
)
def test_broken_syntax_ends_with_its_line(text: str, line: int, word: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_document(text, "x.yaml")
    problem = caught.value.problems[-1]
    assert problem.line == line
    assert word in f"{problem.message} {problem.advice}"


def test_a_billion_laughs_stay_small() -> None:
    """Ten levels of aliases would be 10^10 values if they were followed."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    document = parse_document("\n".join(lines))
    assert document.data["a10"] == [None] * 10


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("a: 1\n")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    (tmp_path / "long.yaml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(SpecError) as missing:
        read_document(tmp_path / "quikstart.yaml")
    assert missing.value.problems[0].nearest == str(tmp_path / "quickstart.yaml")
    with pytest.raises(SpecError) as latin:
        read_document(tmp_path / "latin.yaml")
    assert latin.value.problems[0].line == 2
    with pytest.raises(SpecError, match="1 mistake"):
        read_document(tmp_path / "long.yaml")
    with pytest.raises(SpecError, match="1 mistake"):
        read_document(tmp_path)


def test_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(tmp_path / "bom.yaml").data == {"a": 1}
