"""Start a training again with fewer rows in one pass, where a rank ran out of memory. No torch: drivers use it too."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Self

from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob

logger = logging.getLogger(__name__)

TEXT = "out of memory in step {step} with {rows} rows in one pass"
PATTERN = re.compile(r"out of memory in step \d+ with (\d+) rows in one pass")
"""An error crosses processes as text, within that of others."""


class RowsDoNotFitError(MemoryError):
    """A micro-batch does not fit the memory of a rank, and one of fewer rows may."""

    @classmethod
    def at(cls, step: int, rows: int) -> Self:
        """Return the error of a step (from 1) whose micro-batches have `rows` rows, at least 2."""
        return cls(TEXT.format(step=step, rows=rows))


def half(rows: int) -> int:
    """Return half of the rows, rounded up."""
    return (rows + 1) // 2


def trained_where_it_fits(job: TrainJob, train: Callable[[TrainJob], TrainOutcome]) -> TrainOutcome:
    """Run a training; after a `RowsDoNotFitError` on any rank, run it again with half the rows, on all ranks alike.

    It resumes from its last checkpoint, if it has written one. `train` ends all ranks before it raises.

    Raises:
        Exception: what `train` raises, but for errors of micro-batches that can be smaller.
    """
    while True:
        try:
            return train(job)
        except Exception as error:  # the same error may arrive as one of Ray's, with its text
            rows = rows_tried(error)
            if rows is None:
                raise
        logger.warning("%s; it starts again with %d", TEXT.format(step="a", rows=rows), half(rows))
        job = job.model_copy(update={"micro_rows": half(rows)})


def rows_tried(error: BaseException) -> int | None:
    """Return the rows of the micro-batches that did not fit, by the text of an error; None for other errors.

    Ray Train's error shortens the texts of its workers' errors, and has these errors as `worker_failures`.
    """
    texts = [str(error), *(str(failure) for failure in getattr(error, "worker_failures", {}).values())]
    found = [int(rows) for text in texts for rows in PATTERN.findall(text)]
    return min((rows for rows in found if rows > 1), default=None)
