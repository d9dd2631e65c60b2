"""What a plan says of the probe. Oracle: the rule, written out here by case."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.architectures import small_benchmark
from tests.support.published_data import WRITERS
from tests.support.tiny_authors import tiny_job
from unlearn_sweep.engine.job import ModelSource
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.sweeps.prompt_words import PROBED, RUNNING_TEXT, SWITCHED_OFF, TRAINED_HERE, prompt_words


@pytest.mark.parametrize(
    ("benchmark", "given", "on", "words"),
    [
        ("authors", True, True, PROBED),
        ("authors", True, False, SWITCHED_OFF),
        ("authors", False, True, TRAINED_HERE),
        ("muse", True, True, RUNNING_TEXT),
        ("wmdp", True, True, RUNNING_TEXT),
        ("lkf", True, True, PROBED),
    ],
)
def test_a_plan_says_whether_the_format_is_probed(
    tmp_path: Path, benchmark: str, given: bool, on: bool, words: str
) -> None:
    rows = small_benchmark() if benchmark == "authors" else load_benchmark(benchmark, WRITERS[benchmark](tmp_path))
    source = ModelSource(path="owner/name") if given else ModelSource()
    job = tiny_job(tmp_path, "asked", []).model_copy(update={"original": source, "prompt_probe": on})
    assert prompt_words(job, rows).endswith(f"; {words}")


def test_without_rows_nothing_is_said_that_only_they_can_tell(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, "asked", []).model_copy(update={"original": ModelSource(path="owner/name")})
    assert "probed" not in prompt_words(job)
