"""How much the training loop costs beside the one everybody writes by hand. Run: `python bench/training_loop.py`.

Both train the model of the built-in benchmark from the same weights on the same rows: one through `engine.training`,
one with padded batches, an attention mask, full logits, transformers' own loss and torch's default AdamW. Parts of the
difference are measured apart. Rounds of the two alternate, each figure is the median over rounds of the CPU seconds of
one thread, so that a busy machine disturbs the ratios little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.engine.training.assembly import assemble
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.forward import SupervisedLM, pack
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.loop import train
from unlearn_sweep.engine.training.training_views import Item, Views
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

BATCH_ROWS = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10, help="steps of each round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contestant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    benchmark, cache = load_benchmark("authors", {}), DataCache()
    recipe = benchmark.recipe
    if recipe is None:
        raise SystemExit("the authors benchmark has no recipe to make a start model from")
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        create_start_model(benchmark, recipe, start)
        rounds = {
            "hand-written loop": lambda: hand_written(start, benchmark, cache, options.steps),
            "engine.training": lambda: ours(start, benchmark, cache, "finetune", options.steps),
            "engine.training, micro-batches of 16": lambda: ours(
                start, benchmark, cache, "finetune", options.steps, micro_batch_size=16
            ),
            "full logits": lambda: forward_backward(start, benchmark, cache, options.steps, full_logits=True),
            "supervised logits": lambda: forward_backward(start, benchmark, cache, options.steps, full_logits=False),
            "AdamW, default": lambda: optimizer_steps(start, options.steps, fused=False),
            "AdamW, fused": lambda: optimizer_steps(start, options.steps, fused=True),
        }
        seconds = measure(rounds, options.rounds)
    print(json.dumps(summary(seconds, options.steps), indent=1))


def measure(rounds: dict[str, Callable[[], float]], count: int) -> dict[str, float]:
    """Median CPU seconds of each contestant; the first round of each warms up and is left out."""
    taken: dict[str, list[float]] = {name: [] for name in rounds}
    for _ in range(count + 1):
        for name, run in rounds.items():
            taken[name].append(run())
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def summary(seconds: dict[str, float], steps: int) -> dict[str, Any]:
    def ratio(slow: str, fast: str) -> float:
        return round(seconds[slow] / seconds[fast], 2)

    return {
        "cpu_ms_per_step": {name: round(value / steps * 1e3, 2) for name, value in seconds.items()},
        "speed-up over the hand-written loop": ratio("hand-written loop", "engine.training"),
        "the same, micro-batches of 16": ratio("hand-written loop", "engine.training, micro-batches of 16"),
        "of which supervised logits only": ratio("full logits", "supervised logits"),
        "of which fused AdamW": ratio("AdamW, default", "AdamW, fused"),
    }


def ours(start: Path, benchmark: Benchmark, cache: DataCache, method: str, steps: int, **training: Any) -> float:
    job = TrainJob.from_json(
        {
            "start_model": str(start),
            "output_dir": "not written",
            "benchmark": {"name": "authors"},
            "method": {"name": method},
            "learning_rate": 2e-3,
            "training": {"max_steps": steps, "global_batch_size": BATCH_ROWS} | training,
        }
    )
    loaded = assemble(job, benchmark, cache)
    began = time.process_time()
    train(loaded.training)
    return time.process_time() - began


def batches(start: Path, benchmark: Benchmark, cache: DataCache, steps: int) -> list[Sequence[Item]]:
    """The rows of each step, as the engine draws them."""
    encoder = cache.encoder(benchmark, load_tokenizer(str(start)), 512)
    views = Views(benchmark, encoder, ("train",), train_groups=("forget", "retain"), seed=0)
    plan = views.plan(BATCH_ROWS)
    return [views.batch(plan, step)["train"] for step in range(steps)]


def padded(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and labels, as a collator makes them."""
    rows = [[*item.example.prompt_ids, *item.example.answer_ids] for item in items]
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    for number, (row, item) in enumerate(zip(rows, items, strict=True)):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
        first = len(item.example.prompt_ids)
        labels[number, first : len(row)] = torch.tensor(row[first:])
    return ids, mask, labels


def hand_written(start: Path, benchmark: Benchmark, cache: DataCache, steps: int) -> float:
    model = load_model(str(start), device="cpu").train()
    rows = batches(start, benchmark, cache, steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    began = time.process_time()
    for items in rows:
        ids, mask, labels = padded(items)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.process_time() - began


def forward_backward(start: Path, benchmark: Benchmark, cache: DataCache, steps: int, *, full_logits: bool) -> float:
    model = load_model(str(start), device="cpu").train()
    rows = batches(start, benchmark, cache, steps)
    module = SupervisedLM(model)
    began = time.process_time()
    for items in rows:
        if full_logits:
            full_loss(model, items).backward()
        else:
            packed = pack({"train": items}, torch.device("cpu"))
            logits = module(packed.input_ids, packed.positions)
            torch.nn.functional.cross_entropy(logits, packed.targets).backward()
        model.zero_grad()
    return time.process_time() - began


def full_loss(model: PreTrainedModel, items: Sequence[Item]) -> Tensor:
    ids, mask, labels = padded(items)
    return model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss


def optimizer_steps(start: Path, steps: int, *, fused: bool) -> float:
    model = load_model(str(start), device="cpu")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=fused or None)
    began = time.process_time()
    for _ in range(steps):
        optimizer.step()
    return time.process_time() - began


if __name__ == "__main__":
    main()
