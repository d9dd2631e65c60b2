"""Sizes of what ZeRO holds at one time, in numbers. No torch: plans count with them too."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_BUCKET = 200_000_000
SMALLEST_BUCKET = 1_000_000
LARGEST_PREFETCH = 50_000_000
LARGEST_LIVE = 1_000_000_000
LARGEST_PERSISTENT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroSizes:
    """Sizes for one model.

    Attributes:
        bucket: Gradients, or weights, that are exchanged in one go.
        prefetch: Weights that stage 3 gathers ahead.
        live: Weights that stage 3 keeps gathered while it computes.
        stepped: Weights whose gradients the optimizer of stage 3 copies at one time.
        persistent: Largest weight that stage 3 does not shard.
    """

    bucket: int
    prefetch: int
    live: int
    stepped: int
    persistent: int


def engine_sizes(parameters: int) -> ZeroSizes:
    """Scale DeepSpeed's own sizes to the model: with them, one of less than a billion parameters would stay whole."""
    bucket = min(LARGEST_BUCKET, max(SMALLEST_BUCKET, parameters // 20))
    return ZeroSizes(
        bucket=bucket,
        prefetch=min(LARGEST_PREFETCH, bucket),
        live=min(LARGEST_LIVE, parameters // 10),
        stepped=min(LARGEST_LIVE, max(SMALLEST_BUCKET, parameters // 10)),
        persistent=min(LARGEST_PERSISTENT, parameters // 1000),
    )
