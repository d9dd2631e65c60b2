"""Read YAML 1.2 safely and record the line and column of every key and value.

Uses PyYAML's scanner and composer with the core schema of YAML 1.2: `1e-6` is a number, `no` and `on` are strings,
`0o17` is octal. Repeated keys, anchors, aliases, tags and merge keys are mistakes, so that every value is written where
it is used. All such mistakes are collected; only a syntax error stops the reading.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from unlearn_sweep.sweeps.file.problems import Problem, SpecError, dotted, near_miss, shown

KeyPath = tuple[str | int, ...]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_DIGITS = 300

HALF_CHARACTER = "half of a character (an escaped surrogate without its other half)"

NULL = re.compile(r"(~|null|Null|NULL|)\Z")
TRUE = re.compile(r"(true|True|TRUE)\Z")
FALSE = re.compile(r"(false|False|FALSE)\Z")
DECIMAL = re.compile(r"[-+]?[0-9]+\Z")
OCTAL = re.compile(r"0o[0-7]+\Z")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+\Z")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
INFINITY = re.compile(r"([-+]?)(\.inf|\.Inf|\.INF)\Z")
NOT_A_NUMBER = re.compile(r"(\.nan|\.NaN|\.NAN)\Z")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file. Line and column count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The content of a file.

    Attributes:
        file: Name of the file, for messages.
        text: The text of the file.
        data: The parsed data.
        keys: Position of every key, by path.
        values: Position of every value, by path.
        lost: Paths of values that could not be read. `data` contains None there, which must not be interpreted.
        problems: Mistakes found while reading.
    """

    file: str
    text: str
    data: Any
    keys: Mapping[KeyPath, Place] = field(default_factory=dict)
    values: Mapping[KeyPath, Place] = field(default_factory=dict)
    lost: frozenset[KeyPath] = frozenset()
    problems: tuple[Problem, ...] = ()

    def place(self, path: KeyPath) -> Place:
        """Return the position of a key or list item; if it does not exist, that of its closest existing parent."""
        for length in range(len(path), 0, -1):
            found = self.keys.get(path[:length]) or self.values.get(path[:length])
            if found:
                return found
        return self.values.get((), Place(1, 1))

    def line(self, path: KeyPath) -> int:
        return self.place(path).line

    def problem(self, path: KeyPath, message: str, *, at: KeyPath | None = None, **parts: Any) -> Problem:
        """Create a `Problem` about `path` at its position, or at that of `at`, for example if `path` is missing."""
        place = self.place(path if at is None else at)
        return Problem(path=dotted(path), message=message, line=place.line, column=place.column, **parts)

    def at(self, path: KeyPath) -> Any:
        """Return the value at a path; None if there is none."""
        value = self.data
        for part in path:
            if not has(value, part):
                return None
            value = value[part]
        return value


def has(value: Any, part: str | int) -> bool:
    """Return whether a mapping has this key, or a list this index."""
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)


def read_document(path: Path) -> Document:
    """Read a file.

    Raises:
        SpecError: The path is missing or not a file, or the content is too long, not UTF-8 or not YAML.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:  # no further than allowed: a device has no size and no end
            blob = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(file, [_unreadable(path, error)]) from None
    if len(blob) > MAX_BYTES:
        too_long = Problem(path="", message="the file is too long", allowed=f"at most {MAX_BYTES} bytes")
        raise SpecError(file, [too_long])
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = blob[: error.start].count(b"\n") + 1
        raise SpecError(
            file, [Problem(path="", line=line, message="not UTF-8 text", advice="save it as UTF-8")]
        ) from None
    return parse_document(text, file)


def parse_document(text: str, file: str = "sweep.yaml") -> Document:
    """Parse YAML text. Mistakes other than syntax errors are listed in the document's `problems`.

    Raises:
        SpecError: The YAML syntax is invalid.
    """
    reading = _Reading(text)
    try:
        loader = _CoreLoader(text, reading)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise SpecError(file, [*reading.problems, reading.syntax_problem(error)]) from None
    data = reading.build(node, ()) if node is not None else None
    return Document(
        file=file,
        text=text,
        data=data,
        keys=reading.keys,
        values=reading.values,
        lost=frozenset(reading.lost),
        problems=tuple(reading.problems),
    )


def _unreadable(path: Path, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        others = [item.name for item in folder.glob("*.yaml")] if folder.is_dir() else []
        nearest = near_miss(path.name, others)
        return Problem(path="", message="no such file", nearest=str(folder / nearest) if nearest else None)
    return Problem(path="", message=f"cannot be read ({error.strerror})", advice="give the path of a sweep file")


class _CoreLoader(Reader, Scanner, Parser, Composer):
    """Composes nodes with core-schema tags. Reports what is not allowed in a sweep file to `reading`."""

    def __init__(self, text: str, reading: _Reading) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        self.reading = reading
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            self.get_event()
            return yaml.ScalarNode("alias", event.anchor, event.start_mark, event.end_mark)
        self._refuse_anchor_and_tag(event)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refuse_anchor_and_tag(self, event: Any) -> None:
        """Report an anchor or tag as a mistake and drop it, so that reading continues with the plain value."""
        if event.anchor is not None:
            message = f"anchor &{event.anchor}: anchors are not read"
            self.reading.report(event.start_mark, message, "remove it and write values out")
            event.anchor = None
        if event.tag is not None:
            message = f"tag {event.tag}: tags are not read"
            self.reading.report(event.start_mark, message, "remove it; quote a value to make it text")
            event.tag = None
            event.implicit = (True, False) if isinstance(event, yaml.ScalarEvent) else True

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Do nothing. PyYAML calls this method, but the core schema does not depend on the position of a value."""

    def ascend_resolver(self) -> None:
        """Do nothing, as `descend_resolver`."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return "plain" for an unquoted scalar and "text" for anything else. The tags of collections are not used."""
        return "plain" if kind is yaml.ScalarNode and implicit[0] else "text"


class _Reading:
    """Collects data, positions and mistakes while one text is read."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
        self.keys: dict[KeyPath, Place] = {}
        self.values: dict[KeyPath, Place] = {}
        self.lost: set[KeyPath] = set()
        self.problems: list[Problem] = []

    def place(self, index: int) -> Place:
        """Compute the position from a character index. PyYAML's own line numbers also count U+2028, unlike editors."""
        line = bisect_right(self.starts, index)
        return Place(line, index - self.starts[line - 1] + 1)

    def report(self, mark: Any, message: str, advice: str, path: KeyPath = (), given: str | None = None) -> None:
        place = self.place(mark.index)
        text = dotted(path)
        self.problems.append(
            Problem(path=text, message=message, line=place.line, column=place.column, given=given, advice=advice)
        )

    def syntax_problem(self, error: yaml.YAMLError) -> Problem:
        if isinstance(error, ReaderError):
            place = self.place(error.position)
            message = f"the character {error.character:#04x} is not allowed in YAML"
            return Problem(path="", message=message, line=place.line, column=place.column, advice="remove it")
        mark = getattr(error, "problem_mark", None)
        place = self.place(mark.index) if mark else Place(1, 1)
        begun = getattr(error, "context_mark", None)
        reasons = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
        reasons += [f"begun on line {self.place(begun.index).line}"] if begun else []
        message = f"not YAML: {', '.join(reasons) or error}"
        advice = (
            "indent with spaces, not tabs" if "\\t" in message else "check indentation, quotes, colons and brackets"
        )
        return Problem(path="", message=message, line=place.line, column=place.column, advice=advice)

    def build(self, node: Any, path: KeyPath) -> Any:
        """Return the plain value of a node. Record the positions of everything below it."""
        self.values[path] = self.place(node.start_mark.index)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        """Build a mapping. Keys are always strings, even if they look like numbers. Of equal keys, the first wins."""
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.report(
                    key_node.start_mark, "a key must be a word", "put the key on one line, before a colon", path
                )
                continue
            key = whole_text(key_node.value)
            if key is None:
                self.report(key_node.start_mark, HALF_CHARACTER, "write the character itself", path)
            elif key == "<<" and key_node.tag == "plain":
                self.report(key_node.start_mark, "merge keys (<<) are not read", "write the values out", (*path, key))
            elif key in result:
                first = self.keys[(*path, key)].line
                message = f"repeated key: it is already on line {first}"
                self.report(key_node.start_mark, message, "keep one of the two", (*path, key))
            else:
                self.keys[(*path, key)] = self.place(key_node.start_mark.index)
                result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: Any, path: KeyPath) -> Any:
        if node.tag == "text":
            return self._text(node, path)
        if node.tag == "alias":
            self._lost(node, f"alias *{node.value}: aliases are not read", "write the value out", path)
            return None
        try:
            return core_scalar(node.value)
        except OverflowError:
            self._lost(node, "a number too large to represent", "write a smaller number", path, shown(node.value))
            return None

    def _text(self, node: Any, path: KeyPath) -> str | None:
        text = whole_text(node.value)
        if text is None:
            self._lost(node, HALF_CHARACTER, "write the character itself", path)
        return text

    def _lost(self, node: Any, message: str, advice: str, path: KeyPath, given: str | None = None) -> None:
        self.report(node.start_mark, message, advice, path, given)
        self.lost.add(path)


def whole_text(text: str) -> str | None:
    """Join pairs of escaped surrogates, as in JSON. Return None if there is an unpaired surrogate."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def core_scalar(text: str) -> bool | int | float | str | None:
    """Return the value of an unquoted scalar in the core schema of YAML 1.2.

    Raises:
        OverflowError: A float beyond the range of floats, or an integer of more than `MAX_DIGITS` characters.
    """
    for pattern, value in ((NULL, None), (TRUE, True), (FALSE, False)):
        if pattern.match(text):
            return value
    if NOT_A_NUMBER.match(text):
        return math.nan
    if match := INFINITY.match(text):
        return -math.inf if match[1] == "-" else math.inf
    base = 10 if DECIMAL.match(text) else 8 if OCTAL.match(text) else 16 if HEXADECIMAL.match(text) else None
    if base is not None:
        return _integer(text, base)
    if FLOAT.match(text):
        return _finite(text)
    return text


def _integer(text: str, base: int) -> int:
    if len(text) > MAX_DIGITS:
        raise OverflowError(text)
    return int(text, base)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise OverflowError(text)
    return value
