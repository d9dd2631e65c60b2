"""Peak memory of one training step against the vocabulary: `python bench/memory_of_logits.py`.

Three ways: `plain`, logits at all places as transformers computes them, with the loss over them; `whole`, logits [N, V]
at the supervised places; `chunks`, a few rows at a time. Each cell is a process of its own, and its figure is the peak
of one forward and backward pass over what the process held before: logits, gradients of the weights, activations of
two small blocks. The losses of the three ways must be equal. On a GPU it is the peak of the allocator.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from unlearn_sweep.engine.resources.peak_memory import PeakMeter
from unlearn_sweep.engine.training.forward import Packed, SupervisedLM, pack
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.logit_sizes import Logits
from unlearn_sweep.methods.token_losses import jensen_shannon, kl_from_reference, token_nll

ROWS, PROMPT, ANSWER = 16, 64, 64
WAYS = ("plain", "whole", "chunks")
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "nll": lambda now, before, targets: token_nll(now, targets),
    "kl": lambda now, before, targets: kl_from_reference(before, now),
    "jsd": lambda now, before, targets: jensen_shannon(before, now),
}
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Peak in MiB above what was held before, seconds, and the loss."""

    mib: float
    seconds: float
    loss: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[8_192, 32_768, 131_072])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--cell", nargs=3, metavar=("WAY", "LOSS", "V"), help="measure one cell and print it as JSON")
    given = parser.parse_args()
    if given.cell:
        way, loss, vocabulary = given.cell
        print(json.dumps(measured(way, loss, int(vocabulary), given.rows)))
        return
    print(f"N = {given.rows * ANSWER} supervised of {given.rows * (PROMPT + ANSWER - 1)} places, float32\n")
    print("| loss | V | plain, MiB | whole | chunks | seconds: plain, whole, chunks |\n" + "| --- " * 6 + "|")
    for loss in given.losses:
        for vocabulary in given.vocabularies:
            cells = [cell(way, loss, vocabulary, given.rows) for way in WAYS]
            check_equal(cells)
            peaks = " | ".join(f"{one.mib:,.0f}" for one in cells)
            seconds = ", ".join(f"{one.seconds:.1f}" for one in cells)
            print(f"| {loss} | {vocabulary:,} | {peaks} | {seconds} |", flush=True)


def cell(way: str, loss: str, vocabulary: int, rows: int) -> Cell:
    """Measure one cell in a process of its own."""
    command = [sys.executable, __file__, "--rows", str(rows), "--cell", way, loss, str(vocabulary)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cell(**json.loads(done.stdout.splitlines()[-1]))


def check_equal(cells: list[Cell]) -> None:
    """End with an error where the ways give different losses."""
    losses = [one.loss for one in cells]
    if max(losses) - min(losses) > 1e-4 * max(1e-3, abs(losses[0])):
        raise SystemExit(f"the ways give different losses: {losses}")


def measured(way: str, loss: str, vocabulary: int, rows: int) -> dict[str, float]:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [model_of(vocabulary, seed) for seed in (0, 1)]
    for model in models:
        torch.nn.Module.to(model, device)
    batch = pack({"forget": made_up_rows(rows, vocabulary)}, device)
    run = plain if way == "plain" else supervised
    before, meter, began = held(device), PeakMeter(), time.process_time()
    value = run(models[0], models[1], batch, loss, "chunks" if way == "chunks" else "whole")
    value.backward()
    seconds = time.process_time() - began
    peak = meter.read()
    highest = peak.host if device.type == "cpu" else torch.cuda.max_memory_allocated() / MIB
    if highest is None:
        raise SystemExit("this system does not say how much memory a process took at its highest")
    return {"mib": highest - before, "seconds": seconds, "loss": float(value.detach())}


def held(device: torch.device) -> float:
    """Return the MiB held at the moment."""
    return (torch.cuda.memory_allocated() if device.type == "cuda" else psutil.Process().memory_info().rss) / MIB


def supervised(model: PreTrainedModel, frozen: PreTrainedModel, batch: Packed, loss: str, logits: Logits) -> Tensor:
    now = SupervisedLM(model, logits=logits).outputs(batch).logits
    before = now
    if loss != "nll":
        with torch.no_grad():
            before = SupervisedLM(frozen, logits=logits).outputs(batch).logits
    return LOSSES[loss](now, before, batch.targets).mean()


def plain(model: PreTrainedModel, frozen: PreTrainedModel, batch: Packed, loss: str, logits: Logits) -> Tensor:
    """The loss as the field writes it: over logits at all places, with the unsupervised ones left out at the end."""
    now = model(input_ids=batch.input_ids, use_cache=False).logits.float()
    labels = torch.full((batch.input_ids.numel(),), -100, device=now.device)
    labels[batch.positions] = batch.targets
    if loss == "nll":
        return F.cross_entropy(now.flatten(0, 1), labels)
    with torch.no_grad():
        before = frozen(input_ids=batch.input_ids, use_cache=False).logits.float()
    losses = LOSSES[loss](now.flatten(0, 1), before.flatten(0, 1), labels)
    return losses[labels != -100].mean()


def model_of(vocabulary: int, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def made_up_rows(rows: int, vocabulary: int) -> list[Item]:
    draw = torch.Generator().manual_seed(0)
    found = []
    for number in range(rows):
        ids = torch.randint(3, vocabulary, (PROMPT + ANSWER,), generator=draw).tolist()
        example = Example(row_id=str(number), prompt_ids=tuple(ids[:PROMPT]), answer_ids=tuple(ids[PROMPT:]))
        found.append(Item(("forget", number, 0), example))
    return found


if __name__ == "__main__":
    main()
