"""How far a training moved the weights. Oracle: lengths by hand, over files that differ in number and format."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unlearn_sweep.engine.training.weight_change import relative_change


def folder(place: Path, *files: dict[str, Tensor]) -> Path:
    place.mkdir()
    (place / "config.json").write_text("{}")
    for number, tensors in enumerate(files):
        save_file(tensors, place / f"model-{number}.safetensors")
    return place


def test_by_hand_over_files_cut_differently(tmp_path: Path) -> None:
    one, two = torch.tensor([3.0, 4.0]), torch.tensor([[12.0]])
    start = folder(tmp_path / "start", {"a": one, "b": two})
    trained = folder(tmp_path / "trained", {"a": one + torch.tensor([0.0, 0.5])}, {"b": two - 1.2})
    assert relative_change(str(start), trained) == pytest.approx(math.hypot(0.5, 1.2) / 13)
    assert relative_change(str(start), start) == 0.0


def test_another_number_format_is_no_change(tmp_path: Path) -> None:
    weight = torch.tensor([0.1, 0.2, 0.3])
    start = folder(tmp_path / "start", {"a": weight})
    rounded = folder(tmp_path / "rounded", {"a": weight.bfloat16()})
    assert relative_change(str(start), rounded) == 0.0


def test_what_cannot_be_compared_has_no_number(tmp_path: Path) -> None:
    start = folder(tmp_path / "start", {"a": torch.ones(2)})
    other = folder(tmp_path / "other", {"b": torch.ones(2), "a": torch.ones(3)})
    broken = folder(tmp_path / "broken", {"a": torch.tensor([1.0, math.nan])})
    assert relative_change(str(start), other) is None
    assert relative_change(str(start), broken) is None
