"""The catalog against the classes it describes, and against what a user may write."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unlearn_sweep.engine.contracts import method_checks as checks
from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.catalog import FINETUNE, METHODS, WRAPPERS, build, card, check
from unlearn_sweep.methods.catalog_page import render
from unlearn_sweep.methods.npo import NPO

CARDS = [*METHODS.values(), FINETUNE]
PARAMS = [(entry.name, param) for entry in (*CARDS, *WRAPPERS.values()) for param in entry.params]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "methods.md"
by_name = pytest.mark.parametrize("entry", CARDS, ids=[entry.name for entry in CARDS])
by_param = pytest.mark.parametrize(("name", "param"), PARAMS, ids=[f"{name}.{param.name}" for name, param in PARAMS])


def test_names_are_the_keys() -> None:
    assert [entry.name for entry in METHODS.values()] == list(METHODS)
    assert FINETUNE.name not in METHODS


@by_name
def test_fields_are_the_parameters_of_the_loss(entry: MethodCard) -> None:
    checks.fields_are_the_parameters(entry)


@pytest.mark.parametrize("entry", WRAPPERS.values(), ids=list(WRAPPERS))
def test_fields_are_the_parameters_of_the_wrapper(entry: MethodCard) -> None:
    assert entry.kind == "wrapper"
    checks.fields_are_the_parameters(entry)


@by_name
def test_needs_are_those_of_the_defaults(entry: MethodCard) -> None:
    checks.needs_on_the_card_are_those_of_the_defaults(entry)


@by_name
def test_training_parameters_are_on_every_card(entry: MethodCard) -> None:
    checks.training_parameters_are_on_the_card(entry)


@by_param
def test_defaults_and_search_ranges_are_legal(name: str, param: Param) -> None:
    checks.default_and_range_are_legal(param)


def test_reading_the_catalog_imports_no_torch() -> None:
    code = (
        "import sys, methods.catalog, methods.catalog_page; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_build_passes_only_what_the_loss_has() -> None:
    assert build("npo", {"beta": 0.2, "learning_rate": 3e-5, "epochs": 2}) == NPO(beta=0.2)
    assert build("npo", {}) == NPO()


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"^npo: ") as caught:
        build("npo", {"beta": 0, "gamma": 1, "retain": "k", "epochs": 1.5, "learning_rate": True})
    problems = str(caught.value).removeprefix("npo: ").split("; ")
    assert "beta: must be a finite number > 0, got 0" in problems
    assert "retain: must be one of nll, kl, jsd, embed_mse, hidden_l2, ap, none, got 'k'" in problems
    assert "epochs: must be a whole number, got 1.5" in problems
    assert "learning_rate: must be a number, got True" in problems
    assert any(problem.startswith("gamma: no such parameter") for problem in problems)


@pytest.mark.parametrize(
    ("method", "param", "value"),
    [
        ("npo", "beta", float("nan")),
        ("npo", "beta", float("inf")),
        ("npo", "beta", -0.1),
        ("npo", "beta", "0.1"),
        ("npo", "epochs", 0),
        ("npo", "epochs", True),
        ("npo", "retain", ["nll"]),
        ("npo", "retain", None),
        ("pdu", "dual_warmup", 1.01),
        ("jensun", "target", ""),
        ("jensun", "target", 3),
    ],
)
def test_illegal_values(method: str, param: str, value: Any) -> None:
    assert len(check(card(method), {param: value})) == 1


@pytest.mark.parametrize(
    ("method", "param", "value"),
    [("wga", "beta", 0), ("pdu", "dual_warmup", 1), ("jensun", "target", " any text"), ("ceu", "skip_tokens", 0)],
)
def test_legal_at_the_limit(method: str, param: str, value: Any) -> None:
    assert check(card(method), {param: value}) == []


@pytest.mark.parametrize(("wrong", "hint"), [("nop", "did you mean 'npo'"), ("zzz", "known: grad_ascent, ")])
def test_an_unknown_method_is_told_the_nearest(wrong: str, hint: str) -> None:
    with pytest.raises(KeyError, match=re.escape(hint)):
        card(wrong)


def test_the_page_is_the_rendering() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: make docs"


@pytest.mark.parametrize("entry", [*METHODS.values(), *WRAPPERS.values(), FINETUNE], ids=lambda entry: entry.name)
def test_the_page_covers(entry: MethodCard) -> None:
    page = PAGE.read_text(encoding="utf-8")
    section = page.split(f"\n## {entry.name}\n")[1].split("\n## ")[0]
    assert entry.equation in section
    for param in entry.params:
        assert f"| `{param.name}` |" in section
