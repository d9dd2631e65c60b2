"""Choose the rows of a micro-batch that a training begins with: those of the settings, fewer where memory asks for it.

A training that was restarted for lack of memory begins with at most `TrainJob.micro_rows`. On a GPU, the estimate that
`plan` prints bounds the rows too, and all ranks take the smallest bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from unlearn_sweep.engine.models.model_shape import Shape
from unlearn_sweep.engine.training.batches import BatchPlan
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.lora import AdaptersOff
from unlearn_sweep.engine.training.memory_estimate import GIB, rows_that_fit
from unlearn_sweep.engine.training.ranks import Ranks, collective_device
from unlearn_sweep.engine.training.steps import Run
from unlearn_sweep.engine.training.training_views import Views
from unlearn_sweep.engine.zero.shards import parameter_count

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def first_rows(
    job: TrainJob, model: PreTrainedModel, run: Run, views: Views, plan: BatchPlan, ranks: Ranks
) -> int | None:
    """Return the rows of a view that a rank holds in one pass at first; None: its whole share. Equal on all ranks.

    A `micro_batch_size` of the settings is kept. So is the share of a method whose terms are means over micro-batches.
    """
    asked, device = smallest(job.training.micro_batch_size, job.micro_rows), device_gib(run.device)
    if device is None or job.training.micro_batch_size is not None or means_over_micro_batches(job.method.params):
        return asked
    tokens = fmean(item.tokens for items in views.batch(plan, 0).values() for item in items)
    fitting = rows_that_fit(
        job.training.model_copy(update={"workers": ranks.world_size}),
        shape_of_model(model),
        tokens,
        device,
        frozen=sum(not isinstance(frozen, AdaptersOff) for frozen in run.frozen_models),
        grouped=run.needs.gradients == "grouped",
    )
    return smallest_everywhere(smallest(asked, fitting), ranks)


def smallest(*rows: int | None) -> int | None:
    """Return the smallest number; None, which stands for no bound, only if all are."""
    return min((bound for bound in rows if bound is not None), default=None)


def smallest_everywhere(rows: int | None, ranks: Ranks) -> int | None:
    """Return the smallest number of all ranks; None if none has a bound. Every rank must call this."""
    if ranks.world_size == 1:
        return rows
    unbounded = torch.iinfo(torch.int64).max
    found = torch.tensor(unbounded if rows is None else rows, device=collective_device())
    dist.all_reduce(found, op=dist.ReduceOp.MIN)
    return None if found.item() == unbounded else int(found.item())


def device_gib(device: torch.device) -> float | None:
    """Return the GiB of a GPU that this process has or could get; None for other devices."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return (free + torch.cuda.memory_reserved(device)) / GIB


def shape_of_model(model: PreTrainedModel) -> Shape:
    """Return the size of a loaded model, sharded or not."""
    config = model.config.get_text_config()
    product = float(config.num_hidden_layers * config.hidden_size)
    return Shape(parameters=parameter_count(model), depth_times_width=product, vocabulary=int(config.vocab_size))


def means_over_micro_batches(params: Mapping[str, object]) -> bool:
    """Return whether a method follows published code (`compat`), whose means are over micro-batches."""
    return any(name.split(".")[-1] == "compat" and value not in (None, "none") for name, value in params.items())
