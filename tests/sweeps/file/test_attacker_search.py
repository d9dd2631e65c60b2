"""Searched attackers in a sweep file. Oracles: the file's ranges, the attack written without a search, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.engine.job import AttackSettings
from unlearn_sweep.engine.samplers.attacker_settings import attacker_settings
from unlearn_sweep.engine.search_space import Choice, LogUniform
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec

SEARCH = "{trials: 6, learning_rate: {log: [1e-5, 1e-3]}, lora_rank: {choice: [0, 8]}}"


def attacks(text: str, folder: Path, seed: int = 1) -> tuple[AttackSettings, ...]:
    return parse_spec(sweep_text(attacks=f"attacks: {text}", seed=f"seed: {seed}"), folder=folder).attacks


def test_each_setting_is_an_attack_and_the_first_is_the_attack_as_written(tmp_path: Path) -> None:
    found = attacks(f"[relearn: {{steps: [5], search: {SEARCH}, utility_floor: 0.8}}, quantize]", tmp_path)
    (plain, _) = attacks("[relearn: {steps: [5]}, quantize]", tmp_path)
    settings = found[:6]
    assert [attack.label for attack in settings] == [f"relearn-search-0{number}" for number in range(1, 7)]
    assert settings[0].params == plain.params
    assert len({str(attack.params) for attack in settings}) == 6
    for attack in settings[1:]:
        assert 1e-5 <= attack.params["learning_rate"] <= 1e-3
        assert attack.params["lora_rank"] in (0, 8)
        assert {**attack.params, "learning_rate": 0, "lora_rank": 0} == {**plain.params, "learning_rate": 0}
        assert attack.searched is not None
        assert (attack.searched.label, attack.searched.trials, attack.searched.utility_floor) == (
            "relearn-search",
            6,
            0.8,
        )
    assert found[6].searched is None


def test_every_sweep_faces_the_same_attackers(tmp_path: Path) -> None:
    """Neither the seed of the sweep nor the attacks before it change the settings; other parameters of it do."""
    text = f"relearn: {{steps: [5], search: {SEARCH}}}"
    once = [attack.params for attack in attacks(f"[{text}]", tmp_path)]
    assert [attack.params for attack in attacks(f"[quantize, {text}]", tmp_path, seed=9)][1:] == once
    other = [attack.params["learning_rate"] for attack in attacks(f"[{text.replace('[5]', '[7]')}]", tmp_path)]
    assert other[1:] != [params["learning_rate"] for params in once[1:]]


def test_two_searches_of_one_attack_have_names_of_their_own(tmp_path: Path) -> None:
    text = f"{{relearn: {{steps: [5], search: {SEARCH}}}}}"
    found = attacks(f"[{text}, {text.replace('[5]', '[7]')}]", tmp_path)
    assert len({attack.label for attack in found}) == 12
    assert {attack.searched.label for attack in found if attack.searched} == {"relearn-search", "relearn-search-2"}


def test_a_prompt_attack_is_searched_too(tmp_path: Path) -> None:
    found = attacks("[prefill: {tokens: [3], search: {trials: 3, tokens: {choice: [1, 2]}}}]", tmp_path)
    assert [attack.params["tokens"] for attack in found] == [[3], 1, 2]


@pytest.mark.parametrize(
    ("params", "place", "says"),
    [
        ("search: {trials: 3, rank: {choice: [8, 64]}}", "search.rank", "lora_rank"),
        ("search: {trials: 3, learning_rate: {lgo: [1e-6, 1e-4]}}", "search.learning_rate.lgo", "log"),
        ("search: {trials: 3, learning_rate: {log: [1e-4, 1e-6]}}", "search.learning_rate.log", "low first"),
        ("search: {trials: 3, learning_rate: {log: [0, 1e-6]}}", "search.learning_rate.log", "above 0"),
        ("search: {trials: 3, learning_rate: {uniform: [0.1, 7]}}", "search.learning_rate.uniform[1]", "less than"),
        ("search: {trials: 3, learning_rate: [1e-6, 1e-4]}", "search.learning_rate", "choice"),
        ("search: {trials: 1, learning_rate: {log: [1e-6, 1e-4]}}", "search.trials", "from 2 to 256"),
        ("search: {learning_rate: {log: [1e-6, 1e-4]}}", "search", "trials: 12"),
        ("search: {trials: 3}", "search", "name a parameter"),
        ("search: {trials: 9, lora_rank: {choice: [8, 64]}}", "search.trials", "write 3"),
        ("search: 12", "search", "trials: 12"),
        ("utility_floor: 0.9", "utility_floor", "add search"),
        (f"search: {SEARCH}, utility_floor: 90", "utility_floor", "from 0 to 1"),
    ],
)
def test_a_mistake_is_named_with_place_and_what_to_write(params: str, place: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        attacks(f"[relearn: {{steps: [5], {params}}}]", tmp_path)
    (problem,) = refused.value.problems
    assert problem.path == f"attacks[0].relearn.{place}"
    assert problem.line
    told = " ".join(str(part) for part in (problem.message, problem.allowed, problem.nearest, problem.advice))
    assert says in told


def test_a_chain_has_no_searched_link(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        attacks(f"[chain: [quantize, relearn: {{search: {SEARCH}}}]]", tmp_path)
    assert any("search" in str(problem.path) for problem in refused.value.problems)


def test_a_design_has_one_value_in_each_part_of_a_range() -> None:
    """Latin hypercube, by its definition: of 8 settings, one lies in each eighth of the logarithmic range."""
    space = {"rate": LogUniform(1e-8, 1.0), "rank": Choice((8, 64))}
    found = attacker_settings("x", space, 8)
    rates = sorted(float(setting["rate"]) for setting in found)
    assert all(10.0 ** (part - 8) <= rate <= 10.0 ** (part - 7) for part, rate in enumerate(rates))
    assert sum(setting["rank"] == 8 for setting in found) == 4
    assert found == attacker_settings("x", space, 8) != attacker_settings("y", space, 8)
