"""Weights sharded by ZeRO stage 3: each rank holds an equal part of every weight, flat and padded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def is_sharded(weight: Tensor) -> bool:
    """Return whether ZeRO stage 3 shards this weight."""
    return hasattr(weight, "ds_tensor")


def whole_shape(weight: Tensor) -> torch.Size:
    """Return the shape of a weight, which a sharded one does not show itself."""
    return getattr(weight, "ds_shape", weight.shape)


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters, sharded or not, with tied ones counted once."""
    return sum(whole_shape(weight).numel() for weight in model.parameters())


def own_part(weight: Tensor) -> Tensor:
    """Return this rank's part of a sharded weight [n], without padding; n may be 0. It shares the weight's memory."""
    shard: Tensor = getattr(weight, "ds_tensor")  # noqa: B009 -- an attribute that DeepSpeed adds
    start = shard.numel() * int(getattr(weight, "ds_zero_partition_rank"))  # noqa: B009
    return shard.detach()[: max(0, min(shard.numel(), whole_shape(weight).numel() - start))]


def part_of(weight: Tensor, whole: Tensor) -> Tensor:
    """Return the entries of `whole`, a tensor of the weight's whole shape, that this rank's part of the weight has."""
    if not is_sharded(weight):
        return whole
    shard: Tensor = getattr(weight, "ds_tensor")  # noqa: B009
    start = shard.numel() * int(getattr(weight, "ds_zero_partition_rank"))  # noqa: B009
    return whole.reshape(-1)[start : start + shard.numel()]


@contextmanager
def gathered(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Gather these weights whole on every rank inside the context, for reading only. Every rank must enter it."""
    found = list(weights)
    if not any(map(is_sharded, found)):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(found):
        yield


def scatter(weights: Iterable[nn.Parameter]) -> None:
    """Free the whole copies that ZeRO keeps of small weights; the parts remain."""
    for weight in weights:
        if is_sharded(weight):
            weight.partition()  # pyright: ignore[reportAttributeAccessIssue] -- added by DeepSpeed


@contextmanager
def made_whole(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """As `gathered`, but leave alone the weights that are whole already."""
    with gathered([weight for weight in weights if is_sharded(weight) and not is_whole(weight)]):
        yield


def stays_whole(weights: Iterable[nn.Parameter]) -> None:
    """Gather these weights whole, for a backward pass: DeepSpeed frees them at its end. Every rank must call this."""
    missing = [weight for weight in weights if is_sharded(weight) and not is_whole(weight)]
    if missing:
        missing[0].all_gather(param_list=missing)  # pyright: ignore[reportAttributeAccessIssue] -- added by DeepSpeed


def is_whole(weight: Tensor) -> bool:
    """Return whether this rank holds all of a weight at the moment."""
    return not is_sharded(weight) or weight.shape == whole_shape(weight)
