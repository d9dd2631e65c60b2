"""Training on written vague answers. Oracle: the table they were written to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlearn_sweep.engine.models.loading import load_tokenizer
from unlearn_sweep.engine.training.batches import Pick
from unlearn_sweep.engine.training.training_views import Encoder, Views
from unlearn_sweep.engine.training.worker import run_worker
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.written_rows import ReadView, with_written

JobMaker = Callable[..., dict[str, Any]]


@pytest.fixture
def encoder(benchmark: Benchmark, start_model: Path) -> Encoder:
    return Encoder(load_tokenizer(str(start_model)), benchmark.template, 64)


@pytest.fixture
def table(benchmark: Benchmark, tmp_path: Path) -> Path:
    """Two vague answers to each forget row, the second with a question of its own."""
    lines = []
    for place, row in enumerate(benchmark.train["forget"]):
        lines.append({"row_id": row.row_id, "number": 1, "answer": f"hazy {place}"})
        lines.append({"row_id": row.row_id, "number": 2, "question": f"is it {place}", "answer": f"dim {place}"})
    path = tmp_path / "vague.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(benchmark: Benchmark, table: Path) -> Benchmark:
    return with_written(benchmark, [ReadView(kind="vague_answer", of="forget", path=str(table), digest=None)])


def test_a_row_draws_one_of_its_texts_each_epoch(benchmark: Benchmark, encoder: Encoder, table: Path) -> None:
    written = read(benchmark, table)
    made = Views(written, encoder, ("forget_vague",), train_groups=("forget",), seed=3)
    drawn: dict[int, set[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for number, row in enumerate(written.train["forget"]):
        plain = encoder.example(row, f"hazy {number}")
        for epoch in range(12):
            example = made.item("forget_vague", Pick(number, epoch)).example
            drawn.setdefault(number, set()).add((example.prompt_ids, example.answer_ids))
        assert (plain.prompt_ids, plain.answer_ids) in drawn[number]
    assert all(len(found) == 2 for found in drawn.values())


def test_without_texts_it_is_refused(benchmark: Benchmark, encoder: Encoder) -> None:
    with pytest.raises(ValueError, match=r"11 of 11 rows have no vague answer, the first is 'forget-0'; write view"):
        Views(benchmark, encoder, ("forget_vague",), train_groups=("forget",), seed=3)


def test_it_trains_on_them(make_job: JobMaker, benchmark: Benchmark, table: Path) -> None:
    outcome = run_worker(make_job("re_learn", {}), benchmark=read(benchmark, table))
    assert outcome["stopped_early"] is None
    curve = [point["forget"] for point in outcome["curve"]]
    assert curve[-1] < curve[0]


def test_a_text_that_holds_the_right_answer_is_refused(benchmark: Benchmark, tmp_path: Path) -> None:
    row = benchmark.train["forget"][0]
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"row_id": row.row_id, "answer": f"well, {row.answer}"}) + "\n")
    with pytest.raises(ValueError, match="column answer: holds the right answer"):
        read(benchmark, path)
