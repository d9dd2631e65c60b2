"""Every key that a group accepts is listed when a key of it is misspelt, and offered for one letter left out.

Oracle: the groups' own models, and the keys that are read beside them, named here by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, CHAIN
from unlearn_sweep.methods.catalog import METHODS
from unlearn_sweep.sweeps.file.file_schema import SweepFile
from unlearn_sweep.sweeps.file.problem_collector import SHORT_FOR
from unlearn_sweep.sweeps.file.problems import Problem, SpecError
from unlearn_sweep.sweeps.file.pydantic_errors import keys_of
from unlearn_sweep.sweeps.file.spec import parse_spec

TOP = yaml.safe_load(sweep_text())


def misspelt(key: str) -> str:
    """The key without its last letter but one, so that no other rule than likeness finds it."""
    return key[:-2] + key[-1] if len(key) > 2 else f"{key}{key[-1]}"


def problem_of(data: Any, key: str, folder: Path) -> Problem:
    """The mistake about a key."""
    with pytest.raises(SpecError) as refused:
        parse_spec(yaml.safe_dump(data), folder=folder)
    return next(problem for problem in refused.value.problems if problem.path.endswith(key))


def check(make: Any, keys: list[str], folder: Path) -> None:
    """`make(typo)` is a file with that key in the group: it is answered with the key meant, from a list of all."""
    for key in keys:
        typo = misspelt(key)
        if typo in keys or typo in SHORT_FOR:
            continue
        found = problem_of(make(typo), typo, folder)
        assert found.nearest == key, (key, typo, found)
        listed = str(found.allowed)
        if " more" not in listed:
            assert set(keys) <= {word.strip() for word in listed.split(",")}, (key, found)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != CHAIN])
def test_keys_of_an_attack(name: str, tmp_path: Path) -> None:
    keys = [*ATTACKS[name].params.model_fields, "search", "utility_floor"]
    check(lambda typo: {**TOP, "attacks": [{name: {typo: 1}}]}, keys, tmp_path)


@pytest.mark.parametrize("name", ["relearn", "prefill", "gcg"])
def test_keys_of_a_search(name: str, tmp_path: Path) -> None:
    keys = ["trials", *ATTACKS[name].params.model_fields]
    check(lambda typo: {**TOP, "attacks": [{name: {"search": {typo: 3}}}]}, keys, tmp_path)


def test_names_of_attacks(tmp_path: Path) -> None:
    check(lambda typo: {**TOP, "attacks": [{typo: {}}]}, [*ATTACKS, "grid", "preset"], tmp_path)


def test_a_link_of_a_chain_has_no_search(tmp_path: Path) -> None:
    data = {**TOP, "attacks": [{"chain": ["quantize", {"relearn": {"serach": {}}}]}]}
    found = problem_of(data, "serach", tmp_path)
    assert "search" not in str(found.allowed)


@pytest.mark.parametrize("name", ["npo", "rmu", "dpo", "npo+sam", "npo+weight_avg"])
def test_keys_of_a_method(name: str, tmp_path: Path) -> None:
    from unlearn_sweep.methods.catalog import defaults

    assert "npo" in METHODS
    check(lambda typo: {**TOP, "methods": {name: {typo: 1.0}}}, list(defaults(name)), tmp_path)


APART = ("methods", "attacks", "benchmark")
SECTIONS = [name for name in SweepFile.model_fields if name not in APART and keys_of(SweepFile, (name,))]


@pytest.mark.parametrize("name", SECTIONS)
def test_keys_of_a_section(name: str, tmp_path: Path) -> None:
    own = TOP.get(name)
    before = own if isinstance(own, dict) else {}
    check(lambda typo: {**TOP, name: {**before, typo: 1}}, keys_of(SweepFile, (name,)), tmp_path)


def test_keys_of_the_file(tmp_path: Path) -> None:
    check(lambda typo: {**TOP, typo: 1}, list(SweepFile.model_fields), tmp_path)
