"""Repositories of the hub that cannot be had, in one line each. Oracle: a loopback server that answers as the hub does.

What the cache has is not asked for: the server keeps what it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from tests.support.hub_server import Hub, serving
from tests.support.model_folders import write_model_folder
from unlearn_sweep.engine.models.hub import HubId, Unavailable, missing_from_hub, model_ids, unavailable

SECRET = "hf_secretsecretsecretsecret"
PICKLED = {"config.json": "{}", "pytorch_model.bin": "x"}
ADAPTER = {"adapter_config.json": "{}", "adapter_model.safetensors": "x"}


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    whole = write_model_folder(tmp_path / "whole")
    models = {
        "open/model": {"main": whole, "v1.0": whole},
        "shut/gate": {"main": whole},
        "old/pickles": {"main": written(tmp_path / "pickles", PICKLED)},
        "some/adapter": {"main": written(tmp_path / "adapter", ADAPTER)},
    }
    sets = {"shut/data": {"main": {"default": {"train": [{"question": "Who?", "answer": "Orla"}]}}}}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "data"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving(sets, models=models, gated=frozenset({"shut/gate", "shut/data"}), token=SECRET) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("shut/gat", "the hub has no such model, or it is private and needs a login; did you mean shut/gate?"),
        ("open/modell", "the hub has no such model, or it is private and needs a login; did you mean open/model?"),
        ("shut/gate", "is gated: request access on its page (https://huggingface.co/shut/gate), then log in (hf auth"),
        ("open/model@v1.1", "the model open/model has no revision v1.1; did you mean v1.0?"),
        ("open/model@release", "has no revision release; it has main, v1.0"),
        ("old/pickles", "has only pickled weights (pytorch_model.bin)"),
        ("some/adapter", "is an adapter, not a model: merge it"),
    ],
)
def test_what_the_hub_refuses_is_one_line(path: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrongwrong")
    reason = missing_from_hub(HubId.of(path), known=["open/model"])
    assert reason is not None
    assert words in reason.words
    assert reason.words.startswith(path)
    assert reason.certain
    assert "\n" not in reason.words
    assert "hf_wrong" not in reason.words


@pytest.mark.usefixtures("hub")
def test_a_gated_repository_opens_to_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    shut = HubId("shut/data", kind="dataset")
    assert "https://huggingface.co/datasets/shut/data" in str(missing_from_hub(shut))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert missing_from_hub(shut) is None
    assert missing_from_hub(HubId("shut/gate")) is None


@pytest.mark.usefixtures("hub")
def test_a_tokenizer_needs_no_weights() -> None:
    named = {"model.path": HubId("old/pickles"), "model.tokenizer": HubId("old/pickles")}
    assert list(unavailable(named)) == ["model.path"]


def test_what_is_in_the_cache_is_not_asked_for(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot_download("open/model", endpoint=hub.url, cache_dir=constants.HF_HUB_CACHE)
    before = len(hub.paths)
    assert missing_from_hub(HubId("open/model")) is None
    assert len(hub.paths) == before
    assert missing_from_hub(HubId("open/model", "v1.0")) is None, "another revision is asked for"
    assert len(hub.paths) > before
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert missing_from_hub(HubId("open/model")) is None


def test_a_download_that_was_cut_off_is_not_in_the_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    del hub
    snapshot_download("open/model", cache_dir=constants.HF_HUB_CACHE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    whole = HubId("open/model")
    assert whole.cached is not None
    (whole.cached / "model.safetensors").unlink()
    assert "hf download open/model" in str(missing_from_hub(whole))
    assert missing_from_hub(whole, weights=False) is None
    for shard in ("one", "two"):
        (whole.cached / f"{shard}.safetensors").touch()
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (whole.cached / "model.safetensors.index.json").write_text(json.dumps(index))
    assert missing_from_hub(whole) is None
    (whole.cached / "two.safetensors").unlink()
    assert missing_from_hub(whole) is not None


def test_folders_are_no_hub_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "one").mkdir(parents=True)
    named = {"a": str(tmp_path), "b": "models/one", "c": None, "d": "owner/name@v1"}
    assert model_ids(named) == {"d": HubId("owner/name", "v1")}


def test_a_hub_that_is_switched_off_or_silent_is_asked_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"model.path": HubId("a/b", "v1"), "benchmark": HubId("c/d", kind="dataset")}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert missing_from_hub(named["model.path"]) == Unavailable(
        words="a/b@v1 is not in this machine's cache, and the hub is switched off (HF_HUB_OFFLINE); fetch it where "
        "there is a network: hf download a/b --revision v1",
        certain=False,
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    silent = unavailable(named)
    assert [reason.certain for reason in silent.values()] == [False, False]
    assert "hf download a/b --revision v1" in silent["model.path"].words
    assert "hf download c/d --repo-type dataset" in silent["benchmark"].words
    assert hub.paths == []
