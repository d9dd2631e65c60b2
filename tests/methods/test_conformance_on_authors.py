"""Every method forgets: a training on the built-in benchmark makes the forget answers less likely than they were.

Models of two layers that know their authors; learning rates and lengths are the published ones rescaled to that size.
The oracle is the evaluators' own likelihood: the mean probability of a token of the forget answers, and of the retain
answers for the methods that hold them. The gold model, which never saw the forget rows, is at about .45.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.support.tiny_authors import OPTIONS, make_ready, tiny_job
from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.attacks.answer_likelihood import encode_rows
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.methods.catalog import METHODS

pytestmark = pytest.mark.slow

STEERED = {"layer": 0.5, "trainable": "up_to_layer", "steering": 50.0, "retain_weight": 1.0}


@dataclass(frozen=True)
class Case:
    """One method's training; `forget_below` is what the forget answers' token probability must fall under, from .99,
    and `retain_above` what the retain answers' must keep; 0 where nothing holds them.
    """

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    learning_rate: float = 2e-3
    epochs: int = 5
    forget_below: float = 0.6
    retain_above: float = 0.0

    def __str__(self) -> str:
        return self.method


CASES = [
    Case("grad_ascent", forget_below=0.1),
    Case("graddiff", forget_below=0.3, retain_above=0.3),
    Case("kl_min", forget_below=0.3, retain_above=0.3),
    Case("npo", forget_below=0.3),
    Case("simnpo", {"beta": 2.5}, learning_rate=4e-3, epochs=10, forget_below=0.9, retain_above=0.9),
    Case("wga", retain_above=0.8),
    Case("satimp", forget_below=0.9, retain_above=0.9),
    Case("ceu", forget_below=0.1),
    Case("undial", forget_below=0.3),
    Case("jensun", learning_rate=5e-3, epochs=10, forget_below=0.8, retain_above=0.9),
    Case("jensun_kl", forget_below=0.3, retain_above=0.5),
    Case("pdu", forget_below=0.3, retain_above=0.7),
    Case("me", forget_below=0.4, retain_above=0.8),
    Case("log1mp", forget_below=0.4, retain_above=0.5),
    Case("idk", forget_below=0.7, retain_above=0.8),
    Case("idk_ap", forget_below=0.3),
    Case("dpo", {"beta": 0.05}, learning_rate=4e-3, forget_below=0.7, retain_above=0.8),
    Case("altpo", retain_above=0.5),
    Case("re_learn", {"answers": "refusals"}, forget_below=0.7, retain_above=0.8),
    Case("elm", retain_above=0.5),
    Case("task_vector", {"strength": 2.0}),
    Case("whp", forget_below=0.3),
    Case(
        "undo",
        {"alpha": 0.5, "distil_on": "retain"},
        learning_rate=5e-3,
        epochs=10,
        forget_below=0.8,
        retain_above=0.8,
    ),
    Case("rmu", STEERED, forget_below=0.4),
    Case("adaptive_rmu", {name: STEERED[name] for name in STEERED if name != "steering"}, forget_below=0.4),
    Case("rad", STEERED, forget_below=0.4),
    Case("rab", STEERED),
    Case("rr", forget_below=0.4, retain_above=0.8),
]


@dataclass(frozen=True)
class World:
    """The benchmark, its original model and the reinforced one."""

    benchmark: Benchmark
    original: str
    teacher: str
    folder: Path

    def train(self, name: str, method: str, params: dict[str, Any], **values: Any) -> tuple[str, TrainOutcome]:
        output = str(self.folder / name)
        given = {key: value for key, value in values.items() if key in TrainingSettings.model_fields}
        job = {
            "start_model": self.original,
            "output_dir": output,
            "benchmark": {"name": "authors", "params": OPTIONS},
            "method": {"name": method, "params": params},
            "training": {"global_batch_size": 8, "warmup_share": 0.0, **given},
            "seed": 3,
            "teacher_model": self.teacher,
            **{key: value for key, value in values.items() if key not in given},
        }
        return output, TrainOutcome.model_validate(run_worker(job))

    def probability(self, model: str, view: str) -> float:
        """Mean over rows of the geometric mean of an answer's token probabilities."""
        examples = encode_rows(load_tokenizer(model), self.benchmark.train[view], self.benchmark.template)
        scores = score(load_model(model, device="cpu").eval(), examples, pad_id=0, batch_tokens=4096).scores
        return fmean(math.exp(float(row.logp.mean())) for row in scores)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("conformance")
    _, prepared, _ = make_ready(tiny_job(folder / "storage", "one", []))
    benchmark = load_benchmark("authors", OPTIONS)
    made = World(benchmark, prepared.paths["original"], str(folder / "reinforced"), folder)
    made.train("reinforced", "finetune", {}, train_groups=["forget"], learning_rate=2e-3, epochs=10)
    return made


def test_every_method_has_a_case() -> None:
    assert [case.method for case in CASES] == list(METHODS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_forget_answers_become_less_likely(world: World, case: Case) -> None:
    assert world.probability(world.original, "forget") > 0.95
    model, outcome = world.train(
        case.method, case.method, case.params, learning_rate=case.learning_rate, epochs=case.epochs
    )
    assert outcome.stopped_early is None
    assert world.probability(model, "forget") < case.forget_below
    assert world.probability(model, "retain") > case.retain_above
