"""Checks of one GPU: `python bench/gpu_checks.py [--json FILE]`, or `make gpu`.

Needs no Ray, DeepSpeed, MLflow or network. Numbers: bfloat16 training against float32 for a method
of each family, and the attention kernels that run here against eager. Speed: training, scoring, generation and GCG on a
random Llama, each beside the plain way of the field in the same run, and peak memory beside the estimate of `plan`.
Without a GPU the same code runs on a tiny model, so that it cannot rot; its figures then say nothing about a GPU.

The status is 1 if a number is out of its bound. Speeds are printed and never asserted.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer, save_model
from unlearn_sweep.engine.models.model_shape import Shape
from unlearn_sweep.engine.models.start_model import train_tokenizer
from unlearn_sweep.engine.training.assembly import assemble
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.loop import train
from unlearn_sweep.engine.training.memory_estimate import training_memory
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.attacks.attack import Target
from unlearn_sweep.evaluators.attacks.forget_halves import different_facts, forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.gcg import answer_search
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.generation import generate
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.row_encoder import RowEncoder
from unlearn_sweep.evaluators.rows import Example

Kernel = Literal["eager", "sdpa", "flash_attention_2"]
Format = Literal["float32", "bfloat16"]
FAMILIES = {"divergence": "graddiff", "preference": "npo", "representation": "rmu", "rejection": "dpo"}
COSINE_BOUND = 0.9
"""Least cosine between the weight changes of a bfloat16 and a float32 training. 1 is the same direction."""
LOG_PROBABILITY_BOUND = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest difference in a token's log-probability between two attention kernels, in nats."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12}
"""Dense bfloat16 peak by name of the card, from NVIDIA's data sheets."""
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A random Llama and how much is run on it."""

    hidden: int
    layers: int
    heads: int
    vocabulary: int
    words: int
    batch: int
    steps: int
    rows: int
    new_tokens: int
    gcg_steps: int
    gcg_width: int

    @property
    def config(self) -> dict[str, int | float | bool]:
        return {
            "hidden_size": self.hidden,
            "intermediate_size": 4 * self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": max(1, self.heads // 4),
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
        }


SIZES = {
    "tiny": Size(hidden=64, layers=2, heads=4, vocabulary=2_048, words=8, batch=4, steps=2, rows=8, new_tokens=8,
                 gcg_steps=1, gcg_width=8),
    "1b": Size(hidden=2_048, layers=16, heads=32, vocabulary=128_256, words=96, batch=16, steps=8, rows=64,
               new_tokens=64, gcg_steps=5, gcg_width=256),
}  # fmt: skip
SMALL = replace(SIZES["tiny"], hidden=256, layers=4, steps=6, batch=8)
"""The model on which numbers are compared; float32 and bfloat16 trainings of it are quick on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the table. `value` beside `plain` or a bound; `passed` is None for a speed."""

    name: str
    value: float | None
    unit: str
    plain: float | None = None
    bound: float | None = None
    passed: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.passed is None or self.bound is None:
            return self.note
        return f"within {self.bound:g}" if self.passed else f"OUT OF {self.bound:g}"

    @property
    def ratio(self) -> float | None:
        return None if self.value is None or not self.plain else self.value / self.plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), help="1b on a GPU, else tiny")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    transformers_logging.disable_progress_bar()
    size = SIZES[options.size or ("1b" if torch.cuda.is_available() else "tiny")]
    with tempfile.TemporaryDirectory() as folder:
        checks = list(all_checks(size, Path(folder)))
    print(table(checks))
    if options.json is not None:
        found = {**machine(), "checks": [{**asdict(check), "ratio": check.ratio} for check in checks]}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if any(check.passed is False for check in checks) else 0)


def all_checks(size: Size, folder: Path) -> Iterator[Check]:
    """Run every check; a check that the device cannot hold becomes a line that says so."""
    small = tiny_if_on_cpu()
    numbers = (start_model(small, folder / "small"), data(small))
    speed = (start_model(size, folder / "speed"), data(size))
    parts: list[Callable[[], Iterator[Check]]] = [
        lambda: training_numbers(*numbers, small),
        lambda: attention_numbers(*numbers),
        lambda: training_speed(*speed, size),
        lambda: scoring_speed(*speed, size),
        lambda: generation_speed(*speed, size),
        lambda: gcg_speed(*speed, size),
    ]
    for part in parts:
        try:
            yield from part()
        except torch.cuda.OutOfMemoryError as error:
            yield Check(name="out of memory", value=None, unit="", note=str(error).partition("\n")[0])
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def tiny_if_on_cpu() -> Size:
    return SMALL if torch.cuda.is_available() else SIZES["tiny"]


def machine() -> dict[str, str]:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


def data(size: Size) -> Benchmark:
    """The built-in benchmark, its answers lengthened to about `words` words with those of other rows."""
    benchmark = load_benchmark("authors", {})
    text = " ".join(row.answer for row in benchmark.train["retain"]).split()

    def lengthened(number: int, answer: str) -> str:
        first = (number * 7) % max(1, len(text) - size.words)
        return " ".join([answer, *text[first : first + size.words]])

    views = {
        view: [replace(row, answer=lengthened(number, row.answer)) for number, row in enumerate(rows)]
        for view, rows in benchmark.train.items()
    }
    return replace(benchmark, train=views)


def start_model(size: Size, folder: Path) -> str:
    """Write a random Llama of this size with a tokenizer of the benchmark's texts, and return its folder.

    The vocabulary is padded to `size.vocabulary`, as published models pad theirs.
    """
    tokenizer = train_tokenizer(load_benchmark("authors", {}).tokenizer_texts, vocab_size=min(size.vocabulary, 2_000))
    torch.manual_seed(0)
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    with torch.device(device()):
        config = LlamaConfig(**cast(dict[str, Any], size.config), eos_token_id=cast(int, tokenizer.eos_token_id))
        model = LlamaForCausalLM(config)
    torch.nn.Module.to(model, dtype)
    save_model(model, tokenizer, folder)
    return str(folder)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# --- numbers ---------------------------------------------------------------------------------------------------------


def training_job(start: str, method: str, size: Size, *, dtype: Format | None = None, rate: float = 1e-3) -> TrainJob:
    training = {"max_steps": size.steps, "global_batch_size": size.batch, "warmup_share": 0.0}
    return TrainJob.from_json(
        {
            "start_model": start,
            "output_dir": "not written",
            "benchmark": {"name": "authors"},
            "method": {"name": method},
            "learning_rate": rate,
            "training": training,
            "dtype": dtype or "auto",
        }
    )


def training_numbers(start: str, benchmark: Benchmark, size: Size) -> Iterator[Check]:
    """Compare where bfloat16 and float32 trainings of the same rows lead, for a method of each family."""
    before = weights(load_model(start, dtype="float32", device="cpu"))
    for family, method in FAMILIES.items():
        moved = []
        formats: tuple[Format, ...] = ("float32", "bfloat16")
        for dtype in formats:
            loaded = assemble(training_job(start, method, size, dtype=dtype), benchmark, DataCache())
            train(loaded.training)
            moved.append(weights(loaded.model) - before)
        cosine = float(torch.nn.functional.cosine_similarity(moved[0], moved[1], dim=0))
        name = f"bfloat16 training leads where float32 does: {method} ({family})"
        yield Check(name=name, value=cosine, unit="cosine", bound=COSINE_BOUND, passed=cosine >= COSINE_BOUND)


def weights(model: PreTrainedModel) -> Tensor:
    return torch.cat([parameter.detach().float().cpu().flatten() for parameter in model.parameters()])


def attention_numbers(start: str, benchmark: Benchmark) -> Iterator[Check]:
    """Compare the log-probabilities of answers under each attention kernel that runs here with those under eager."""
    dtype: Format = "bfloat16" if torch.cuda.is_available() else "float32"
    examples = asked(start, benchmark, 8)
    eager = answer_log_probabilities(start, "eager", dtype, examples)
    kernels: tuple[Kernel, ...] = ("sdpa", "flash_attention_2")
    for kernel in kernels:
        try:
            other = answer_log_probabilities(start, kernel, dtype, examples)
        except (ImportError, ValueError) as error:
            yield Check(name=f"{kernel} agrees with eager", value=None, unit="nats", note=str(error).partition("\n")[0])
            continue
        worst, bound = float((other - eager).abs().max()), LOG_PROBABILITY_BOUND[dtype]
        yield Check(name=f"{kernel} agrees with eager", value=worst, unit="nats", bound=bound, passed=worst <= bound)


def asked(start: str, benchmark: Benchmark, rows: int) -> list[Example]:
    """Return the tokens of the first forget rows, prompt and answer."""
    encoder = RowEncoder(tokenizer=load_tokenizer(start), template=benchmark.template)
    return [row.answer for row in encoder.ask(benchmark.train["forget"][:rows], alternatives=False)[0]]


def answer_log_probabilities(start: str, kernel: Kernel, dtype: Format, examples: Sequence[Example]) -> Tensor:
    found = score(load_model(start, dtype=dtype, attention=kernel), examples, pad_id=0).scores
    return torch.cat([torch.from_numpy(row.logp) for row in found])


# --- speed -----------------------------------------------------------------------------------------------------------


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Append the wall seconds of the block, the device's work included."""
    wait()
    began = time.perf_counter()
    yield
    wait()
    seconds.append(time.perf_counter() - began)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def training_speed(start: str, benchmark: Benchmark, size: Size) -> Iterator[Check]:
    """Time graddiff with a KL retain term against padded batches, full logits and transformers' own loss."""
    job = training_job(start, "graddiff", size, rate=1e-5)
    job = job.model_copy(update={"method": job.method.model_copy(update={"params": {"retain": "kl"}})})
    loaded = assemble(job, benchmark, DataCache())
    parameters = loaded.parameters
    batches = [loaded.training.views.batch(loaded.training.plan, step) for step in range(size.steps)]
    tokens = sum(len(item.example.prompt_ids) + len(item.example.answer_ids) for batch in batches
                 for view in ("forget", "retain") for item in batch[view])  # fmt: skip
    ours: list[float] = []
    reset_peak()
    with timed(ours):
        train(loaded.training)
    memory = peak_gib()
    del loaded
    plain = plain_training(start, batches, job)
    rate = tokens / ours[0]
    yield Check(name="training, graddiff with KL", value=rate, unit="tokens/s", plain=tokens / plain)
    share = flops_share(8 * parameters * rate)  # 6 to train and 2 for the frozen original
    yield Check(name="share of the card's bfloat16 peak in training", value=share, unit="of 1")
    yield Check(name="peak memory in training", value=memory, unit="GiB", plain=planned_gib(parameters, size, tokens))


def plain_training(start: str, batches: Sequence[Mapping[str, Sequence[Item]]], job: TrainJob) -> float:
    """Return the seconds of the same steps as papers' code takes them: float32 weights under autocast, full logits."""
    model = load_model(start, dtype="float32").train()
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=job.learning_rate, weight_decay=0.01)
    seconds: list[float] = []
    with timed(seconds):
        for batch in batches:
            with torch.autocast(device().type, dtype=torch.bfloat16, enabled=torch.cuda.is_available()):
                ids, mask, labels = padded(batch["forget"])
                loss = -model(input_ids=ids, attention_mask=mask, labels=labels).loss
                ids, mask, labels = padded(batch["retain"])
                logits = model(input_ids=ids, attention_mask=mask).logits
                with torch.no_grad():
                    target = frozen(input_ids=ids, attention_mask=mask).logits
                own, other = logits.float().log_softmax(-1), target.float().log_softmax(-1)
                loss = loss + ((other.exp() * (other - own)).sum(-1) * (labels != -100)).sum() / (labels != -100).sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return seconds[0]


def padded(items: Sequence[Item]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, attention mask and labels on the device, as a collator makes them."""
    rows = [(item.example.prompt_ids, item.example.answer_ids) for item in items]
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    mask = torch.zeros_like(ids)
    for number, (prompt, answer) in enumerate(rows):
        length = len(prompt) + len(answer)
        ids[number, :length] = torch.tensor([*prompt, *answer])
        mask[number, :length] = 1
        labels[number, len(prompt) : length] = torch.tensor(answer)
    return ids.to(device()), mask.to(device()), labels.to(device())


def scoring_speed(start: str, benchmark: Benchmark, size: Size) -> Iterator[Check]:
    """Time the log-probabilities of answers against one padded batch after the other with full logits."""
    model, examples = load_model(start), asked(start, benchmark, size.rows)
    tokens = sum(len(example.prompt_ids) + len(example.answer_ids) for example in examples)
    ours: list[float] = []
    plain: list[float] = []
    score(model, examples[:2], pad_id=0)  # kernels are chosen and compiled at the first call
    with timed(ours):
        found = score(model, examples, pad_id=0).scores
    with timed(plain):
        batches = [examples[first : first + size.batch] for first in range(0, len(examples), size.batch)]
        values = [value for batch in batches for value in full_logits(model, batch)]
    worst = max(abs(float(row.logp.mean()) - value) for row, value in zip(found, values, strict=True))
    yield Check(name="scoring answers", value=tokens / ours[0], unit="tokens/s", plain=tokens / plain[0])
    bound = LOG_PROBABILITY_BOUND["bfloat16" if torch.cuda.is_available() else "float32"]
    yield Check(name="scoring equals full logits", value=worst, unit="nats", bound=bound, passed=worst <= bound)


@torch.inference_mode()
def full_logits(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    """Return the mean log-probability of each answer from the logits at all positions of a padded batch."""
    ids, mask, labels = padded([Item(key=("", index, 0), example=example) for index, example in enumerate(examples)])
    logp = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float().log_softmax(-1)
    own = logp.gather(-1, labels[:, 1:].clamp(min=0).unsqueeze(-1)).squeeze(-1)
    known = labels[:, 1:] != -100
    return [float(value) for value in (own * known).sum(-1) / known.sum(-1)]


def generation_speed(start: str, benchmark: Benchmark, size: Size) -> Iterator[Check]:
    """Time greedy answers to prompts of different lengths against transformers' own generate, left-padded."""
    model, tokenizer = load_model(start), load_tokenizer(start)
    prompts = [list(example.prompt_ids) for example in asked(start, benchmark, size.rows)]
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    ours: list[float] = []
    plain: list[float] = []
    with timed(ours):
        generate(model, prompts, max_new_tokens=size.new_tokens, end_ids=frozenset(), pad_id=0)
    options = {"max_new_tokens": size.new_tokens, "min_new_tokens": size.new_tokens, "do_sample": False}
    with timed(plain), torch.inference_mode():
        model.generate(input_ids=ids, attention_mask=mask, pad_token_id=tokenizer.pad_token_id, **options)  # pyright: ignore
    tokens = size.rows * size.new_tokens
    yield Check(name="greedy generation", value=tokens / ours[0], unit="tokens/s", plain=tokens / plain[0])


def gcg_speed(start: str, benchmark: Benchmark, size: Size) -> Iterator[Check]:
    """Time steps of GCG on two questions."""
    target = Target(model=load_model(start), tokenizer=load_tokenizer(start), benchmark=benchmark, seed=0)
    questions = 2
    params = GcgParams(steps=[size.gcg_steps], prompts=questions, search_width=size.gcg_width, suffix_tokens=8)
    chosen = different_facts(seen_rows(benchmark, forget_halves(benchmark)), questions, seed=0)
    search = answer_search(target, params, chosen)
    taken: list[float] = []
    with torch.inference_mode(False), timed(taken):
        for _ in range(size.gcg_steps):
            search.step()
    yield Check(name=f"GCG, width {size.gcg_width}", value=size.gcg_steps / taken[0], unit="steps/s")


# --- figures ---------------------------------------------------------------------------------------------------------


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float | None:
    return torch.cuda.max_memory_reserved() / GIB if torch.cuda.is_available() else None


def planned_gib(parameters: int, size: Size, tokens: int) -> float:
    """Return what `plan` estimates for this training: float32 weights under autocast and a frozen original."""
    row_tokens = tokens / (2 * size.batch * size.steps)
    shape = Shape(parameters=parameters, depth_times_width=size.layers * size.hidden, vocabulary=size.vocabulary)
    training = TrainingSettings(max_steps=size.steps, global_batch_size=size.batch)
    return training_memory(training, shape, row_tokens, frozen=1).total


def flops_share(flops: float) -> float | None:
    """Return the share of the card's peak, or None for a card without a known one."""
    name = machine()["device"]
    return next((flops / peak for card, peak in PEAK_FLOPS.items() if card in name), None)


def table(checks: Sequence[Check]) -> str:
    """Return the checks as a Markdown table."""
    lines = [f"{', '.join(f'{key} {value}' for key, value in machine().items())}", ""]
    lines += ["| check | ours | plain way or estimate | ratio | |", "| --- | --- | --- | --- | --- |"]
    for check in checks:
        shown = "not measured" if check.value is None else f"{check.value:.4g} {check.unit}"
        plain = f"{check.plain:.4g}" if check.plain is not None else ""
        ratio = f"{check.ratio:.2f}" if check.ratio is not None else ""
        lines.append(f"| {check.name} | {shown} | {plain} | {ratio} | {check.verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
