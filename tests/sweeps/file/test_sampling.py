"""Attack `sample` needs a metric that reads what it draws. Oracle: the catalog's `needs`, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.sweep_text import sweep_text
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import parse_spec

CHAIN = "{chain: [{relearn: {steps: [5]}}, {sample: {answers: 2}}]}"


def text(ue: str, attack: str) -> str:
    return sweep_text(attacks=f"attacks: [quantize, {attack}]", evaluators=f"evaluators: {{ue: [{ue}]}}")


@pytest.mark.parametrize("attack", ["sample", CHAIN])
def test_sampling_is_refused_where_no_metric_reads_answers(attack: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec(text("probability, extraction_strength", attack), folder=tmp_path)
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("attacks[1]", 4)
    assert "it would change nothing" in problem.message
    assert "rouge" in str(problem.allowed)


@pytest.mark.parametrize("attack", ["sample", CHAIN])
@pytest.mark.parametrize("ue", ["probability, rouge", "answer_contained"])
def test_one_metric_of_generated_answers_is_enough(attack: str, ue: str, tmp_path: Path) -> None:
    found = parse_spec(text(ue, attack), folder=tmp_path)
    assert len(found.attacks) == 2


@pytest.mark.parametrize(
    "before",
    [
        "preset: full_stack",
        "grid: {relearn: {learning_rate: [1e-5, 1e-4], lora_rank: [4, 8]}}",
        "relearn: {search: {trials: 3, learning_rate: {log: [1e-6, 1e-4]}}}",
    ],
)
def test_a_mistake_names_the_files_entry_where_one_before_it_is_several_attacks(before: str, tmp_path: Path) -> None:
    """Once each, though each of a search's settings has it."""
    wrong = "sample: {search: {trials: 3, temperature: {uniform: [0.5, 1.0]}}}"
    given = sweep_text(attacks=f"attacks: [{{{before}}}, {{{wrong}}}]", evaluators="evaluators: {ue: [probability]}")
    with pytest.raises(SpecError) as refused:
        parse_spec(given, folder=tmp_path)
    assert [problem.path for problem in refused.value.problems] == ["attacks[1]"]
