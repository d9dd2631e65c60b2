"""Plan how a trial's measuring uses its devices: processes that share the rows, and the memory of one GPU."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.models.model_shape import shape_of
from unlearn_sweep.engine.resources.measuring import measuring_memory, processes_on

BYTES_OF_WEIGHT = {"float32": 4.0, "bfloat16": 2.0, "auto": 2.0}
"""Bytes of a number on a GPU by `dtype` of the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringPlan:
    """How one trial measures.

    Attributes:
        processes: Processes that share the rows of an evaluation, each with a copy of the model.
        gpus_each: GPUs of each process; 0 on CPUs. A part of one if several trials share it.
        gib: Estimated GiB of the fullest GPU while measuring; None on CPUs or if the size of the model is unknown.
        least_gib: GiB without which nothing can be measured, else as `gib`.
    """

    processes: int
    gpus_each: float
    gib: float | None = None
    least_gib: float | None = None

    def words(self) -> str:
        """Return it in one line."""
        held = "" if self.gib is None else f", about {self.gib:.0f} GiB"
        spread = self.gpus_each >= 2
        gpus = f"{self.gpus_each:g} GPUs" if spread else "a GPU" if self.gpus_each == 1 else f"{self.gpus_each:g} GPU"
        where = f"spread over {gpus}" if spread else f"on {gpus} of its own" if self.gpus_each >= 1 else f"on {gpus}"
        if self.processes == 1:
            return f"one process, the model {where if self.gpus_each else 'on CPUs'}{held}"
        copies = f"{where}{' each' if spread else ''}" if self.gpus_each else "on CPUs"
        return f"{self.processes} processes share the rows, each with the whole model {copies}{held}"


def measuring_plan(job: SweepJob, parameters: int | None, device_gib: float | None) -> MeasuringPlan:
    """Return how a trial of a job measures on GPUs of `device_gib`; None if that is unknown.

    A measuring process decides by the same estimate, with the memory that its GPU has.
    """
    workers = None if job.evaluation_workers == "auto" else job.evaluation_workers
    held = job.measuring.get("GPU", 0.0)
    devices = int(held) if held >= 1 else int(held > 0)
    if not devices:
        return MeasuringPlan(processes=processes_on(0, workers, None, None), gpus_each=0.0)
    if parameters is None:
        return MeasuringPlan(processes=processes_on(devices, workers, None, None), gpus_each=held)
    memory = measuring_memory(shape_of(parameters, job.original.path), BYTES_OF_WEIGHT[job.dtype])
    processes = processes_on(devices, workers, memory, device_gib)
    each = devices // processes
    return MeasuringPlan(
        processes=processes,
        gpus_each=held if held < 1 else float(each),
        gib=memory.each(each),
        least_gib=memory.least(each),
    )
