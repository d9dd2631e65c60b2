"""A pytest plugin, `-p tests.support.slow_parts`: one part of several of the selected tests, within a time budget.

`--part 3/10` keeps every tenth share of the work: tests are dealt out by the seconds they took when last recorded
(`--record`), the longest first, each to the part with the least so far. The same tests and records give the same parts,
and every test is in exactly one. Folders whose tests share a costly fixture stay together by file.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

SECONDS = Path(__file__).parent.parent / "slow_seconds.json"
"""Seconds of each file's tests together, as last recorded."""
UNKNOWN_S = 10.0
"""Seconds of a test in a file that was never recorded."""
WHOLE = ("tests/e2e/", "tests/packaging/", "tests/faults/")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parts of a slow suite")
    group.addoption("--part", metavar="K/N", help="run part K of N of the selected tests")
    group.addoption("--budget-s", type=float, metavar="S", help="begin no test after S seconds; say which are left")
    group.addoption("--record", action="store_true", help="write the seconds of each file to tests/slow_seconds.json")


def read_part(text: str) -> tuple[int, int]:
    """(K, N) of "K/N".

    Raises:
        UsageError: it is not of that form, or K is not in 1 to N.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise pytest.UsageError(f"--part {text}: wanted K/N with 1 <= K <= N")
    return int(number), int(count)


def unit_of(test: str) -> str:
    """What is dealt out together: a file with shared fixtures, or one test."""
    file = test.partition("::")[0]
    return file if file.startswith(WHOLE) else test


def parts(tests: Sequence[str], count: int, seconds: Mapping[str, float]) -> list[list[str]]:
    """The tests in `count` parts of about equal length, each in the order given."""
    in_file = Counter(test.partition("::")[0] for test in tests)
    units: dict[str, float] = defaultdict(float)
    for test in tests:
        file = test.partition("::")[0]
        units[unit_of(test)] += seconds[file] / in_file[file] if file in seconds else UNKNOWN_S
    filled, part_of = [0.0] * count, {}
    for unit in sorted(units, key=lambda unit: (-units[unit], unit)):
        place = filled.index(min(filled))
        filled[place] += units[unit]
        part_of[unit] = place
    return [[test for test in tests if part_of[unit_of(test)] == place] for place in range(count)]


def recorded() -> dict[str, float]:
    return json.loads(SECONDS.read_text(encoding="utf-8")) if SECONDS.is_file() else {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one part; after `-m` has had its say."""
    text = config.getoption("--part")
    if text is None:
        return
    number, count = read_part(text)
    own = set(parts([item.nodeid for item in items], count, recorded())[number - 1])
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in own])
    items[:] = [item for item in items if item.nodeid in own]


class Budget:
    """Skips what would begin after the budget, and adds up the seconds of each file."""

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self.began = time.monotonic()
        self.left: list[str] = []
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.limit_s is not None and time.monotonic() - self.began > self.limit_s:
            self.left.append(item.nodeid)
            pytest.skip(f"not begun: {self.limit_s:g} s are over")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.left:
            terminalreporter.write_line(f"{len(self.left)} tests were not begun, out of time: {', '.join(self.left)}")


def pytest_configure(config: pytest.Config) -> None:
    text = config.getoption("--part")
    if text is not None:
        read_part(text)
    config.pluginmanager.register(Budget(config.getoption("--budget-s")), "slow-budget")


def pytest_sessionfinish(session: pytest.Session) -> None:
    budget = session.config.pluginmanager.get_plugin("slow-budget")
    if session.config.getoption("--record") and budget is not None:
        write_seconds(recorded(), budget.seconds.items())


def write_seconds(before: Mapping[str, float], now: Iterable[tuple[str, float]]) -> None:
    """Replace the seconds of the files that ran; the others stay."""
    merged = {**before, **{file: round(spent, 1) for file, spent in now}}
    SECONDS.write_text(json.dumps(dict(sorted(merged.items())), indent=1) + "\n", encoding="utf-8")
