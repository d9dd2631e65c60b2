"""The table of benchmarks. Oracles: a fresh process for what is imported, the metric catalog for names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS, load_benchmark
from unlearn_sweep.evaluators.catalog import METRICS

ROOT = Path(__file__).parents[3]


def test_reading_the_catalog_and_loading_the_built_in_benchmark_import_no_model_library() -> None:
    code = (
        "import sys; from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark;"
        "load_benchmark('authors', {});"
        "print(sorted({'torch', 'transformers', 'datasets', 'tokenizers', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_card_is_complete(name: str) -> None:
    card = BENCHMARKS[name]
    assert card.name == name
    assert callable(card.load())
    assert set(card.metrics) <= set(METRICS)
    for objective, metrics in (("ue", card.metrics), ("ut", card.ut_metrics or card.metrics)):
        assert any(objective in METRICS[metric].serves for metric in metrics)
    assert card.params.model_config.get("extra") == "forbid"


def test_an_unknown_benchmark_is_told_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown benchmark 'tofo'; known: authors, tofu, .*; did you mean 'tofu'"):
        load_benchmark("tofo", {})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="autors"):
        load_benchmark("authors", {"autors": 5})
