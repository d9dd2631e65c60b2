"""The parts of the slow suite. Oracles: a partition by hand, and pytest itself over a few small tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.slow_parts import parts, read_part

TESTS = [f"tests/a.py::test_{index}" for index in range(6)] + ["tests/e2e/b.py::test_1", "tests/e2e/b.py::test_2"]


def test_every_test_is_in_one_part_and_files_with_shared_fixtures_stay_whole() -> None:
    made = parts(TESTS, 3, {"tests/a.py": 12.0, "tests/e2e/b.py": 5.0})
    assert sorted(test for part in made for test in part) == sorted(TESTS)
    assert made[0] == TESTS[6:]
    assert [len(part) for part in made[1:]] == [3, 3]


def test_the_parts_are_of_about_equal_length() -> None:
    seconds = {f"tests/{index}.py": float(index) for index in range(1, 41)}
    made = parts([f"{file}::test" for file in seconds], 10, seconds)
    lengths = [sum(seconds[test.partition("::")[0]] for test in part) for part in made]
    assert max(lengths) - min(lengths) <= 4
    assert sum(lengths) == sum(seconds.values())


def test_the_order_of_collection_does_not_matter() -> None:
    assert [set(part) for part in parts(TESTS, 3, {})] == [set(part) for part in parts(TESTS[::-1], 3, {})]


@pytest.mark.parametrize("text", ["", "3", "0/10", "11/10", "a/b", "1/0"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="K/N"):
        read_part(text)


def run(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.slow_parts", "-q", "-rs", *options, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def test_pytest_runs_each_test_in_one_of_the_parts(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("".join(f"def test_{index}(): pass\n" for index in range(5)))
    ran = [run(tmp_path, "--part", f"{number}/2").splitlines()[-1].split()[0] for number in (1, 2)]
    assert sorted(ran) == ["2", "3"]


def test_nothing_begins_after_the_budget_and_what_is_left_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import time\ndef test_first(): time.sleep(0.5)\ndef test_second(): raise RuntimeError\n"
    )
    out = run(tmp_path, "--budget-s", "0.3")
    assert "1 passed, 1 skipped" in out
    assert "1 tests were not begun, out of time: test_it.py::test_second" in out
