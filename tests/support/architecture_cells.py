"""The cells of the architecture matrix: what a sweep does with a model, each done for real on a small random one.

A cell's outcome is "works", or the reason that the product gives. Anything else (a crash) is raised.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from tests.evaluators.attacks.thinking_world import THINKING
from tests.support.architectures import OPTIONS, small_benchmark, small_model
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer, save_model
from unlearn_sweep.engine.models.start_model import train_tokenizer
from unlearn_sweep.engine.training.job import Choice, TrainJob
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import PromptSettings, in_format
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.model_parts import UnsupportedModelError
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings

WORKS = "works"
SHORT = {"steps": [1], "learning_rate": 1e-3, "batch_size": 4}
TRAININGS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "npo": ("npo", None),
    "dpo": ("dpo", None),
    "rmu": ("rmu", None),
    "rr": ("rr", None),
    "npo+lat": ("npo+lat", None),
    "npo+sam": ("npo+sam", None),
    "task_vector": ("task_vector", None),
    "npo, LoRA": ("npo", {}),
    "rmu, LoRA": ("rmu", {}),
}
ATTACKS: dict[str, Any] = {
    "prefill": {"tokens": [1]},
    "few_shot": {"shots": [1]},
    "in_context": {"shots": [1]},
    "paraphrase": {"wordings": [1]},
    "rwku_prompts": {},
    "quantize": {"bits": [4]},
    "prune": {"forget_percent": [2.0], "samples": 4},
    "prune, magnitude": {"by": "magnitude", "percent": [20.0]},
    "prune, wanda": {"by": "wanda", "percent": [20.0], "samples": 2},
    "relearn": SHORT,
    "relearn, LoRA": SHORT | {"lora_rank": 2},
    "logit_lens": {},
    "abliterate": {"where": "activations"},
    "abliterate, weights": {"where": "weights"},
    "soft_prompt": {"iterations": [1], "soft_tokens": 2},
    "gcg": {"steps": [1], "suffix_tokens": 3, "search_width": 4, "prompts": 1},
    "enhanced_gcg": {"steps": [1], "text_tokens": 3, "min_tokens": 2, "search_width": 4, "prompts": 1},
    "chain": [{"quantize": {"bits": [4]}}, {"relearn": SHORT}],
    "think": {"tokens": [4]},
}
METRICS = {
    "likelihood": ["probability", "extraction_strength"],
    "alternatives": ["truth_ratio"],
    "generation": ["rouge"],
    "moments": ["mia_min_k_plus_plus"],
    "gradient": ["mia_gradnorm"],
    "behind thoughts": ["probability", "truth_ratio", "rouge"],
}
CELLS = (
    *(f"train: {name}" for name in TRAININGS),
    *(f"attack: {name}" for name in ATTACKS),
    *(f"metric: {name}" for name in METRICS),
)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(small_benchmark().tokenizer_texts, vocab_size=300)


def chatting(benchmark: Benchmark) -> tuple[PreTrainedTokenizerFast, Benchmark]:
    """Tokenizer and benchmark of a thinking model: a chat template that begins a thought where thinking is enabled."""
    own = copy.deepcopy(tokenizer())
    own.chat_template = THINKING
    return own, in_format(benchmark, PromptSettings(format="chat", thinking=ThinkingSettings(max_tokens=4)))


@cache
def model_folder(name: str) -> str:
    """The start model of a class, on disk, once for the session."""
    folder = Path(tempfile.mkdtemp(prefix="architecture-")) / name
    save_model(small_model(name, tokenizer()), tokenizer(), folder)
    return str(folder)


def outcome(architecture: str, cell: str) -> str:
    """What became of a cell: "works", or the words in which it was refused."""
    kind, _, name = cell.partition(": ")
    does: Mapping[str, Callable[[str, str], None]] = {"train": _train, "attack": _attack, "metric": _measure}
    torch.set_num_threads(1)
    try:
        does[kind](architecture, name)
    except ValidationError:
        raise
    except (AttackError, UnsupportedModelError, ValueError) as error:
        return str(error).partition("\n")[0]
    return WORKS


def _train(architecture: str, name: str) -> None:
    """Train two steps, export, reload: weights have moved, and the reloaded model gives what was written."""
    method, lora = TRAININGS[name]
    with tempfile.TemporaryDirectory() as folder:
        job = TrainJob.model_validate(
            {
                "start_model": model_folder(architecture),
                "output_dir": f"{folder}/out",
                "benchmark": Choice(name="authors", params=OPTIONS),
                "method": Choice(name=method),
                "learning_rate": 1e-2,
                "training": TrainingSettings.model_validate(
                    {"max_steps": 2, "epochs": None, "global_batch_size": 4, "lora": lora}
                ),
                "threads": 1,
            }
        )
        run_worker(job.model_dump(mode="json"))
        before = dict(load_model(job.start_model, device="cpu").named_parameters())
        after = load_model(job.output_dir, device="cpu")
        moved = [key for key, weight in after.named_parameters() if not torch.equal(before[key], weight)]
        assert moved
        assert load_tokenizer(job.output_dir).get_vocab() == tokenizer().get_vocab()
        if "experts" in " ".join(before):
            assert any("experts" in key for key in moved)


def _attack(architecture: str, name: str) -> None:
    """Run the attack; every state's model answers with finite numbers."""
    model = load_model(model_folder(architecture), device="cpu")
    own, benchmark = chatting(small_benchmark()) if name == "think" else (tokenizer(), small_benchmark())
    target = Target(
        model=model,
        tokenizer=own,
        benchmark=benchmark,
        seed=0,
        original=lambda: load_model(model_folder(architecture), device="cpu"),
    )
    states = 0
    for state in build(name.partition(",")[0], ATTACKS[name]).run(target):
        states += 1
        if state.prompt_edit is None:
            with torch.no_grad():
                assert state.model(torch.arange(5, 15)[None]).logits.isfinite().all()
    assert states


def _measure(architecture: str, name: str) -> None:
    """Measure every row; no value is missing where the metric applies. Behind thoughts every row has one."""
    thinks = name == "behind thoughts"
    own, benchmark = chatting(small_benchmark()) if thinks else (tokenizer(), small_benchmark())
    table = evaluate_rows(
        load_model(model_folder(architecture), device="cpu"),
        own,
        benchmark.evaluation["forget"],
        metrics=METRICS[name],
        template=benchmark.template,
        max_new_tokens=4,
        thinking=benchmark.thinking,
    ).table
    assert not thinks or table["thought"].str.contains("</think>").all()
    for metric in METRICS[name]:
        assert any(math.isfinite(value) for value in table[metric].dropna())
