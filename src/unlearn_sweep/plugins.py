"""Methods, metrics, attacks and the rest from outside: files that a sweep names, and installed packages.

A `Catalog` is the table of what is built in, followed by what plugins add. Importing it loads nothing; a plugin is
loaded when the table is read beyond its own entries. `use` says which files are in use in this process; the environment
variable `UNLEARN_SWEEP_PLUGINS` says it in a process that Ray starts. Installed packages add to a table by an entry
point of the group `unlearn_sweep.<table>`, whose object is a card or several.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

from unlearn_sweep.user_error import UserError

MODULE_PREFIX = "unlearn_sweep_plugin_"
ENVIRONMENT = "UNLEARN_SWEEP_PLUGINS"
MAX_BYTES = 4 << 20
NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
NAME_RULE = "lower-case letters, digits and underscores, a letter first"
FORM = (
    "CARD = ... or CARDS = (..., ...) at module level: MethodCard, MetricCard, AttackCard, BenchmarkCard or SamplerCard"
)


class PluginError(UserError):
    """A plugin that cannot be used. The message says which, why, and where in it."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


Card = TypeVar("Card", bound=Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFile:
    """One plugin by content: `name` is its file's name without ending, `digest` 16 hex digits over its bytes."""

    name: str
    path: str
    digest: str

    @property
    def module(self) -> str:
        """The name it is imported by: no other file has it, wherever it lies."""
        return f"{MODULE_PREFIX}{re.sub(r'[^A-Za-z0-9_]', '_', self.name)}_{self.digest}"


def plugin_file(path: Path) -> PluginFile:
    """A file as a plugin, without running it.

    Raises:
        PluginError: no such file, no Python file, or one that cannot be read.
    """
    if path.suffix != ".py":
        raise PluginError(f"{path}: a plugin is one Python file, its name ending in .py")
    return PluginFile(name=path.stem, path=str(path), digest=_digest(_content(path)))


def load(file: PluginFile) -> ModuleType:
    """The plugin as a module, run once in a process.

    Raises:
        PluginError: its file has changed since it was named, or raises.
    """
    if file.module in sys.modules:
        return sys.modules[file.module]
    content = _content(Path(file.path))
    if _digest(content) != file.digest:
        raise PluginError(f"{file.path}: was changed after the sweep had read it")
    _sources[file.module] = content.decode("utf-8", errors="replace")
    module = ModuleType(file.module)
    module.__file__ = file.path
    sys.modules[file.module] = module
    try:
        exec(compile(content, file.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # whatever a stranger's file does
        del sys.modules[file.module]
        raise PluginError(f"{file.path}: {_where(error, file.path)}") from error
    return module


def cards_of(file: PluginFile) -> tuple[Named, ...]:
    """The cards that a plugin defines.

    Raises:
        PluginError: it cannot be loaded, or defines none.
    """
    module = load(file)
    found = getattr(module, "CARDS", None) if hasattr(module, "CARDS") else getattr(module, "CARD", None)
    return _cards(found, file.path)


def loaded_source(module: str) -> str | None:
    """The text that a plugin's module was made from; None where none of that name is loaded."""
    return _sources.get(module)


def use(files: Iterable[PluginFile]) -> None:
    """Have exactly these files add to the catalogs of this process. They are loaded when a catalog is first asked."""
    global _in_use
    _in_use = tuple(files)


def in_use() -> tuple[PluginFile, ...]:
    """The files that add to the catalogs of this process: those of the last `use`, or of the environment."""
    return _of_environment(os.environ.get(ENVIRONMENT, "")) if _in_use is None else _in_use


def environment(files: Iterable[PluginFile]) -> dict[str, str]:
    """What tells other processes which plugins to use; empty without any."""
    listed = [asdict(file) for file in files]
    return {ENVIRONMENT: json.dumps(listed)} if listed else {}


_in_use: tuple[PluginFile, ...] | None = None
_sources: dict[str, str] = {}


@cache
def _of_environment(text: str) -> tuple[PluginFile, ...]:
    """The files of the environment variable.

    Raises:
        PluginError: its text is not that of `environment`.
    """
    try:
        return tuple(PluginFile(**values) for values in json.loads(text)) if text else ()
    except (ValueError, TypeError) as error:
        raise PluginError(
            f"{ENVIRONMENT} is set to something else than what a sweep sets it to",
            advice="Unset it; plugins are named in the sweep file, or by --plugin.",
        ) from error


def _content(path: Path) -> bytes:
    """The bytes of a plugin's file, read no further than MAX_BYTES: a device has no end.

    Raises:
        PluginError: it cannot be read, or is longer.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PluginError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise PluginError(f"{path}: longer than {MAX_BYTES:,} bytes")
    return content


class Catalog(Mapping[str, Card], Generic[Card]):
    """A table of cards: `own` first, then those of this table's kind that plugins in use and packages define."""

    def __init__(
        self,
        table: str,
        kind: type[Card],
        own: Iterable[Card],
        *,
        accepts: Callable[[Card], bool] | None = None,
        reserved: Iterable[str] = (),
        objection: Callable[[Card], str | None] | None = None,
    ) -> None:
        """Make a table.

        Args:
            accepts: tells apart two tables of one kind of card.
            reserved: names that no plugin may take.
            objection: says what else is wrong with a plugin's card; None if nothing.
        """
        self.table = table
        self.own: Mapping[str, Card] = {card.name: card for card in own}
        self._reserved = frozenset((*self.own, *reserved))
        self._kind = kind
        self._accepts = accepts or (lambda card: True)
        self._objection = objection or (lambda card: None)
        self._files: tuple[PluginFile, ...] | None = None
        self._found: Mapping[str, Card] = {}

    def __getitem__(self, name: str) -> Card:
        return self.own[name] if name in self.own else self.added()[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.own, *self.added()))

    def __len__(self) -> int:
        return len(self.own) + len(self.added())

    def takes(self, card: object) -> TypeGuard[Card]:
        """Whether a card belongs into this table."""
        return isinstance(card, self._kind) and self._accepts(card)

    def added(self) -> Mapping[str, Card]:
        """What plugins add.

        Raises:
            PluginError: one cannot be loaded, or adds a name that is there already.
        """
        files = in_use()
        if files != self._files:
            self._found, self._files = self._read(files), files
        return self._found

    def problems(self, cards: Iterable[Named]) -> list[str]:
        """Why cards of a plugin cannot be in this table, each a sentence; cards of other tables do not count."""
        own = [card for card in cards if self.takes(card)]
        taken = [f"{card.name!r} is built in; take another name" for card in own if card.name in self._reserved]
        illegal = [f"{card.name!r} is no name: {NAME_RULE}" for card in own if not NAME.match(card.name)]
        objections = [problem for card in own if (problem := self._objection(card)) is not None]
        return taken + illegal + objections

    def _read(self, files: tuple[PluginFile, ...]) -> Mapping[str, Card]:
        found: dict[str, Card] = {}
        for source, cards in (*((file.path, cards_of(file)) for file in files), *_packages(self.table)):
            for card in cards:
                if not isinstance(card, self._kind) or not self._accepts(card):
                    continue
                if problems := self.problems([card]):
                    raise PluginError(f"{source}: {problems[0]}")
                if card.name in found:
                    raise PluginError(f"{source}: {card.name!r} is named by another plugin too")
                found[card.name] = card
        return found


@cache
def _packages(table: str) -> tuple[tuple[str, tuple[Named, ...]], ...]:
    """What installed packages give for a table, each with where it is from."""
    return tuple((_origin(entry), _entry_cards(entry)) for entry in entry_points(group=f"unlearn_sweep.{table}"))


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "an installed package"
    return f"{package} (entry point {entry.name} = {entry.value})"


def _entry_cards(entry: EntryPoint) -> tuple[Named, ...]:
    try:
        found = entry.load()
    except Exception as error:  # whatever a stranger's package does
        raise PluginError(
            f"{_origin(entry)}: {type(error).__name__}: {_text_of(error)}", advice="Repair or uninstall it."
        ) from error
    return _cards(found, _origin(entry))


def _cards(found: Any, source: str) -> tuple[Named, ...]:
    cards: tuple[Any, ...] = tuple(found) if isinstance(found, tuple | list) else (found,)
    if found is None or not cards:
        raise PluginError(f"{source}: defines no card; wanted: {FORM}")
    for card in cards:
        try:
            is_named = isinstance(getattr(card, "name", None), str)
        except Exception:  # whatever a stranger's property does
            is_named = False
        if not is_named:
            raise PluginError(f"{source}: an object of class {type(card).__name__} is no card; wanted: {FORM}")
    return cards


def _where(error: BaseException, path: str) -> str:
    """The error in a line, with the line of the plugin in which it arose."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {_text_of(error)}".rstrip(": ")


def _text_of(error: BaseException) -> str:
    """The text of an error; empty if making it fails as well."""
    try:
        return str(error)
    except Exception:  # whatever a stranger's error does
        return ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
