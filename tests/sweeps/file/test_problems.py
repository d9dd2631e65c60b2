"""Oracles: blocks written out by hand, and properties of what is shown."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from unlearn_sweep.sweeps.file.paths import nearest_path
from unlearn_sweep.sweeps.file.problems import SHOWN_CHARACTERS, Problem, SpecError, dotted, near_miss, shown


def test_a_suggested_path_exists(tmp_path: Path) -> None:
    """A name below which the rest of the path is missing is not suggested, such as an ordinary file for a folder."""
    (tmp_path / "share.txt").write_text("")
    (tmp_path / "shared2" / "data").mkdir(parents=True)
    (tmp_path / "sharex").mkdir()
    assert nearest_path(tmp_path / "share" / "data") == str(tmp_path / "shared2" / "data")
    assert nearest_path(tmp_path / "share" / "rows") is None
    assert nearest_path(tmp_path / "share") == str(tmp_path / "sharex")
    assert nearest_path(tmp_path / "share.txt" / "rows") is None


def test_text_of_an_error() -> None:
    problems = [
        Problem(path="search.trails", message="unknown key", line=9, column=3, given="'trails'", nearest="trials"),
        Problem(path="", message="no name", line=None),
        Problem(path="seed", message="of the wrong type", line=2, column=1, allowed="a whole number", advice="write 7"),
    ]
    assert SpecError("x.yaml", problems).text() == (
        "x.yaml: 3 mistakes; nothing was started or written.\n"
        "\n"
        "x.yaml: no name\n"
        "\n"
        "x.yaml:2: seed: of the wrong type\n"
        "    allowed: a whole number\n"
        "    do:      write 7\n"
        "\n"
        "x.yaml:9: search.trails: unknown key\n"
        "    given:   'trails'\n"
        "    nearest: trials"
    )


def test_the_same_problem_is_told_once() -> None:
    problem = Problem(path="a", message="b", line=1)
    assert len(SpecError("x", [problem, Problem(path="a", message="b", line=1)]).problems) == 1


def test_near_misses() -> None:
    assert near_miss("simnp0", ["npo", "simnpo", "graddiff"]) == "simnpo"
    assert near_miss("Grad-Diff", ["grad_ascent", "graddiff"]) == "graddiff"
    assert near_miss("learning-rate", ["learning_rate", "retain"]) == "learning_rate"
    assert near_miss("zebra", ["npo", "simnpo"]) is None
    assert near_miss("npo", []) is None


@given(st.recursive(st.text() | st.integers() | st.floats() | st.booleans(), st.lists, max_leaves=5))
def test_shown_values_cannot_steer_a_terminal(value: object) -> None:
    text = shown(value)
    assert text.isprintable()
    assert len(text) <= SHOWN_CHARACTERS + 40


@given(st.lists(st.text() | st.integers(0, 9), max_size=4))
def test_paths_are_one_printable_line(path: list[str | int]) -> None:
    assert dotted(path).isprintable()


def test_paths_as_people_write_them() -> None:
    assert dotted(("attacks", 2, "relearn", "steps", 0)) == "attacks[2].relearn.steps[0]"
