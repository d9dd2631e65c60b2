"""A step that runs out of memory goes on with smaller micro-batches. The memory error is torch's own, of an allocation
that no machine can make; oracle: the same training with that micro-batch size from the start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.interface import Method, Needs, Step, Term

JobMaker = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Hungry:
    """A method whose terms take more memory than there is where a micro-batch has more than `rows` rows."""

    base: Method
    rows: int
    asked: list[int] = field(default_factory=list)
    until: int = 10**9

    def needs(self) -> Needs:
        return self.base.needs()

    @property
    def gradient_wrappers(self) -> Sequence[Any]:
        return getattr(self.base, "gradient_wrappers", ())

    def terms(self, step: Step) -> Sequence[Term]:
        terms = self.base.terms(step)
        rows = step.forward("forget").sequences
        self.asked.append(rows)
        if rows > self.rows and len(self.asked) <= self.until:
            torch.empty(2**52)
        return terms


def trained(job: dict[str, Any], benchmark: Benchmark, method: Method) -> TrainOutcome:
    return TrainOutcome.model_validate(run_worker(job, benchmark=benchmark, method=method))


def weights(job: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(job["output_dir"]) / "model.safetensors")


@pytest.mark.parametrize(("name", "params"), [("npo", {"retain": "kl"}), ("graddiff+surgery", {}), ("rmu", {})])
def test_the_training_is_that_of_smaller_micro_batches(
    make_job: JobMaker, benchmark: Benchmark, name: str, params: dict[str, Any]
) -> None:
    """5 rows run out of memory, 3 and then 2 fit: equal weights to rounding, and the size is in the outcome."""
    found, given = make_job(name, params), make_job(name, params, micro_batch_size=2)
    method = Hungry(build(name, params), rows=2)
    outcome = trained(found, benchmark, method)
    assert method.asked[:4] == [5, 3, 2, 2]
    assert max(method.asked[2:]) == 2, "the size that was found is kept"
    assert outcome.micro_batch_rows == 2
    expected = trained(given, benchmark, build(name, params))
    assert expected.micro_batch_rows == 2
    assert (outcome.tokens, outcome.steps) == (expected.tokens, expected.steps)
    for key, value in weights(given).items():
        torch.testing.assert_close(weights(found)[key], value, atol=1e-5, rtol=1e-5)


def test_one_row_that_does_not_fit_fails(make_job: JobMaker, benchmark: Benchmark) -> None:
    method = Hungry(build("npo", {}), rows=0)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run_worker(make_job(), benchmark=benchmark, method=method)
    assert method.asked == [5, 3, 2, 1]


def test_other_errors_are_not_tried_again(make_job: JobMaker, benchmark: Benchmark) -> None:
    @dataclass(frozen=True)
    class Broken(Hungry):
        def terms(self, step: Step) -> Sequence[Term]:
            self.asked.append(step.forward("forget").sequences)
            raise RuntimeError("the shapes do not match")

    method = Broken(build("npo", {}), rows=9)
    with pytest.raises(RuntimeError, match="shapes"):
        run_worker(make_job(), benchmark=benchmark, method=method)
    assert method.asked == [5]


def test_means_over_micro_batches_are_not_made_of_smaller_ones(make_job: JobMaker, benchmark: Benchmark) -> None:
    """With `compat`, a smaller micro-batch is another training."""
    params = {"compat": "open-unlearning"}
    with pytest.raises(MemoryError, match="means over each micro-batch"):
        run_worker(make_job("npo", params), benchmark=benchmark, method=Hungry(build("npo", params), rows=4))


def test_a_size_that_fits_is_left_alone(make_job: JobMaker, benchmark: Benchmark) -> None:
    assert trained(make_job(), benchmark, build("npo", {})).micro_batch_rows is None


def test_a_resumed_training_does_not_search_again(
    make_job: JobMaker, benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(checkpoint_dir=str(tmp_path / "checkpoints"), checkpoint_every_s=0.0)

    @dataclass(frozen=True)
    class Killed(Hungry):
        def terms(self, step: Step) -> Sequence[Term]:
            if step.progress >= 0.5:
                raise KeyboardInterrupt
            return Hungry.terms(self, step)

    with pytest.raises(KeyboardInterrupt):
        run_worker(job, benchmark=benchmark, method=Killed(build("npo", {}), rows=3))
    method = Hungry(build("npo", {}), rows=3)
    outcome = trained(job, benchmark, method)
    assert outcome.resumed_at_step > 0
    assert outcome.micro_batch_rows == 3
    assert max(method.asked) == 3
