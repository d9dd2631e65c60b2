"""One tokenizer for all models. Oracle: the same weights under another tokenizer_config give the same rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.support.search_half import search_groups
from tests.support.tiny_authors import OPTIONS, RECIPE
from unlearn_sweep.engine.models.loading import refuse_other_vocabulary
from unlearn_sweep.engine.models.start_model import create_start_model, train_tokenizer
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

BENCHMARK = {"name": "authors", "params": OPTIONS}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    recipe = TrainRecipe(config=RECIPE["config"], vocab_size=400, seed=1)  # pyright: ignore[reportArgumentType]
    create_start_model(load_benchmark("authors", OPTIONS), recipe, folder)
    return folder


def rows(model: Path, folder: Path, tokenizer: Path | None) -> pd.DataFrame:
    torch.set_num_threads(1)
    request = MeasureRequest(
        model_path=str(model),
        benchmark=BENCHMARK,
        metrics=["probability"],
        rows_path=str(folder / f"{model.name}.parquet"),
        tokenizer_path=None if tokenizer is None else str(tokenizer),
    )
    Bench().measure(request)
    return pd.read_parquet(request.rows_path)


def test_the_same_weights_under_another_tokenizer_config_score_the_same(original: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(original, twin)
    config = json.loads((twin / "tokenizer_config.json").read_text())
    (twin / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": "<|pad|>"}))
    wanted = rows(original, tmp_path, original)["probability"]
    assert rows(twin, tmp_path, original)["probability"].equals(wanted)
    assert not rows(twin, tmp_path, None)["probability"].equals(wanted)  # its own is another: the comparison can fail


def test_measured_rows_name_the_half_that_scoring_draws(original: Path, tmp_path: Path) -> None:
    table = rows(original, tmp_path, original)
    for split, judged in load_benchmark("authors", OPTIONS).evaluation.items():
        lines = table.loc[table["split"] == split]
        search = set(lines.loc[lines["half"] == "search", "group_id"].tolist())
        assert search == search_groups(judged)
        assert set(lines["half"].tolist()) == {"search", "report"}


def test_a_folder_without_tokenizer_is_measured_by_the_originals(original: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(original, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    assert rows(bare, tmp_path, original)["probability"].equals(rows(original, tmp_path, original)["probability"])
    refuse_other_vocabulary(str(bare), str(original))


def test_another_vocabulary_is_refused(original: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(original, other)
    train_tokenizer(["nothing like the authors"] * 9, vocab_size=300).save_pretrained(other)
    with pytest.raises(ValueError, match="another vocabulary than the one that is used"):
        refuse_other_vocabulary(str(other), str(original))
