"""A source file as text that changes only where what the program does may change.

Left out: formatting, comments, docstrings, `pass`, what stands under `if TYPE_CHECKING`, descriptions of pydantic
fields, and the names of plain local variables. Parameters keep their names, since callers use them; so do names that a
class body, `import`, `global`, `nonlocal` or a pattern of `match` binds or reads, and every name of a function that
looks at its own names (`locals`, `eval`, `exec`, `vars`, `dir`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

Scope = dict[str, str]
"""Names that one function binds: the name to write in place of each plain local, the name itself for all others."""
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
LOOKS_AT_NAMES = frozenset({"locals", "eval", "exec", "vars", "dir"})
NOT_WRITTEN = frozenset({"ctx", "type_comment", "type_ignores", "kind"})


def normal_form(source: str) -> str:
    """The text of `source` that stands for its meaning. Two sources with the same text do the same.

    Raises:
        SyntaxError: `source` is no Python.
    """
    return _Writer().text_of(ast.parse(source))


def without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` that runs: the blocks under `if TYPE_CHECKING` are left out."""
    yield node
    skipped = set(map(id, node.body)) if isinstance(node, ast.If) and _is_type_checking(node.test) else set()
    for child in ast.iter_child_nodes(node):
        if id(child) not in skipped:
            yield from without_type_checking(child)


class _Writer:
    """Writes one file. The scopes around the node that is being written, innermost last."""

    def __init__(self) -> None:
        self._scopes: list[Scope] = []
        self._made = 0

    def text_of(self, node: object) -> str:
        if isinstance(node, list):
            return f"[{' '.join(self.text_of(item) for item in _that_runs(node))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name):
            return f"(Name {self._renamed(node.id)})"
        if isinstance(node, FunctionNode):
            return self._function(node)
        if isinstance(node, Comprehension):
            return self._comprehension(node)
        if isinstance(node, ast.ExceptHandler) and node.name is not None:
            return f"(ExceptHandler {self._fields(node, ('type', 'body'))} {self._renamed(node.name)})"
        return f"({type(node).__name__} {self._fields(node, node._fields)})"

    def _fields(self, node: ast.AST, names: Iterable[str]) -> str:
        """Fields with their names, so that a missing one moves no other. Empty ones say nothing in any Python."""
        found = ((name, getattr(node, name, None)) for name in names if name not in NOT_WRITTEN)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            found = ((name, _undescribed(value) if name == "keywords" else value) for name, value in found)
        return " ".join(f"{name}={self.text_of(value)}" for name, value in found if value is not None and value != [])

    def _function(self, node: FunctionNode) -> str:
        """Defaults, annotations and decorators belong to the scope around a function, its body to its own."""
        outside = [name for name in node._fields if name != "body"]
        head = self._fields(node, outside)
        with_body = self._inside(_scope_of(node, self._next_label()), node.body)
        return f"({type(node).__name__} {head} body={with_body})"

    def _comprehension(self, node: Comprehension) -> str:
        """The first iterable belongs to the scope around a comprehension, all else to its own."""
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
    """Statements without those that do nothing; anything else as it is."""
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
    """The arguments of `Field(...)` without a description that is plain text."""
    if not isinstance(keywords, list):
        return keywords
    return [
        word
        for word in keywords
        if not (isinstance(word, ast.keyword) and word.arg == "description" and isinstance(word.value, ast.Constant))
    ]


# --- which names are plain locals -------------------------------------------------------------------------------------


def _scope_of(node: FunctionNode, label: str) -> Scope:
    """What a function binds; parameters and names that are more than plain locals stay as they are."""
    body = node.body if isinstance(node.body, list) else [node.body]
    bound, fixed = _bindings(body)
    parameters = _parameters(node.args)
    if any(isinstance(inner, ast.Name) and inner.id in LOOKS_AT_NAMES for part in body for inner in ast.walk(part)):
        fixed |= bound
    plain = bound - fixed - parameters
    renamed = {name: f"{label}.{place}" for place, name in enumerate(_in_order(body, plain))}
    shared = _declared(body)  # names of an outer scope: looked up there
    return {**{name: name for name in (bound | parameters) - shared}, **renamed}


def _parameters(args: ast.arguments) -> set[str]:
    found = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {arg.arg for arg in found if arg is not None}


def _bindings(body: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """Names that a function binds, and those of all names in it that must keep their name."""
    bound: set[str] = set()
    fixed = _declared(body)
    for node in _own_nodes(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            bound.add(node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
            fixed.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            bound |= names
            fixed |= names
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name is not None:
            bound.add(node.name)
            fixed.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            bound.add(node.rest)
            fixed.add(node.rest)
    for node in (inner for part in body for inner in ast.walk(part)):
        if isinstance(node, ast.ClassDef):
            fixed |= {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return bound, fixed


def _declared(body: Iterable[ast.AST]) -> set[str]:
    """Names under `global` or `nonlocal`, in this function or in one inside it."""
    nodes = (node for part in body for node in ast.walk(part))
    return {name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}


def _own_nodes(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes that bind names of this function: not the bodies of functions and classes inside it.

    Of a comprehension only what `:=` binds; its own targets are its own.
    """
    for node in body:
        yield node
        if isinstance(node, ast.Lambda):
            yield from _own_nodes([*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _own_nodes([*node.decorator_list, *node.args.defaults])
        elif isinstance(node, ast.ClassDef):
            yield from _own_nodes([*node.decorator_list, *node.bases])
        elif isinstance(node, Comprehension):
            yield from _named_in(node)
        else:
            yield from _own_nodes(ast.iter_child_nodes(node))


def _named_in(node: ast.AST) -> Iterator[ast.AST]:
    """What `:=` binds below a node, outside of lambdas: they bind such names themselves."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.NamedExpr):
            yield child.target
        if not isinstance(child, ast.Lambda):
            yield from _named_in(child)


def _targets(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _in_order(nodes: ast.AST | Iterable[ast.AST], names: set[str]) -> list[str]:
    """`names` in the order in which they first appear below `nodes`."""
    parts = [nodes] if isinstance(nodes, ast.AST) else nodes
    found: dict[str, None] = {}
    for part in parts:
        for node in ast.walk(part):
            name = node.id if isinstance(node, ast.Name) else node.name if isinstance(node, ast.ExceptHandler) else None
            if name in names and name is not None:
                found.setdefault(name)
    return list(found)
