"""docs/metrics.md and docs/benchmarks.md. Oracles: the tables they are written from, and their own headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unlearn_sweep.evaluators import metrics_page
from unlearn_sweep.evaluators.benchmarks import reference_page
from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS
from unlearn_sweep.evaluators.catalog import METRICS
from unlearn_sweep.evaluators.judge.settings import PREFIX, judge_settings

DOCS = Path(__file__).parents[2] / "docs"


def headings(page: str) -> list[str]:
    return re.findall(r"^## ([a-z0-9_]+)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "written", "module"),
    [
        ("metrics.md", metrics_page.render(), "unlearn_sweep.evaluators.metrics_page"),
        ("benchmarks.md", reference_page.render(), "unlearn_sweep.evaluators.benchmarks.reference_page"),
    ],
)
def test_a_page_is_up_to_date(page: str, written: str, module: str) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == written, f"run: python -m {module} > docs/{page}"


def test_pages_and_tables_have_the_same_names() -> None:
    assert headings("metrics.md") == list(METRICS)
    assert headings("benchmarks.md") == list(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_option_and_the_terms_of_a_benchmark_are_told(name: str) -> None:
    card = BENCHMARKS[name]
    section = (DOCS / "benchmarks.md").read_text(encoding="utf-8").partition(f"## {name}\n")[2].partition("\n## ")[0]
    assert all(f"| `{option}` |" in section for option in card.params.model_fields)
    assert f"- Licence: {card.licence}" in section
    assert "- Gold model: " in section
    if card.hub:
        assert "pinned" in section


def test_the_variables_of_the_judge_are_those_that_are_read() -> None:
    told = set(re.findall(rf"`{PREFIX}(\w+)`", (DOCS / "metrics.md").read_text(encoding="utf-8")))
    values = {"URL": "https://x.example/v1", "MODEL": "m", "KEY": "k", "PRICES": "1,2", "CACHE": "c"}
    values |= {"REASONING": "1", "TOKENS": "9", "BODY": '{"a": 1}'}
    # FOLDER is in place of the first two (test_local_judge.py reads it), RULES is read by `judge_question`.
    assert told == {*values, "FOLDER", "RULES"}
    found = judge_settings({f"{PREFIX}{name}": value for name, value in values.items()})
    assert (found.url, found.model, found.key, found.prices, str(found.cache)) == (
        "https://x.example/v1",
        "m",
        "k",
        (1.0, 2.0),
        "c",
    )
    assert (found.reasoning, found.tokens, found.body) == (True, 9, '{"a": 1}')


def test_pages_name_no_place_of_this_machine() -> None:
    for page in ("metrics.md", "benchmarks.md", "own-data.md"):
        assert "/work" not in (DOCS / page).read_text(encoding="utf-8")


def test_links_inside_the_pages_lead_somewhere() -> None:
    for page in ("metrics.md", "benchmarks.md", "own-data.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (DOCS / target).exists(), f"{page} links to {target}"
