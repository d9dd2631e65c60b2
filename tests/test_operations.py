"""FLOPs as bench/ counts them. Oracle: a count by hand, from the sizes of the model and of the batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.logit_sizes import Logits
from unlearn_sweep.methods.token_losses import token_nll

if TYPE_CHECKING:
    import types

BENCH = Path(__file__).parent.parent / "bench"
BLOCKS, WIDTH, INNER, HEADS, VOCABULARY = 3, 32, 48, 4, 96
PROMPT, ANSWER, ROWS = 5, 4, 2
FED = PROMPT + ANSWER - 1


@pytest.fixture(scope="module")
def operations() -> types.ModuleType:
    sys.path.insert(0, str(BENCH))
    try:
        import operations  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.remove(str(BENCH))
    return operations


@pytest.fixture
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=BLOCKS,
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            vocab_size=VOCABULARY,
            tie_word_embeddings=True,
        )
    )


def by_hand(*, width: int, heads: int, head_products: int = 3, passes: int = 3) -> int:
    """Products of blocks, attention and head; a backward pass is two products more for each, and five of attention."""
    matrices = 4 * WIDTH * WIDTH + 3 * WIDTH * INNER
    blocks = passes * 2 * BLOCKS * matrices * ROWS * width
    one_attention = 2 * ROWS * WIDTH * width * width
    attention = BLOCKS * one_attention * (2 + (5 if passes == 3 else 0))
    return blocks + attention + head_products * 2 * WIDTH * VOCABULARY * heads


def items() -> list[Item]:
    tokens = tuple(range(3, 3 + PROMPT + ANSWER))
    example = Example(row_id="0", prompt_ids=tokens[:PROMPT], answer_ids=tokens[PROMPT:])
    return [Item(("view", number, 0), example) for number in range(ROWS)]


def test_a_plain_step_is_counted_whole(operations: Any, model: LlamaForCausalLM) -> None:
    ids = torch.arange(ROWS * FED).view(ROWS, FED)

    def step() -> None:
        logits = model(input_ids=ids).logits
        functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()

    assert operations.flops(step) == by_hand(width=FED, heads=ROWS * FED)


@pytest.mark.parametrize(("logits", "products"), [("whole", 3), ("chunks", 4)])
def test_a_step_of_ours_is_counted_with_its_own_gradients(
    operations: Any, model: LlamaForCausalLM, logits: Logits, products: int
) -> None:
    """Chunks compute the head's product once more, and that of one place in the model's own forward pass."""
    module, packed = SupervisedLM(model, logits=logits), pack({"view": items()}, torch.device("cpu"))
    module.sparse_rows = True

    def step() -> None:
        token_nll(module.outputs(packed).logits, packed.targets).sum().backward()

    step()  # compares the head
    one_place = 2 * WIDTH * VOCABULARY if logits == "chunks" else 0
    assert operations.flops(step) == by_hand(width=FED, heads=ROWS * ANSWER, head_products=products) + one_place


def test_a_measuring_pass_is_counted(operations: Any, model: LlamaForCausalLM) -> None:
    ids = torch.arange(ROWS * FED).view(ROWS, FED)

    def run() -> None:
        with torch.inference_mode():
            model(input_ids=ids)

    assert operations.flops(run) == by_hand(width=FED, heads=ROWS * FED, head_products=1, passes=1)


def test_a_profile_has_the_products_of_both_ways(operations: Any) -> None:
    one, other = torch.rand(8, 8), torch.rand(8, 8)
    table = operations.profile_table(lambda: one @ other, lambda: [one @ other for _ in range(3)])
    (line,) = [line for line in table.splitlines() if line.startswith("| aten::mm ")]
    assert [cell.strip() for cell in line.split("|")][3::2] == ["1", "3"]
