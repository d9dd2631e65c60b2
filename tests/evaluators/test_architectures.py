"""The architecture matrix. Oracle: each cell done for real: weights moved, logits and values finite."""

from __future__ import annotations

import pytest

from tests.support.architecture_cells import ATTACKS, CELLS, METRICS, WORKS, outcome
from tests.support.architecture_page import PAGE, page, recorded
from tests.support.architectures import CLASSES
from unlearn_sweep.evaluators.attacks.catalog import ATTACKS as CATALOG

QUICK = [
    ("mixtral", "train: npo, LoRA"),
    ("qwen2_moe", "attack: relearn, LoRA"),
    ("gpt_neox", "train: rmu"),
    ("gpt2", "attack: quantize"),
    ("opt", "train: rmu, LoRA"),
    ("gemma3_multimodal", "train: npo+lat"),
    ("gemma2", "train: task_vector"),
    ("qwen3", "attack: logit_lens"),
    ("olmo2", "attack: abliterate, weights"),
    ("phi3", "attack: think"),
    ("gpt2", "metric: behind thoughts"),
    ("gpt2", "attack: prune, wanda"),
    ("mixtral", "attack: prune, wanda"),
]


@pytest.mark.parametrize(("architecture", "cell"), QUICK)
def test_a_cell_comes_out_as_recorded(architecture: str, cell: str) -> None:
    assert outcome(architecture, cell) == recorded()[architecture][cell]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", CLASSES)
def test_every_cell_comes_out_as_recorded(architecture: str) -> None:
    assert {cell: outcome(architecture, cell) for cell in CELLS} == recorded()[architecture]


def test_the_table_has_every_class_and_cell_and_the_page_shows_it() -> None:
    table = recorded()
    assert set(table) == set(CLASSES)
    assert all(set(cells) == set(CELLS) for cells in table.values())
    assert PAGE.read_text(encoding="utf-8") == page()
    refused = [said for cells in table.values() for said in cells.values() if said != WORKS]
    assert all("use where: activations" in said or "use by: magnitude" in said for said in refused)


def test_every_attack_is_a_cell_but_those_that_need_other_data() -> None:
    """`finetune` needs rows of another task; `sample` generates as metrics do."""
    assert set(CATALOG) - {name.partition(",")[0] for name in ATTACKS} == {"finetune", "sample"}
    assert len(METRICS) == 6
