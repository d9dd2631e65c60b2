"""Data of other tasks on the hub, asked for before anything starts. Oracle: a hub on loopback that has one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.support.hub_server import Hub, serving
from tests.sweeps.sweep_text import TWO_CPUS
from unlearn_sweep.sweeps.file.problems import SpecError
from unlearn_sweep.sweeps.file.spec import SweepSpec, parse_spec
from unlearn_sweep.sweeps.plan.hub_check import check_hub
from unlearn_sweep.sweeps.resolve import resolve

SWEEP = """
name: tasks
benchmark: {name: authors}
methods: {%s}
attacks: [%s]
"""
PUBLISHED = "npo: published"
HAS = {"openai/gsm8k": {"main": {"main": {"train": [{"question": "1+1?", "answer": "2"}]}}}}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    with serving(HAS) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        yield server


def spec_of(attack: str, method: str = PUBLISHED) -> SweepSpec:
    return parse_spec(SWEEP % (method, attack), machine=TWO_CPUS)


def notes(attack: str, method: str = PUBLISHED) -> list[str]:
    spec = spec_of(attack, method)
    return check_hub(spec, resolve(spec), certain=True)


def test_task_data_that_the_hub_has_are_no_note(hub: Hub) -> None:
    assert notes("finetune") == []
    assert any("openai/gsm8k" in path for path in hub.paths)


def test_task_data_that_the_hub_does_not_have_are_refused(hub: Hub) -> None:
    spec = spec_of("finetune: {data: own/tasks}")
    with pytest.raises(SpecError, match="1 mistake") as refused:
        check_hub(spec, resolve(spec), certain=True)
    (problem,) = refused.value.problems
    assert (problem.path, problem.line) == ("attacks", 5)
    assert "own/tasks: the hub has no such data set" in problem.message
    assert problem.message.endswith("or give a local file, finetune: {data: FILE}")


def test_task_data_are_noted_where_the_hub_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, within a chain, and as a wrapper's view. A local file is not looked for on the hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    for attack in ("finetune", "chain: [{quantize: {bits: 4}}, {finetune: {data: gsm8k}}]"):
        (note,) = notes(attack)
        assert note.startswith("attacks: openai/gsm8k is not in this machine's cache")
        assert note.endswith("or give a local file, finetune: {data: FILE}")
    (note,) = notes("prefill: {tokens: [1]}", 'npo+irm: {irm_view: "task:sst2"}')
    assert note.startswith("methods: stanfordnlp/sst2 is not in")
    assert note.endswith("irm_view: task:FILE")
    file = tmp_path / "tasks.jsonl"
    rows = [json.dumps({"question": f"{number}+1?", "answer": f"{number + 1}"}) for number in range(80)]
    file.write_text("\n".join(rows), encoding="utf-8")
    assert notes(f"finetune: {{data: {file}}}") == []
