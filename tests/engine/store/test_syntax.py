"""The normal form of a source: what leaves it the same, and what does not.

Oracle: pairs of sources that do the same by the rules of the language, and pairs that do not.
"""

from __future__ import annotations

import pytest

from unlearn_sweep.engine.store.syntax import normal_form

SAME = {
    "docstring": ('def f(x):\n    """One."""\n    return x', 'def f(x):\n    """Two,\n    longer."""\n    return x'),
    "a body that is only a docstring": ('class A(B):\n    """One."""', "class A(B):\n    pass"),
    "text under an assignment": ('A = 1\n"""Says what A is."""', "A = 1"),
    "comment and blank lines": ("x = 1  # one\n\n\n# two\ny = 2", "x = 1\ny = 2"),
    "quotes, parentheses, digits": ("x = ('a' 'b', 1e-3, 1_000)", 'x = (("ab"), 0.001, 1000)'),
    "imports for type checking": ("if TYPE_CHECKING:\n    import a\nx = 1", "x = 1"),
    "their other branch stays": ("if TYPE_CHECKING:\n    import a\nelse:\n    b = 1", "b = 1"),
    "description of a field": ('a = Field(default=1, description="one")', 'a = Field(default=1, description="two")'),
    "local": ("def f(x):\n    y = x + 1\n    return y", "def f(x):\n    z = x + 1\n    return z"),
    "locals swapped": (
        "def f(x):\n    a, b = x\n    return a - b",
        "def f(x):\n    b, a = x\n    return b - a",
    ),
    "local read in a comprehension": (
        "def f(x):\n    low = 1\n    return [v for v in x if v > low]",
        "def f(x):\n    least = 1\n    return [item for item in x if item > least]",
    ),
    "local read in a function inside": (
        "def f(x):\n    low = 1\n    return lambda v: v > low",
        "def f(x):\n    least = 1\n    return lambda v: v > least",
    ),
    "caught error in a function": (
        "def f():\n    try:\n        g()\n    except E as a:\n        h(a)",
        "def f():\n    try:\n        g()\n    except E as b:\n        h(b)",
    ),
    "nested comprehension": ("x = [[a for a in b] for b in c]", "x = [[p for p in q] for q in c]"),
    "walrus": ("def f(x):\n    return [y for v in x if (y := v)]", "def f(x):\n    return [z for v in x if (z := v)]"),
}
OTHER = {
    "constant": ("x = 1", "x = 2"),
    "one and true": ("x = 1", "x = True"),
    "whole and real": ("x = 1", "x = 1.0"),
    "operator": ("def f(a, b):\n    return a - b", "def f(a, b):\n    return b - a"),
    "two locals mixed up": (
        "def f(x):\n    a = x\n    b = 1\n    return a - b",
        "def f(x):\n    a = x\n    b = 1\n    return b - a",
    ),
    "parameter": ("def f(x):\n    return x", "def f(y):\n    return y"),
    "global read": ("def f():\n    return a", "def f():\n    return b"),
    "local that becomes a global": ("def f():\n    a = 1\n    return a", "def f():\n    b = 1\n    return a"),
    "declared global": ("def f():\n    global a\n    a = 1", "def f():\n    global b\n    b = 1"),
    "global of a function inside": (
        "def f():\n    a = 1\n    def g():\n        global a\n        return a\n    return g",
        "def f():\n    b = 1\n    def g():\n        global b\n        return b\n    return g",
    ),
    "nonlocal": (
        "def f():\n    a = 1\n    def g():\n        nonlocal a\n        a = 2\n    return g",
        "def f():\n    b = 1\n    def g():\n        nonlocal b\n        b = 2\n    return g",
    ),
    "locals()": ("def f():\n    a = 1\n    return locals()", "def f():\n    b = 1\n    return locals()"),
    "attribute of a class inside": (
        "def f():\n    class A:\n        x = 1\n    return A",
        "def f():\n    class A:\n        y = 1\n    return A",
    ),
    "attribute": ("def f(a):\n    return a.x", "def f(a):\n    return a.y"),
    "keyword": ("def f(g):\n    a = 1\n    return g(a=a)", "def f(g):\n    a = 1\n    return g(b=a)"),
    "name that an f-string prints": (
        "def f():\n    a = 1\n    return f'{a=}'",
        "def f():\n    b = 1\n    return f'{b=}'",
    ),
    "comprehension that shadows": (
        "def f(x, a):\n    return [a for a in x]",
        "def f(x, a):\n    return [a for b in x]",
    ),
    "first iterable is read outside": ("x = [a for a in a]", "x = [a for a in b]"),
    "lambda's walrus is not the function's": (
        "def f(x):\n    return [(lambda: (y := v)) for v in x], y",
        "def f(x):\n    return [(lambda: (z := v)) for v in x], z",
    ),
    "text that is a value": ('x = "one"', 'x = "two"'),
    "description of something else": ('x = g(description="one")', 'x = g(description="two")'),
    "order of statements": ("f()\ng()", "g()\nf()"),
    "missing branch": ("if a:\n    b()\nelse:\n    c()", "if a:\n    b()"),
    "name caught at the top": ("try:\n    f()\nexcept E as a:\n    g(a)", "try:\n    f()\nexcept E as b:\n    g(b)"),
    "import": ("from a import b", "from a import c"),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_the_same_has_one_form(what: str) -> None:
    one, other = SAME[what]
    assert normal_form(one) == normal_form(other)


@pytest.mark.parametrize("what", OTHER)
def test_what_does_something_else_has_another(what: str) -> None:
    one, other = OTHER[what]
    assert normal_form(one) != normal_form(other)
