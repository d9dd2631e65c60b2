"""Plugins of a sweep file: what they add, and every mistake in them. Oracles: the catalogs, the text of problems."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.docs_pages import examples
from tests.support.plugin_text import METHOD, METRIC
from unlearn_sweep.engine.driver.plugin_files import keep_plugins
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS, build, card
from unlearn_sweep.plugins import cards_of, in_use, plugin_file, use
from unlearn_sweep.sweeps.cli import app
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, load_spec

SAMPLER = examples("extend.md")["my_sampler.py"]
SWEEP = """
name: with-plugins
benchmark: {{name: authors}}
plugins: {plugins}
methods: {methods}
attacks: [{{quantize: {{bits: 4}}}}]
evaluators: {{ue: {ue}, ut: [probability]}}
"""


@pytest.fixture(autouse=True)
def _no_plugins_afterwards() -> Iterator[None]:
    yield
    use(())


def checked(
    folder: Path, plugins: dict[str, str], *, methods: str = "{npo: published}", ue: str = "[probability]"
) -> SweepSpec:
    folder.mkdir(exist_ok=True)
    for name, text in plugins.items():
        (folder / name).write_text(text)
    named = json.dumps([f"./{name}" for name in plugins])
    (folder / "sweep.yaml").write_text(SWEEP.format(plugins=named, methods=methods, ue=ue))
    return load_spec(folder / "sweep.yaml", folder=Path("/"))


def problems(folder: Path, plugins: dict[str, str], **parts: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        checked(folder, plugins, **parts)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def test_a_plugin_beside_the_file_adds_a_method_and_a_metric(tmp_path: Path) -> None:
    """Relative to the file, not to the folder that the command runs in."""
    spec = checked(
        tmp_path / "a",
        {"mine.py": METHOD, "length.py": METRIC},
        methods="{hinge: published, npo+sam: {}}",
        ue="[probability, answer_length]",
    )
    assert [space.method for space in spec.spaces] == ["hinge", "npo+sam"]
    assert spec.ue_metrics == ("probability", "answer_length")
    assert [Path(file.path) for file in spec.plugins] == [tmp_path / "a" / "mine.py", tmp_path / "a" / "length.py"]
    assert METHODS["hinge"].param("margin") is not None
    assert build("hinge+sam", {"margin": 2.0}).needs().views == ("forget",)


def test_the_next_file_has_only_its_own_plugins(tmp_path: Path) -> None:
    checked(tmp_path / "a", {"mine.py": METHOD})
    assert "hinge" in METHODS
    checked(tmp_path / "b", {})
    assert "hinge" not in METHODS
    assert in_use() == ()
    with pytest.raises(KeyError, match="hinge"):
        card("hinge")


def test_an_edited_plugin_is_another_module_and_its_old_self_is_gone(tmp_path: Path) -> None:
    checked(tmp_path, {"mine.py": METHOD})
    before = METHODS["hinge"]
    checked(tmp_path, {"mine.py": METHOD.replace("margin: float = 1.0", "margin: float = 3.0")})
    assert METHODS["hinge"].target != before.target
    assert (before.load()().margin, METHODS["hinge"].load()().margin) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def f(:\n", ["line 1: invalid syntax"]),
        ("\n\nraise RuntimeError('no licence')\n", ["line 3: RuntimeError: no licence"]),
        ("import nothing_of_this_name\n", ["line 1: ModuleNotFoundError", "nothing_of_this_name"]),
        ("x = 1\n", ["defines no card", "CARD"]),
        ("CARD = 3\n", ["is no card"]),
        ("raise SystemExit(0)\n", ["SystemExit"]),
        (METHOD.replace('name="hinge"', 'name="npo"'), ["'npo' is built in"]),
        (METHOD.replace('name="hinge"', 'name="sam"'), ["'sam' is built in"]),
        (METHOD.replace('name="hinge"', 'name="my+hinge"'), ["'my+hinge' is no name", "lower-case"]),
        (METHOD.replace("}:Hinge", "}:Hing"), ["target 'Hing' of 'hinge'", "AttributeError"]),
        (METHOD.replace('f"{__name__}:Hinge"', '"Hinge"'), ["has target 'Hinge'", "__name__"]),
        (METRIC.replace("CARDS = (", "CARDS = 2 * ("), ["'answer_length' is named twice"]),
        ("class E(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise E\n", ["line 4: E"]),
        ("class C:\n    def __repr__(self):\n        raise RuntimeError\nCARD = C()\n", ["class C is no card"]),
        ("class C:\n    name = property(lambda self: 1 / 0)\nCARD = C()\n", ["class C is no card"]),
        ("x = '\0'\n", ["null bytes"]),
        (SAMPLER.replace("params=StepsOptions", "params=int"), ["has params <class 'int'>", "pydantic model"]),
        (SAMPLER.replace('extra="forbid", ', ""), ["must refuse unknown options"]),
        (SAMPLER.replace('name="steps"', 'name="tpe"'), ["'tpe' is built in"]),
        (SAMPLER.replace("def point(", "def pont("), ["target 'Steps' of 'steps'", "no method point"]),
    ],
)
def test_a_mistake_in_a_plugin_is_told_with_the_other_mistakes(text: str, words: list[str], tmp_path: Path) -> None:
    found = problems(tmp_path, {"mine.py": text}, ue="[no_such_metric]")
    (mine,) = (line for line in found if line.startswith("plugins[0]: "))
    assert all(word in mine for word in words), mine
    assert str(tmp_path / "mine.py") in mine
    assert any("no_such_metric" in line or "unknown metric" in line for line in found)


def test_a_missing_plugin_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "my_method.py").write_text(METHOD)
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(plugins="[my_methd.py]", methods="{npo: {}}", ue="[probability]"))
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "sweep.yaml", folder=Path("/"))
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.nearest) == ("plugins[0]", 4, str(tmp_path / "my_method.py"))


def test_two_plugins_of_one_name_are_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, {"one.py": METHOD, "two.py": METHOD + "\n"})
    assert line.startswith("plugins[1]: ")
    assert "'hinge' is in" in line


def test_a_list_shows_what_a_plugin_adds(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    done = CliRunner().invoke(app, ["methods", "--plugin", str(tmp_path / "mine.py"), "--json"])
    assert done.exit_code == 0, done.output
    assert [entry["name"] for entry in json.loads(done.stdout)] == [*METHODS.own, "hinge", *WRAPPERS.own]
    without = json.loads(CliRunner().invoke(app, ["methods", "--json"]).stdout)
    assert "hinge" not in [entry["name"] for entry in without]


def test_a_metric_from_outside_is_in_the_table_after_the_built_in_ones(tmp_path: Path) -> None:
    checked(tmp_path, {"length.py": METRIC})
    assert list(METRICS) == [*METRICS.own, "answer_length"]
    assert len(METRICS) == len(METRICS.own) + 1


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: f"\ufeff{text}"])
def test_a_copy_of_a_plugin_is_the_same_file_to_the_byte(change: Callable[[str], str], tmp_path: Path) -> None:
    """A file from Windows has other line ends; a copy with ours would be another plugin, and refused."""
    (tmp_path / "mine.py").write_bytes(change(METHOD).encode())
    (kept,) = keep_plugins([plugin_file(tmp_path / "mine.py")], tmp_path / "sweep")
    assert Path(kept.path).read_bytes() == (tmp_path / "mine.py").read_bytes()
    assert [getattr(card, "name", None) for card in cards_of(kept)] == ["hinge"]
