"""Find a micro-batch size that fits the memory: after an out-of-memory error, half the rows at a time.

In one process with the torch backend, the step that ran out of memory begins again from its weights, and its gradients
add up over more micro-batches. The terms of a loss are sums that are divided by the counts of the global batch, so the
step is the same up to rounding.

Several ranks, and DeepSpeed's engine, cannot go on: the ranks with enough memory wait in a collective for the one
without, and the engine's buckets keep what an unfinished backward pass left in them. There the training fails with
`RowsDoNotFitError`, and `restart.trained_where_it_fits` starts it again, on all ranks alike.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence

import torch

from unlearn_sweep.engine.out_of_memory import says_out_of_memory
from unlearn_sweep.engine.training.restart import RowsDoNotFitError, half
from unlearn_sweep.engine.training.state import Training
from unlearn_sweep.methods.interface import Term

logger = logging.getLogger(__name__)


class SmallerIsAnotherTrainingError(MemoryError):
    """Memory gave out, and smaller micro-batches would train another model."""


def halved(training: Training, index: int, error: BaseException) -> int | None:
    """Return the rows of a micro-batch with which to try step `index` again after `error`; None if it must fail.

    It must fail if the error is another one, or if a micro-batch has one row already.

    Raises:
        RowsDoNotFitError: the training must start again with fewer rows.
    """
    if not says_out_of_memory(error) or isinstance(error, SmallerIsAnotherTrainingError):
        return None
    rows = max(map(len, training.views.batch(training.plan, index).values()))
    share = -(-rows // training.ranks.world_size)
    size = min(share, training.micro_rows or share)
    if size == 1:
        return None
    if training.ranks.world_size > 1 or not training.backend.drop_gradients():
        raise RowsDoNotFitError.at(index + 1, size) from error
    return half(size)


def shrink(training: Training, index: int, rows: int) -> None:
    """Free what the failed attempt left behind and hold `rows` rows in one pass from now on."""
    training.micro_rows = rows
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    logger.warning("step %d ran out of memory; it begins again with %d rows in one pass", index + 1, rows)


def check_same_training(training: Training, terms: Sequence[Term]) -> None:
    """Refuse smaller micro-batches than the job's where a term is a mean over each micro-batch (`compat`).

    Raises:
        SmallerIsAnotherTrainingError: the job's micro-batches do not fit.
    """
    asked = training.job.training.micro_batch_size
    if training.micro_rows != asked and any(term.per == "micro_batch" for term in terms):
        raise SmallerIsAnotherTrainingError(
            f"out of memory with micro-batches of {asked or 'all'} rows; this method's terms are means over each "
            "micro-batch, so smaller ones would train another model: set micro_batch_size, or leave out compat"
        )
