"""The metric table. Oracles: the contract of a card, and a fresh interpreter for what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unlearn_sweep.engine.contracts import metric_checks as checks
from unlearn_sweep.evaluators.catalog import COMPONENTS, METRICS, metric_card, row_metrics


def test_reading_the_catalog_imports_no_model_library() -> None:
    code = "import sys, evaluators.catalog; print([m for m in ('torch', 'transformers', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_objectives_and_front_run_without_torch() -> None:
    modules = "evaluators.objectives.robustness, evaluators.objectives.utility, evaluators.front"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", METRICS)
def test_a_card_says_all_there_is_to_know(name: str) -> None:
    card = metric_card(name)
    assert card.name == name
    checks.the_card_says_all_there_is(card)


def test_a_metric_over_splits_stands_for_its_components() -> None:
    assert row_metrics(["rouge", "model_utility", "rouge"]) == (
        "rouge",
        "probability",
        "normalised_probability",
        "truth_ratio",
    )
    assert all(part in METRICS and part not in COMPONENTS for parts in COMPONENTS.values() for part in parts)
    assert row_metrics([]) == ()


def test_an_unknown_name_is_answered_with_the_nearest_and_all_others() -> None:
    with pytest.raises(
        ValueError, match=r"unknown metric 'truth_ration'; known: probability, .*; did you mean 'truth_ratio'\?"
    ):
        metric_card("truth_ration")
    with pytest.raises(ValueError, match=r"unknown metric 'zzz'; known: [a-z0-9_, ]+$"):
        row_metrics(["zzz"])
