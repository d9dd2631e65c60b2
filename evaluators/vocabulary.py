"""Reductions over the vocabulary at each answer token, in float32 and a few rows at a time.

A row of logits is read several times. On a CPU a part therefore stays small enough for the cache (with a vocabulary of
49,152 this is 2 to 4 times as fast as 1,024 rows at a time); on a GPU it only bounds the float32 copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CPU_ENTRIES = 2**20
"""Logits reduced at a time on a CPU: 4 MiB in float32."""
GPU_ENTRIES = 2**27
"""Logits reduced at a time on a GPU: 512 MiB in float32."""
_BLOCK = 128
"""Entries whose maximum is taken first, on a CPU: maxima are vectorised there, the search for a place is not."""
_LOWEST = -1e4
"""Replaces a log-probability of minus infinity. The probability of anything lower is 0 in float32."""


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """What is known of each of N answer tokens, on the logits' device.

    `logp` [N] float32: log-probability in nats. `argmax` [N] int64: the likeliest token. `mean`, `variance` [N]
    float32: of log p under p; None where they were not asked for.
    """

    logp: Tensor
    argmax: Tensor
    mean: Tensor | None = None
    variance: Tensor | None = None


def token_statistics(logits: Tensor, labels: Tensor, *, moments: Tensor | None = None) -> TokenStatistics:
    """Reduce `logits` [N, V] at the tokens `labels` [N]. NaN where a row has a NaN or plus infinity.

    `moments` [N] bool marks the tokens of which mean and variance are wanted; at the others they are NaN.
    """
    logp, argmax = logits.new_empty(len(labels), dtype=torch.float32), torch.empty_like(labels)
    both = None if moments is None else logp.new_full((2, len(labels)), torch.nan)
    for span in _parts(logits):
        wide = logits[span].float().log_softmax(-1)
        logp[span] = wide.gather(1, labels[span, None])[:, 0]
        argmax[span] = likeliest(logits[span])
        if both is not None and moments is not None and (wanted := moments[span]).any():
            both[:, span][:, wanted] = torch.stack(_moments(wide[wanted]))
    return TokenStatistics(logp, argmax, *(() if both is None else both))


def likeliest(logits: Tensor) -> Tensor:
    """Return the place [N] of the highest of `logits` [N, V], the first of equal ones.

    This is `argmax`, which a CPU searches without vector instructions: with V of 49,152 this takes a ninth of its time.
    A row with a NaN gets the place of its first NaN.
    """
    blocks = logits.shape[-1] // _BLOCK
    if logits.device.type != "cpu" or blocks < 2:
        return logits.argmax(-1)
    even, rest = logits[:, : blocks * _BLOCK].unflatten(-1, (blocks, _BLOCK)), logits[:, blocks * _BLOCK :]
    highest = even.amax(-1)
    if rest.shape[-1]:
        highest = torch.cat([highest, rest.amax(-1, keepdim=True)], dim=-1)
    block = highest.argmax(-1)
    offsets = torch.arange(_BLOCK).expand(len(logits), _BLOCK) + block[:, None] * _BLOCK
    # The last block may end early; its last entry is then looked at more than once, and the first place is taken.
    offsets = offsets.clamp(max=logits.shape[-1] - 1)
    return block * _BLOCK + logits.gather(1, offsets).argmax(-1)


def logp_moments(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [N] of log p under p = softmax(logits [N, V]), in float32.

    An entry whose probability is 0 adds nothing, though its log is minus infinity.
    """
    found = [_moments(logits[span].float().log_softmax(-1)) for span in _parts(logits)]
    return torch.cat([mean for mean, _ in found]), torch.cat([variance for _, variance in found])


def _parts(logits: Tensor) -> Iterator[slice]:
    entries = CPU_ENTRIES if logits.device.type == "cpu" else GPU_ENTRIES
    rows = max(1, entries // logits.shape[-1])
    return (slice(first, first + rows) for first in range(0, len(logits), rows))


def _moments(logp: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [n] of `logp` [n, V], which is overwritten. Inner products need no product [n, V]."""
    p = logp.exp()[:, None]
    logp.clamp_(min=_LOWEST)
    mean = torch.bmm(p, logp[:, :, None]).flatten()
    logp.sub_(mean[:, None]).square_()
    return mean, torch.bmm(p, logp[:, :, None]).flatten()
