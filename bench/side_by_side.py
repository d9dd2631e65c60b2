"""Interleaved pairs of ours and the plain way of the field, and the model and rows that the `speed_*.py` scripts share.

One thread, CPU seconds of this process, at least five pairs; the order alternates from pair to pair, so that a busy
machine disturbs the ratio of a pair little. Each script checks in the same run that both ways give equal results. The
pairs that warm up are counted: their FLOPs say what is saved in matrix products (`operations.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import transformers
from operations import flops, profile_table
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from unlearn_sweep.engine.models.loading import save_model
from unlearn_sweep.engine.models.start_model import train_tokenizer
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.rows import Example

VOCABULARY, LAYERS, HIDDEN = 49_152, 6, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table: seconds of each pair, and how far the two results are apart.

    `difference` is in the unit that `equal` names; `aim` is the ratio asked for. `notes`: further figures. `flops`: of
    ours and of the plain way in the same work; None where they were not counted. `profile`: a table; "" if not asked.
    """

    name: str
    ours: Sequence[float]
    plain: Sequence[float]
    difference: float
    equal: str
    aim: float | None = None
    notes: str = ""
    flops: tuple[int, int] | None = None
    profile: str = ""

    @property
    def ratios(self) -> list[float]:
        return sorted(slow / fast for slow, fast in zip(self.plain, self.ours, strict=True))

    def line(self) -> str:
        ratios = self.ratios
        shown = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        aim = "" if self.aim is None else f"{self.aim:g}"
        work = "" if self.flops is None else f"{self.flops[1] / self.flops[0]:.2f}"
        seconds = f"{statistics.median(self.ours):.3f} | {statistics.median(self.plain):.3f}"
        apart = f"{self.difference:.1e} {self.equal}"
        return f"| {self.name} | {seconds} | {shown} | {work} | {aim} | {apart} | {self.notes} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A random Llama in a folder, and the rows that are asked of it."""

    model: str
    benchmark: Benchmark


def options(description: str | None) -> argparse.ArgumentParser:
    """Return the parser that all scripts share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tofu", type=Path, help="folder of TOFU's JSON files; left out: the built-in authors")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs")
    parser.add_argument("--rows", type=int, default=100, help="rows that are measured")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--only", default="", help="run only lines whose name contains this text")
    parser.add_argument("--profile", action="store_true", help="print where one more run of each way spends its time")
    parser.add_argument("--json", type=Path, help="write the results here too")
    return parser


@contextmanager
def world(given: argparse.Namespace) -> Iterator[World]:
    """Yield the model and rows in a temporary folder; one thread."""
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if given.tofu is not None:
        params = {"path": str(given.tofu), "evaluation_rows": given.rows, "retain_rows": 400}
        benchmark = load_benchmark("tofu", params)
    else:
        benchmark = load_benchmark("authors", {})
        kept = {split: rows[: given.rows] for split, rows in benchmark.evaluation.items()}
        benchmark = replace(benchmark, evaluation=kept)
    with tempfile.TemporaryDirectory() as folder:
        yield World(model=random_model(benchmark, Path(folder) / "model", given.vocabulary), benchmark=benchmark)


def random_model(benchmark: Benchmark, folder: Path, vocabulary: int) -> str:
    """Write a random Llama whose vocabulary is padded to `vocabulary`, as published models pad theirs."""
    tokenizer = train_tokenizer(benchmark.tokenizer_texts, vocab_size=min(vocabulary, 8_000))
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=8,
        vocab_size=vocabulary,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=int(tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token))),  # pyright: ignore[reportArgumentType]
    )
    save_model(LlamaForCausalLM(config), tokenizer, folder)
    return str(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """CPU seconds of each pair, FLOPs of both ways in the pairs before, and the table of a profile."""

    ours: list[float]
    plain: list[float]
    flops: tuple[int, int]
    profile: str

    def result(self, *, name: str, difference: float, equal: str, aim: float, notes: str = "") -> Result:
        """Return the line of the table."""
        return Result(
            name=name,
            ours=self.ours,
            plain=self.plain,
            difference=difference,
            equal=equal,
            aim=aim,
            notes=notes,
            flops=self.flops,
            profile=self.profile,
        )


def pairs(
    given: argparse.Namespace, ours: Callable[[], object], plain: Callable[[], object], *, warm: int = 1
) -> Timed:
    """Time the asked number of pairs, after `warm` pairs that warm up and are counted.

    More than one is for work that differs from pair to pair. A profile takes one pair more.
    """
    counted = [(flops(ours), flops(plain)) for _ in range(warm)]
    fast: list[float] = []
    slow: list[float] = []
    for number in range(given.pairs):
        order = ((ours, fast), (plain, slow))
        for run, taken in order if number % 2 == 0 else order[::-1]:
            began = time.process_time()
            run()
            taken.append(time.process_time() - began)
    return Timed(
        ours=fast,
        plain=slow,
        flops=(sum(own for own, _ in counted), sum(other for _, other in counted)),
        profile=profile_table(ours, plain) if given.profile else "",
    )


def padded(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Return ids, mask and labels [B, T] as a collator makes them: padded on the right, prompts not supervised."""
    width = max(len(example.prompt_ids) + len(example.answer_ids) for example in examples)
    ids, labels = torch.zeros(len(examples), width, dtype=torch.long), torch.full((len(examples), width), -100)
    mask = torch.zeros_like(ids)
    for number, example in enumerate(examples):
        prompt, whole = len(example.prompt_ids), len(example.prompt_ids) + len(example.answer_ids)
        ids[number, :whole] = torch.tensor([*example.prompt_ids, *example.answer_ids])
        mask[number, :whole] = 1
        labels[number, prompt:whole] = ids[number, prompt:whole]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def show(results: Iterable[Result], given: argparse.Namespace) -> None:
    """Print the results as a Markdown table, each as soon as it is there, below the machine and its load."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread, load {load}; {versions}\n")
    columns = "ours, CPU s | plain, CPU s | ratio: median (min to max) | FLOPs ratio | aim | apart | "
    print(f"| work | {columns} |\n" + "| --- " * 8 + "|")
    done: list[Result] = []
    for result in results:
        print(result.line(), flush=True)
        done.append(result)
    for result in done:
        if result.profile:
            print(f"\n{result.name}\n\n{result.profile}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(result) for result in done], indent=1))
