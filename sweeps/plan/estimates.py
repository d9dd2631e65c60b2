"""Estimate stage times: the median of stages measured in this storage, else a model with stated assumptions.

The model adds floating-point operations divided by a rate, a fixed time per step and a fixed time per stage. Training
takes 6 operations per parameter and token, a forward pass 2.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.sweeps.plan.workload import Workload

CPU_FLOPS_PER_THREAD = 25e9
GPU_FLOPS = 1e14
CPU_STEP_OVERHEAD_S = 0.01
GPU_STEP_OVERHEAD_S = 0.03
STAGE_OVERHEAD_S = 0.3
START_MODEL_S = 5.0
WORKERS_START_S = 20.0
SWEEP_START_S = 15.0
BATCH_TOKENS = 4096
GENERATION_BATCH = 256
READ_AT_MOST = 20_000

ASSUMPTIONS = (
    f"{CPU_FLOPS_PER_THREAD / 1e9:g} GFLOP/s a CPU thread in float32, {GPU_FLOPS / 1e12:g} TFLOP/s a GPU in bfloat16",
    f"{CPU_STEP_OVERHEAD_S * 1e3:g} ms a step on a CPU, {GPU_STEP_OVERHEAD_S * 1e3:g} ms on a GPU",
    f"{STAGE_OVERHEAD_S:g} s a stage besides its work",
    f"{WORKERS_START_S:g} s to start and end the training workers of a trial, {SWEEP_START_S:g} s to start Ray",
    "4 characters a token; 6 operations a parameter and token to train, 2 to evaluate",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Assumed speed of one trial: `flops` in operations per second, `step_s` the fixed seconds per step."""

    flops: float
    step_s: float


def training_rate(job: SweepJob) -> Rate:
    """Return the assumed training speed on the requested resources. Without training workers, one process trains."""
    workers = job.training.worker_group
    if not workers.count:
        return _rate(min(1.0, job.measuring.get("GPU", 0.0)), job.threads)
    return _rate(workers.count * workers.resources.get("GPU", 0.0), workers.count * job.threads)


def evaluation_rate(job: SweepJob, processes: int = 1) -> Rate:
    """Return the assumed speed of measuring with so many processes. Of a model that is spread, one GPU computes."""
    return _rate(processes * min(1.0, job.measuring.get("GPU", 0.0)), processes * job.measuring_threads)


def _rate(gpus: float, threads: int) -> Rate:
    if gpus:
        return Rate(flops=gpus * GPU_FLOPS, step_s=GPU_STEP_OVERHEAD_S)
    return Rate(flops=threads * CPU_FLOPS_PER_THREAD, step_s=CPU_STEP_OVERHEAD_S)


def training_seconds(parameters: int, tokens: float, steps: float, rate: Rate) -> float:
    """Return the seconds to train on `tokens` tokens in `steps` steps."""
    return 6.0 * parameters * tokens / rate.flops + steps * rate.step_s


def evaluation_seconds(parameters: int, work: Workload, rate: Rate) -> float:
    """Return the seconds of one evaluation: thoughts, the likelihood pass, and generation token by token."""
    prompt = work.prompt_tokens + (work.thought_tokens * work.thinking_rows / max(1, work.evaluation_rows))
    read = prompt + work.answers_per_row * work.answer_tokens
    written = prompt + work.new_tokens if work.new_tokens else 0.0
    batches = math.ceil(work.evaluation_rows * read / BATCH_TOKENS)
    steps = batches + math.ceil(work.evaluation_rows / GENERATION_BATCH) * work.new_tokens
    thoughts = writing_seconds(parameters, work, work.thinking_rows, work.thought_tokens, rate)
    return 2.0 * parameters * work.evaluation_rows * (read + written) / rate.flops + steps * rate.step_s + thoughts


def writing_seconds(parameters: int, work: Workload, rows: int, tokens: int, rate: Rate) -> float:
    """Return the seconds to write `tokens` tokens (all of a budget) behind the prompts of `rows` rows."""
    if not tokens or not rows:
        return 0.0
    steps = math.ceil(rows / GENERATION_BATCH) * tokens
    return 2.0 * parameters * rows * (work.prompt_tokens + tokens) / rate.flops + steps * rate.step_s


class Measured:
    """Times of finished stages in a storage, read once. Failed stages are not included."""

    def __init__(self, storage: Path) -> None:
        self.results = list(_results(storage / "store" / "stages"))

    def median_s(self, stage: str, fits: Callable[[Mapping[str, Any]], bool]) -> tuple[float, int] | None:
        """Return the median seconds and the count of stages of this name whose inputs fit; None if there are none."""
        seconds = [result.seconds for result in self.results if result.stage == stage and fits(result.inputs)]
        return (statistics.median(seconds), len(seconds)) if seconds else None


def _results(folder: Path) -> Iterator[StageResult]:
    """Yield the stage records that can be read. Broken ones are skipped, as they only add a time to the estimate."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*/stage.json"))[:READ_AT_MOST]:
        try:
            yield StageResult.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            continue
