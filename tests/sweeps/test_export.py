"""Export of a real tiny model. Oracle: transformers loads the folder and generates what the model in the store does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.sweep_folder import trial, write_sweep, write_trial
from unlearn_sweep.engine.models.loading import save_model
from unlearn_sweep.engine.models.start_model import random_llama, train_tokenizer
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe
from unlearn_sweep.sweeps.export import ExportError, export_trial


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three trials: 0 has its model in the store, 1 was evicted, 2 failed."""
    storage = tmp_path_factory.mktemp("runs")
    failed = trial(2, state="failed", reason="ValueError: no rows", failed_stage="unlearn", stage_keys={})
    folder = write_sweep(storage / "demo", [trial(0, rob_is_bound=True), trial(1), failed])
    tokenizer = train_tokenizer(["where was Ada born", "in Oslo, by the sea"], vocab_size=300)
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = random_llama(TrainRecipe(config=config), tokenizer)
    target = storage / "store" / "models" / trial(0).stage_keys["unlearn"]
    save_model(model, tokenizer, target)
    (target / "optimizer.pt").write_bytes(b"a pickle stays where it is")
    return folder


def generate(folder: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    inputs = tokenizer("where was", return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        return model.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()


def test_the_folder_loads_and_generates_like_the_stored_model(stored: Path, tmp_path: Path) -> None:
    result = export_trial(stored, "0", tmp_path / "model")
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= set(result.files)
    assert not (result.folder / "optimizer.pt").exists()
    assert result.bytes == sum(path.stat().st_size for path in result.folder.iterdir())
    generated = generate(result.folder)
    assert generated == generate(stored.parent / "store" / "models" / trial(0).stage_keys["unlearn"])
    assert len(generated) > 2


def test_the_card_says_what_the_model_is(stored: Path, tmp_path: Path) -> None:
    card = (export_trial(stored, trial(0).key, tmp_path / "model").folder / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "transformers"
    for text in ("`npo`", "seed 7", "| beta | 0.1 |", "| learning_rate | 1e-05 |", "| UE (forgetting) | 0.5 | 0.5 |"):
        assert text in card
    assert "| relearn | relearn | 0.4 | 0.4 | 0.8 |" in card
    assert "Rob is an upper bound" in card
    assert "AutoModelForCausalLM.from_pretrained" in card


def test_the_cards_code_runs(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export_trial(stored, "0", tmp_path / "model").folder
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    said: list[object] = []
    exec(code, {"print": said.append})
    assert isinstance(said[0], str)


def test_a_hub_model_is_named_as_base_and_a_local_path_is_not(stored: Path, tmp_path: Path) -> None:
    lock = stored / "spec.lock.yaml"
    before = lock.read_text()
    try:
        for number, (source, named, expected) in enumerate(
            (
                ({"path": "meta-llama/Llama-3.2-1B@main"}, "meta-llama/Llama-3.2-1B@main", "meta-llama/Llama-3.2-1B"),
                ({"path": "/home/me/models/own"}, "own", None),
                ({"path": None, "recipe": {"base": "org/base"}}, "org/base", "org/base"),
                ({"path": None, "recipe": {"base": "/home/me/models/base"}}, "base", None),
            )
        ):
            document = yaml.safe_load(before)
            document["job"]["original"] = source
            lock.write_text(yaml.safe_dump(document))
            card = (export_trial(stored, "0", tmp_path / str(number)).folder / "README.md").read_text()
            assert ("which the sweep had fine-tuned" in card) is ("recipe" in source)
            assert yaml.safe_load(card.split("---")[1]).get("base_model") == expected
            assert f"from `{named}`" in card
            assert "/home/me" not in card
    finally:
        lock.write_text(before)


def test_nothing_is_overwritten(stored: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"not empty \(it has thesis.txt\)"):
        export_trial(stored, "0", full)
    with pytest.raises(ExportError, match="is no folder"):
        export_trial(stored, "0", full / "thesis.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "thesis.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert export_trial(stored, "0", empty).folder == empty


def test_an_unknown_trial_is_told_what_exists(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no trial '9'.*Settled trials: 0, 1, 2 ") as error:
        export_trial(stored, "9", tmp_path / "model")
    assert trial(0).key in str(error.value)
    with pytest.raises(ExportError, match="no trial '0000'"):  # the beginning of every key
        export_trial(stored, "0000", tmp_path / "model")


def test_an_evicted_model_comes_with_the_lines_that_train_it_again(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="only models on the front are kept") as error:
        export_trial(stored, "1", tmp_path / "model")
    lines = yaml.safe_load(str(error.value).partition("\n\n")[2])
    assert lines["methods"] == {"npo": trial(1).params}
    assert (lines["seed"], lines["search"]) == (7, {"trials": 1})
    assert not (tmp_path / "model").exists()


def test_a_stopped_trial_has_no_model_whoever_trained_its_setting(stored: Path, tmp_path: Path) -> None:
    """Another sweep has trained the same setting to its end: that is not this trial's model."""
    sweep = tmp_path / "runs" / "demo"
    shutil.copytree(stored.parent, tmp_path / "runs")
    write_trial(sweep, trial(0, state="stopped", reason="stopped after 25% of its steps", ue=None, ut=None, rob=None))
    with pytest.raises(ExportError, match="trial 0 left no model: stopped after 25% of its steps"):
        export_trial(sweep, "0", tmp_path / "model")


def test_a_failed_trial_says_why_there_is_no_model(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="trial 2 failed in unlearn and left no model: ValueError: no rows"):
        export_trial(stored, "2", tmp_path / "model")


def test_a_duplicate_exports_the_trial_it_repeats_and_a_moved_storage_works(stored: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(stored.parent, tmp_path / "moved")) / "demo"
    write_trial(moved, trial(5, state="duplicate", duplicate_of=0, key=trial(0).key, stage_keys={}))
    assert export_trial(moved, "5", tmp_path / "model").record.number == 0
