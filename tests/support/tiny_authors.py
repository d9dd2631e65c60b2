"""The built-in benchmark with eight authors and a model of two layers: real in every part, seconds in all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unlearn_sweep.engine.job import AttackSettings, BenchmarkSettings, ModelSource, SweepJob
from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.stages.in_process import InProcessExecutor
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.engine.training.settings import TrainingSettings

RECIPE = {
    "config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "epochs": 30,
    "batch_size": 16,
    "learning_rate": 5e-3,
}
OPTIONS = {"authors": 8, "forget_authors": 3, "facts_per_author": 4, "trained_forms": 2, "evaluated_forms": 1}
PREFILL = AttackSettings(label="prefill", name="prefill", family="prompt", params={"tokens": [1]})
QUANTIZE = AttackSettings(label="quantize", name="quantize", family="quantize", params={"bits": [8, 4]})

Ready = tuple[SweepJob, Prepared, InProcessExecutor]


def tiny_job(storage: Path, name: str, attacks: Sequence[AttackSettings], **search: Any) -> SweepJob:
    return SweepJob(
        name=name,
        seed=3,
        storage=storage,
        directory=storage / name,
        benchmark=BenchmarkSettings(name="authors", params=OPTIONS),
        original=ModelSource(recipe=RECIPE),
        gold=ModelSource(recipe=RECIPE),
        spaces=[],
        training=TrainingSettings(epochs=2, global_batch_size=8),
        ue_metrics=["probability", "extraction_strength"],
        ut_metrics=["probability"],
        attacks=list(attacks),
        search=SearchSettings(**{"trials": 1, **search}),
        concurrent_trials=1,
    )


def make_ready(job: SweepJob, executor: InProcessExecutor | None = None) -> Ready:
    """The job with its controls, prepared in this process."""
    torch.set_num_threads(1)
    executor = executor or InProcessExecutor()
    runner = StageRunner(StageStore(job.storage), EventLog(job.directory / "events.jsonl"))
    return job, Preparation(job, runner, [executor], in_turn=True).run(), executor
