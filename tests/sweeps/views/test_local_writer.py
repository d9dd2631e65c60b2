"""Views written by a model of this machine. Oracles: the counts of what was asked, and the same command again.

The model is a random Llama of two layers, so nearly all it writes is refused: every text that is missing is counted.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support.written_views import lines_of
from tests.sweeps.views.test_write_views import run, sweep_file, written
from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.chat_models.endpoint import CallError
from unlearn_sweep.evaluators.chat_models.local_model import LocalModel

SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
RECIPE = TrainRecipe(config={**SIZE, "max_position_embeddings": 1024}, vocab_size=400)
VIEWS = "[{paraphrase: {number: 2, attempts: 2}}, {alternate_answer: {number: 1, attempts: 1}}]"


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("writer") / "model"
    create_start_model(load_benchmark("authors", {"authors": 8, "forget_authors": 2}), RECIPE, folder)
    return folder


def test_every_text_is_written_or_counted_with_a_reason(
    tmp_path: Path, writer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLEARN_SWEEP_WRITER_FOLDER", str(writer))
    file = sweep_file(tmp_path, views=VIEWS, rows=4)
    first = run("write-views", file, "--json")
    reports = json.loads(first.stdout)
    assert first.exit_code == int(any(report["rows_without_enough"] for report in reports))
    assert [report["texts"] + sum(report["refused"].values()) for report in reports] == [8, 4]
    for report in reports:
        lines = lines_of(report["path"])
        assert all((line["answer"] is None) != (line["reason"] is None) for line in lines)
        assert Counter(line["reason"] for line in lines if line["reason"]) == report["refused"]
        assert len({line["row_id"] for line in lines}) == 4
    again = json.loads(run("write-views", file, "--json").stdout)
    assert [report["cost"]["calls"] for report in again if report["cost"] is not None] == [0] * first.exit_code * 2


def test_the_same_model_writes_the_same_again(tmp_path: Path, writer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling is seeded by what is asked: lost answers come back as they were."""
    monkeypatch.setenv("UNLEARN_SWEEP_WRITER_FOLDER", str(writer))
    file = sweep_file(tmp_path, views="[{alternate_answer: {number: 1, attempts: 1, missing: leave_out}}]", rows=4)
    (report,) = written(run("write-views", file, "--json"))
    before = Path(report["path"]).read_bytes()
    assert report["cost"]["calls"] == 4
    assert report["cost"]["completion_tokens"] > 0
    shutil.rmtree(tmp_path / "runs")
    (anew,) = written(run("write-views", file, "--json"))
    assert anew["cost"]["calls"] == 4
    assert Path(anew["path"]).read_bytes() == before


def test_what_a_model_cannot_read_is_an_error_of_that_call(writer: Path) -> None:
    with pytest.raises(CallError, match="tokens and 64 to answer with: the model reads 1024"):
        LocalModel(writer).complete([{"role": "user", "content": "Who keeps it? " * 500}], 64)
