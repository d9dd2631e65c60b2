"""The house rules that a program can check, over every file of the project. Oracle: the syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sweeps", "engine", "methods", "evaluators")
GROUND = {"plugins", "user_error"}
"""The modules below all packages, in `src/unlearn_sweep/`."""
MAY_IMPORT = {
    "sweeps": {"sweeps", "engine", "methods", "evaluators"} | GROUND,
    "engine": {"engine", "methods", "evaluators"} | GROUND,
    "methods": {"methods"} | GROUND,
    "evaluators": {"evaluators"} | GROUND,
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


OWN = "unlearn_sweep"


def module_of(path: Path) -> str:
    return ".".join((OWN, *path.relative_to(ROOT).with_suffix("").parts))


MODULES = {module_of(path) for path in SOURCES}


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module a file imports, inside functions and for type checking too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def packages_of(path: Path) -> set[str]:
    """Which of our four packages a file imports from; the package's own `__version__` is none."""
    names = imported(path) - {f"{OWN}.__version__"}
    return {parts[1] for name in names if (parts := name.split("."))[0] == OWN and len(parts) > 1}


def room_of(module: str) -> str:
    """A folder inside a package, or a file that lies beside its folders."""
    return ".".join(module.split(".")[:3])


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(strangers)
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] == package
        if (strangers := packages_of(path) - MAY_IMPORT[package])
    }
    assert wrong == {}


def test_the_ground_floor_imports_nothing_of_ours() -> None:
    own = sorted((ROOT / "src" / OWN).glob("*.py"))
    assert [path.stem for path in own] == ["__init__", *sorted(GROUND)]
    # `__init__` names the library for type checkers, and loads it when asked: tests/sweeps/test_python_interface.py
    library = {path: {"sweeps"} if path.stem == "__init__" else set() for path in own}
    assert {parts for path in own for parts in packages_of(path) - library[path]} <= GROUND


def test_only_the_ray_folder_imports_ray() -> None:
    users = {path.relative_to(ROOT) for path in SOURCES if "ray" in {name.split(".")[0] for name in imported(path)}}
    assert users
    assert {user for user in users if not user.is_relative_to("engine/on_ray")} == set()


PRINT = {"print", "echo", "secho", "Console"}
MAY_PRINT = {
    Path("sweeps/printing.py"),
    Path("engine/stages/time_limit.py"),  # a fixed text, right before the process ends
    Path("engine/on_ray/head_failure.py"),  # a fixed text, right before the process ends
}


def prints(path: Path) -> set[str]:
    """Names of functions that print past `sweeps/printing.py`; a method `print` belongs to a console."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    return PRINT & (names | {call.attr for call in calls if isinstance(call, ast.Attribute) and call.attr != "print"})


def test_everything_is_printed_in_one_place() -> None:
    """So that control characters are escaped everywhere. Pages are generated into a file by their `main`."""
    found = {path.relative_to(ROOT): prints(path) for path in SOURCES if not path.stem.endswith("_page")}
    assert {path for path, names in found.items() if names} == MAY_PRINT


def test_every_import_of_our_own_names_the_installed_package() -> None:
    wrong = {
        str(path.relative_to(ROOT)) for path in SOURCES for name in imported(path) if name.split(".")[0] in PACKAGES
    }
    assert wrong == set()


def circle(graph: Mapping[str, Set[str]]) -> list[str] | None:
    """One circle of the graph, first and last the same; None if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_file_imports_itself_through_others() -> None:
    assert circle({module_of(path): imported(path) & MODULES for path in SOURCES}) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_no_room_imports_itself_through_others(package: str) -> None:
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] == package:
            own = room_of(module_of(path))
            others = {room_of(name) for name in imported(path) & MODULES if name.split(".")[1] == package}
            graph.setdefault(own, set()).update(others - {own})
    assert circle(graph) is None


def test_what_validate_needs_imports_no_model_library() -> None:
    code = (
        "import sys\nfrom unlearn_sweep.sweeps import cli\nfrom unlearn_sweep.sweeps.file import spec\n"
        "from unlearn_sweep.methods import catalog\nfrom unlearn_sweep.evaluators import catalog\n"
        "from unlearn_sweep.evaluators.attacks import catalog\n"
        "from unlearn_sweep.evaluators.benchmarks import catalog\n"
        "print(sorted({'torch', 'transformers', 'ray', 'mlflow', 'pandas', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_types_are_checked_in_every_package() -> None:
    """Pyright follows no link below a folder that it is given, so each package is named."""
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]["include"]
    assert set(included) >= {f"src/{OWN}/{package}" for package in PACKAGES}
