"""Convert Python source to a normal form: text that changes only if the program's behaviour may change.

The normal form leaves out formatting, comments, docstrings, `pass`, blocks under `if TYPE_CHECKING`, descriptions of
pydantic fields, and the names of plain local variables. The following names are kept:

- parameters, because callers use them
- names that occur in a class body, or that `import`, `global`, `nonlocal`, `def`, `class` or a `match` pattern binds
- all names in a function that uses `locals`, `eval`, `exec`, `vars` or `dir`
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Scope = dict[str, str]
"""Maps each name that a function binds to the name to write: a label for a plain local, else the name itself."""
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
LOOKS_AT_NAMES = frozenset({"locals", "eval", "exec", "vars", "dir"})
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Fields of statements that hold statements, or handlers and cases with such fields."""
NOT_WRITTEN = frozenset({"ctx", "type_comment", "type_ignores", "kind"})


def normal_form(source: str) -> str:
    """Return the normal form of `source`. Two sources with the same normal form behave the same.

    Raises:
        SyntaxError: `source` is not valid Python.
    """
    return normal_form_of(ast.parse(source))


def normal_form_of(tree: ast.Module) -> str:
    """Return the normal form of a parsed source."""
    return _Writer().text_of(tree)


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements at any depth, except those in blocks under `if TYPE_CHECKING`, in no order."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        skipped = isinstance(node, ast.If) and _is_type_checking(node.test)
        for name in BLOCKS:
            if not (skipped and name == "body"):
                waiting += getattr(node, name, ())


class _Writer:
    """Write the normal form of one file. `_scopes` are the scopes around the current node, innermost last."""

    def __init__(self) -> None:
        self._scopes: list[Scope] = []
        self._made = 0

    def text_of(self, node: object) -> str:
        if isinstance(node, ast.Name):
            return f"(Name {self._renamed(node.id)})"
        if isinstance(node, list):
            return f"[{' '.join([self.text_of(item) for item in _that_runs(node)])}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, FUNCTIONS):
            return self._function(node)
        if isinstance(node, COMPREHENSIONS):
            return self._comprehension(node)
        if isinstance(node, ast.ExceptHandler) and node.name is not None:
            return f"(ExceptHandler {self._fields(node, ('type', 'body'))} {self._renamed(node.name)})"
        return f"({type(node).__name__} {self._fields(node, node._fields)})"

    def _fields(self, node: ast.AST, names: Iterable[str]) -> str:
        """Return the non-empty fields as `name=text`.

        Empty fields are omitted, so that fields that only newer Python versions have do not change the text.
        """
        described = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field"
        written: list[str] = []
        for name in names:
            value = getattr(node, name, None) if name not in NOT_WRITTEN else None
            if described and name == "keywords":
                value = _undescribed(value)
            if value is not None and value != []:
                written.append(f"{name}={self.text_of(value)}")
        return " ".join(written)

    def _function(self, node: FunctionNode) -> str:
        """Write a function. Defaults, annotations and decorators belong to the enclosing scope, the body to its own."""
        outside = [name for name in node._fields if name != "body"]
        head = self._fields(node, outside)
        with_body = self._inside(_scope_of(node, self._next_label()), node.body)
        return f"({type(node).__name__} {head} body={with_body})"

    def _comprehension(self, node: Comprehension) -> str:
        """Write a comprehension. The first iterable belongs to the enclosing scope, everything else to its own."""
        first = self.text_of(node.generators[0].iter)
        bound = {name for part in node.generators for name in _targets(part.target)}
        label = self._next_label()
        scope = {name: f"{label}.{place}" for place, name in enumerate(_in_order(node, bound))}
        fields = [(name, getattr(node, name)) for name in node._fields if name != "generators"]
        self._scopes.append(scope)
        try:
            parts = [self._generator(part, first if place == 0 else None) for place, part in enumerate(node.generators)]
            rest = " ".join(f"{name}={self.text_of(value)}" for name, value in fields)
        finally:
            self._scopes.pop()
        return f"({type(node).__name__} {' '.join(parts)} {rest})"

    def _generator(self, part: ast.comprehension, iterable: str | None) -> str:
        given = iterable if iterable is not None else self.text_of(part.iter)
        return f"(for {self.text_of(part.target)} {given} {self.text_of(part.ifs)} {part.is_async})"

    def _inside(self, scope: Scope, node: object) -> str:
        self._scopes.append(scope)
        try:
            return self.text_of(node)
        finally:
            self._scopes.pop()

    def _next_label(self) -> str:
        self._made += 1
        return f"%{self._made}"

    def _renamed(self, name: str) -> str:
        return next((scope[name] for scope in reversed(self._scopes) if name in scope), name)


def _that_runs(nodes: list[object]) -> list[object]:
    """Remove statements that have no effect; keep all other nodes. Blocks under `if TYPE_CHECKING` are removed."""
    kept: list[object] = []
    for node in nodes:
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            kept.extend(_that_runs(list(node.orelse)))
        elif not _does_nothing(node):
            kept.append(node)
    return kept


def _does_nothing(node: object) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _undescribed(keywords: object) -> object:
    """Return the keyword arguments of `Field(...)` without `description` if it is a literal."""
    if not isinstance(keywords, list):
        return keywords
    return [
        word
        for word in keywords
        if not (isinstance(word, ast.keyword) and word.arg == "description" and isinstance(word.value, ast.Constant))
    ]


# --- which names are plain locals -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Below:
    """What is below the statements of one function, in the order of `ast.walk`, read in one pass.

    `declared` are names that this function or one inside it declares `global` or `nonlocal`, `ordered` all names in the
    order of their first use, `in_classes` names inside class bodies. `looks` is whether it looks at names at run time.
    """

    declared: set[str] = field(default_factory=set)
    ordered: dict[str, None] = field(default_factory=dict)
    in_classes: set[str] = field(default_factory=set)
    looks: bool = False


def _below(body: Iterable[ast.AST]) -> _Below:
    found = _Below()
    for node in (inner for part in body for inner in _walk(part)):
        kind = type(node)
        if kind is ast.Name:
            found.ordered.setdefault(node.id)
            found.looks = found.looks or node.id in LOOKS_AT_NAMES
        elif kind is ast.ExceptHandler and node.name is not None:
            found.ordered.setdefault(node.name)
        elif kind is ast.Global or kind is ast.Nonlocal:
            found.declared.update(node.names)
        elif kind is ast.ClassDef:
            found.in_classes.update(inner.id for inner in _walk(node) if isinstance(inner, ast.Name))
    return found


def _walk(node: ast.AST) -> list[Any]:
    """Return `node` and all nodes below it, in the order of `ast.walk`, which takes three times as long."""
    found: list[ast.AST] = [node]
    for one in found:
        found.extend(_children(one))
    return found


def _children(node: ast.AST) -> list[ast.AST]:
    """Return the child nodes in the order of the fields, as `ast.iter_child_nodes`."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if type(value) is list:
            found += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST) and value._fields:  # `Load`, `Add` and their like name and bind nothing
            found.append(value)
    return found


def _scope_of(node: FunctionNode, label: str) -> Scope:
    """Return the scope of a function. Only plain locals are renamed; parameters and other names are kept."""
    body = node.body if isinstance(node.body, list) else [node.body]
    below = _below(body)
    bound, fixed = _bindings(body)
    fixed |= below.declared | below.in_classes | (bound if below.looks else set())
    parameters = _parameters(node.args)
    plain = bound - fixed - parameters
    renamed = {name: f"{label}.{place}" for place, name in enumerate(name for name in below.ordered if name in plain)}
    # `global` and `nonlocal` names are looked up in outer scopes
    return {**{name: name for name in (bound | parameters) - below.declared}, **renamed}


def _parameters(args: ast.arguments) -> set[str]:
    found = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {arg.arg for arg in found if arg is not None}


def _bindings(body: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """Return the names that a function binds, and those of them that a statement fixes."""
    bound: set[str] = set()
    fixed: set[str] = set()
    for node in _own_nodes(body):
        kind = type(node)
        if kind is ast.Name:
            if not isinstance(node.ctx, ast.Load):
                bound.add(node.id)
        elif isinstance(node, ast.ExceptHandler):
            bound |= {node.name} if node.name is not None else set()
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
            fixed.add(node.name)
        elif kind in (ast.Import, ast.ImportFrom):
            names = {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            bound |= names
            fixed |= names
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name is not None:
            bound.add(node.name)
            fixed.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            bound.add(node.rest)
            fixed.add(node.rest)
    return bound, fixed


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[Any]:
    """Yield the nodes that may bind names of this function. Skip the bodies of functions and classes inside it.

    In a comprehension, only the targets of `:=` bind names of the function; its loop variables do not.
    """
    waiting: list[Any] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        kind = type(node)
        if kind is ast.Lambda:
            waiting += [*node.args.defaults, *(default for default in node.args.kw_defaults if default is not None)]
        elif kind in (ast.FunctionDef, ast.AsyncFunctionDef):
            waiting += node.decorator_list
            waiting += node.args.defaults
        elif kind is ast.ClassDef:
            waiting += node.decorator_list
            waiting += node.bases
        elif kind in COMPREHENSIONS:
            yield from _named_in(node)
        else:
            waiting += _children(node)


def _named_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the targets of `:=` below a node, except inside lambdas, which have their own scope."""
    for child in _children(node):
        if isinstance(child, ast.NamedExpr):
            yield child.target
        if not isinstance(child, ast.Lambda):
            yield from _named_in(child)


def _targets(target: ast.expr) -> set[str]:
    return {node.id for node in _walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _in_order(node: ast.AST, names: set[str]) -> list[str]:
    """Return `names` in the order in which they first appear below `node`."""
    return [name for name in _below([node]).ordered if name in names]
