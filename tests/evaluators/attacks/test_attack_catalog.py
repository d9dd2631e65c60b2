"""The attack table: what it refuses, what it imports, and the page written from it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from unlearn_sweep.evaluators.attacks.attack_params import WeightsParams
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS, CARDS, build, card, validate
from unlearn_sweep.evaluators.attacks.presets import PRESETS
from unlearn_sweep.evaluators.attacks.reference_page import render

ROOT = Path(__file__).parents[3]


def test_reading_the_table_and_validating_imports_no_model_library() -> None:
    code = (
        "import sys; from unlearn_sweep.evaluators.attacks.catalog import validate;"
        "import unlearn_sweep.evaluators.attacks.reference_page as page;"
        "validate('chain', [{'quantize': {'bits': 4}}, {'relearn': {'steps': [20]}}]); page.render();"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [card.name for card in CARDS])
def test_every_target_can_be_loaded_and_has_a_run_method(name: str) -> None:
    assert callable(card(name).load().run)


def test_names_are_unique() -> None:
    assert len(ATTACKS) == len(CARDS)


def test_unknown_name_says_which_names_there_are_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown attack 'relern'; known: .*did you mean 'relearn'\?"):
        card("relern")


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("relearn", {"step": [5]}, "Extra inputs"),
        ("relearn", {"steps": [20, 5]}, r"strictly rise.*try \[5, 20\]"),
        ("relearn", {"steps": []}, "non-empty"),
        ("relearn", {"steps": [5, 5]}, "strictly rise"),
        ("relearn", {"steps": -1}, "greater than or equal to 0"),
        ("relearn", {"learning_rate": "1e-5"}, "valid number"),
        ("relearn", {"learning_rate": float("nan")}, "finite number"),
        ("quantize", {"bits": 1}, "Input should be 2, 3, 4, 5, 6, 7, 8 or 16"),
        ("quantize", {"bits": [4, 8]}, r"strictly fall.*try \[8, 4\]"),
        ("quantize", {"granularity": "row"}, "'per_tensor', 'per_channel' or 'group'"),
        ("prefill", {"tokens": [1], "text": "Sure"}, "not both"),
        ("few_shot", {"demonstrations": "world"}, "'forget' or 'retain'"),
        ("sample", {"answers": [1, 8], "drawn": 4}, "the worst of 8 answers needs 8 or more"),
        ("paraphrase", {"wordings": 0}, "greater than or equal to 1"),
        ("finetune", {"heldout_rows": 0}, "greater than or equal to 1"),
        ("chain", [{"quantize": {}}], "at least 2 items"),
        ("chain", [{"quantize": {}}, {"relern": {}}], "did you mean 'relearn'"),
        ("chain", [{"quantize": {}}, {"relearn": {"steps": "x"}}], "valid integer"),
        ("chain", [{"quantize": {}}, {"relearn": {}, "prefill": {}}], r"steps\[1\] must name one attack"),
        ("chain", {"steps": [{"quantize": {}}, {"chain": [{"prefill": {}}]}]}, "valid dictionary"),
    ],
)
def test_wrong_parameters_are_refused_with_what_is_allowed(name: str, params: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        validate(name, params)  # type: ignore[arg-type]


def test_one_strength_may_be_given_bare() -> None:
    assert build("relearn", {"steps": 7}).params.curve == (7,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_hold_valid_attacks(name: str) -> None:
    for attack in PRESETS[name].attacks:
        ((attack_name, params),) = attack.items()
        assert validate(attack_name, params) is not None


# Steps, rows trained on, rows read and states at the defaults, by hand from the attacks' pages.
WORK = {
    "prefill": (0, 0, 0, 4),
    "few_shot": (0, 0, 0, 3),
    "in_context": (0, 0, 0, 1),
    "paraphrase": (0, 0, 0, 2),
    "rwku_prompts": (0, 0, 0, 9),
    "think": (0, 0, 0, 2),
    "sample": (0, 0, 0, 3),
    "quantize": (0, 0, 0, 1),
    "relearn": (100, 100 * 4, 0, 3),
    "finetune": (250, 250 * 32, 0, 1),
    "logit_lens": (0, 0, 0, 1),
    "prune": (0, 0, 2 * 128, 5),
    "abliterate": (0, 0, 2 * 256, 1),
    "soft_prompt": (100, 100 * 16, 0, 2),
    "gcg": (250, 250 * 5, 250 * 5 * 512, 1),
    "enhanced_gcg": (250, 2 * 250 * 5, 2 * 250 * 5 * 64, 1),
    "chain": (100, 400, 256, 3),
}


@pytest.mark.parametrize("name", [card.name for card in CARDS])
def test_every_attack_declares_its_work(name: str) -> None:
    assert not inspect.isabstract(card(name).params)
    work = validate(name, {"steps": [{"prune": {}}, {"relearn": {}}]} if name == "chain" else {}).work()
    assert (work.steps, work.trained_rows, work.read_rows, work.states) == WORK[name]


class Undeclared(WeightsParams):
    scale: float = 1.0


class Foreign(BaseModel):
    scale: float = 1.0


@pytest.mark.parametrize(("params", "said"), [(Undeclared, "a method work"), (Foreign, "derived from AttackParams")])
def test_a_plugin_without_its_work_is_refused(params: type[BaseModel], said: str) -> None:
    (problem,) = ATTACKS.problems([replace(card("quantize"), name="mine", params=params)])
    assert said in problem
    assert ATTACKS.problems([replace(card("quantize"), name="mine")]) == []


def test_page_is_the_rendered_table() -> None:
    written = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    assert written == render(), "run: python -m unlearn_sweep.evaluators.attacks.reference_page > docs/attacks.md"


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *((card.name, {}) for card in CARDS if card.name != "chain"),
        ("prefill", {"text": "Sure, the answer is"}),
        ("quantize", {"backend": "bitsandbytes"}),
        ("quantize", {"scheme": "gptq", "samples": 4}),
    ],
)
def test_resolved_parameters_are_valid_parameters(name: str, params: dict[str, object]) -> None:
    """A job and the steps of a chain hold every field; what was left out must not count as given."""
    try:
        resolved = validate(name, params)
    except ValueError as error:
        pytest.skip(f"needs a value: {error}")
    assert validate(name, resolved.model_dump()) == resolved
