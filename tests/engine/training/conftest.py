"""A benchmark of a few made-up rows, a Llama of two layers for it, and jobs over the two."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unlearn_sweep.engine.models.start_model import create_start_model
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.rows import Row, Template

WORDS = ("red", "blue", "green", "tall", "small", "old", "new", "fast", "slow", "kind")
RECIPE = TrainRecipe(
    config={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
    vocab_size=300,
)

JobMaker = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def made_up_rows(split: str, count: int) -> list[Row]:
    """Rows of different lengths, the same on every call. Three rows are one fact, so each has two other wordings."""
    draw, other = random.Random(split), random.Random(f"{split}, in other words")

    def words(most: int, draw: random.Random = draw) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    return [
        Row(
            row_id=f"{split}-{number}",
            group_id=f"{split}-{number // 3}",
            split=split,
            question=words(6),
            answer=words(5),
            perturbed_answers=(words(5), words(5)),
            paraphrased_question=words(6, other),
            paraphrased_answer=words(5, other),
        )
        for number in range(count)
    ]


def made_up_benchmark(forget: int, retain: int) -> Benchmark:
    texts = [f"{row.question} {row.answer}" for row in made_up_rows("text", 40)]
    return Benchmark(
        name="made-up",
        train={"forget": made_up_rows("forget", forget), "retain": made_up_rows("retain", retain)},
        evaluation={},
        utility_splits=(),
        template=Template(before="", after=""),
        tokenizer_texts=texts,
        recipe=RECIPE,
    )


@pytest.fixture(scope="session")
def benchmark() -> Benchmark:
    """11 forget and 17 retain rows: batches of 5 end in a batch of 1."""
    return made_up_benchmark(11, 17)


@pytest.fixture(scope="session")
def even_benchmark() -> Benchmark:
    """6 rows each: one batch of 6 or more is all of them, in whatever order."""
    return made_up_benchmark(6, 6)


@pytest.fixture(scope="session")
def start_model(benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "model"
    create_start_model(benchmark, RECIPE, folder)
    return folder


@pytest.fixture
def make_job(start_model: Path, tmp_path: Path) -> JobMaker:
    """Jobs as JSON values, each with a folder of its own to write to; options of the training may be given flat."""
    made = iter(range(1_000))

    def make(method: str = "npo", params: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
        job: dict[str, Any] = {
            "start_model": str(start_model),
            "output_dir": str(tmp_path / f"trained-{next(made)}"),
            "benchmark": {"name": "made-up"},
            "method": {"name": method, "params": params or {}},
            "learning_rate": 1e-3,
            "seed": 3,
            "teacher_model": str(start_model),  # for the methods that ask for one
        }
        training: dict[str, Any] = {
            "max_steps": 4,
            "global_batch_size": 5,
            "warmup_share": 0.0,
            # Adam divides by the gradient's own size: at the usual 1e-8 it makes a whole step out of the rounding error
            # of a gradient that is zero, and no two ways of adding up would agree.
            "adam_epsilon": 1e-3,
            "gradient_clip": None,  # clipping would hide a gradient that is wrong by a factor
        }
        given = {name: value for name, value in values.items() if name in TrainingSettings.model_fields}
        training |= given
        if "epochs" in given:
            del training["max_steps"]
        return job | {"training": training} | {name: value for name, value in values.items() if name not in given}

    return make
