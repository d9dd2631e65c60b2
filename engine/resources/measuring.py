"""Divide the devices of a measuring process among its workers: each has as few as hold a whole model.

Memory is estimated from the size of the model, the bound on tokens of a batch and the numbers' width; nothing here was
measured on a GPU. Plans and measuring processes ask this module, so that a plan tells what a sweep does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_sweep.engine.models.model_shape import RESERVE_GIB, Shape

GIB = 2**30
MODELS = 2
"""The measured model, and one that an attack changes or that is compared with."""
BATCH_TOKENS = 4096
CACHED_TOKENS = 16384
"""Tokens of a batch that is scored, and of one that is answered (`evaluators.evaluate`)."""
LOGIT_BYTES = 12.0
"""Bytes for each scored token and vocabulary entry: float32 logits, log-probabilities and what is made of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringMemory:
    """Estimated GiB that measuring holds, by what holds them: on one device, or over several together.

    Attributes:
        weights: Two models.
        cache: Keys and values of a batch that is answered, without what grouped queries save.
        logits: Logits of a batch, all on the first device.
        reserve: CUDA context, libraries and fragmentation of one device.
    """

    weights: float
    cache: float
    logits: float
    reserve: float = RESERVE_GIB

    def each(self, devices: int) -> float:
        """Return the GiB of the fullest device if the model is spread over so many."""
        return (self.weights + self.cache) / devices + self.logits + self.reserve

    def least(self, devices: int) -> float:
        """Return the GiB without which nothing can be measured: one model, spread over so many devices."""
        return self.weights / MODELS / devices + self.reserve


def measuring_memory(shape: Shape, bytes_per_weight: float) -> MeasuringMemory:
    """Return the memory for a model of this shape whose numbers have so many bytes: 2 in bfloat16."""
    cached = CACHED_TOKENS * shape.depth_times_width * 2 * bytes_per_weight
    return MeasuringMemory(
        weights=MODELS * shape.parameters * bytes_per_weight / GIB,
        cache=cached / GIB,
        logits=BATCH_TOKENS * shape.vocabulary * LOGIT_BYTES / GIB,
    )


def processes_on(devices: int, workers: int | None, memory: MeasuringMemory | None, device_gib: float | None) -> int:
    """Return how many processes share the rows of an evaluation.

    Args:
        devices: accelerators of the measuring process; 0: it computes on the CPU.
        workers: the number in the sweep file; None: one for each accelerator on which the model fits, or for each group
            of as many as hold it; one on a CPU.
        memory: what measuring holds; None if unknown: the model is then spread over all accelerators.
        device_gib: memory of one accelerator in GiB; None if unknown.
    """
    if not devices:
        return workers or 1
    if workers is not None:
        return min(workers, devices)
    if memory is None or device_gib is None:
        return 1
    fewest = next((count for count in range(1, devices) if memory.each(count) <= device_gib), devices)
    return devices // fewest


def device_groups(devices: Sequence[str], processes: int) -> tuple[tuple[str, ...], ...]:
    """Return the devices of each process, as many for each; empty groups on a CPU. What is left over stays idle."""
    each = len(devices) // processes
    return tuple(tuple(devices[place * each : (place + 1) * each]) for place in range(processes))
