"""Weights rounded by the libraries that people quantise with, and turned back into plain weights.

Only the rounding is theirs: what is measured runs in the model's own arithmetic, so a quantised model can be saved,
trained further and compared like any other. torchao 0.18 rounds to nearest with its own steps and zero points;
bitsandbytes rounds to 4-bit NormalFloat in blocks of 64 weights (Dettmers et al., arXiv 2305.14314) or, with 8 bits, to
integers with a step a row (arXiv 2208.07339; outlier columns, which it finds while running, are rounded too).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.attacks.attack import AttackError
from unlearn_sweep.evaluators.attacks.quantize_params import QuantizeParams

BLOCK = 64
"""Weights that share a step in bitsandbytes' 4-bit format: the library's default."""


def torchao_rounded(weight: Tensor, bits: int, params: QuantizeParams) -> tuple[Tensor, Tensor]:
    """Codes [out, in] (int8) and quantised weight [out, in] (fp32) by torchao's integer weight-only scheme.

    Raises:
        AttackError: torchao is not installed, or the groups do not divide the inputs.
    """
    try:
        from torchao.quantization import (  # pyright: ignore[reportMissingImports]
            IntxWeightOnlyConfig,
            PerAxis,
            PerGroup,
            quantize_,
        )
    except ImportError as error:
        raise AttackError(
            f"backend torchao is not installed ({error}); pip install torchao, or backend: plain"
        ) from error
    columns = weight.shape[1]
    if params.granularity == "group" and columns % params.group_size:
        raise AttackError(
            f"backend torchao needs groups that divide a layer's {columns} inputs; group_size is {params.group_size}"
        )
    layer = nn.Linear(columns, weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.detach().float().clone(), requires_grad=False)
    shared = PerGroup(params.group_size) if params.granularity == "group" else PerAxis(0)
    holder = nn.Sequential(layer)
    quantize_(holder, IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=shared))
    rounded: Any = holder[0].weight
    return rounded.qdata.to(torch.int8), rounded.dequantize().float()


def bitsandbytes_rounded(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes (of as many entries as the weight, in its order) and quantised weight [out, in] (fp32) by bitsandbytes.

    Raises:
        AttackError: bitsandbytes is not installed.
    """
    try:
        from bitsandbytes import functional  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise AttackError(
            f"backend bitsandbytes is not installed ({error}); pip install 'unlearn-sweep[gpu]', or backend: plain"
        ) from error
    full = weight.detach().float().contiguous()
    if bits == 4:
        packed, state = functional.quantize_4bit(full, blocksize=BLOCK, quant_type="nf4")
        codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], dim=1).flatten()[: full.numel()]
        return codes.to(torch.int8), functional.dequantize_4bit(packed, state).float().view_as(full)
    codes, steps, _ = functional.int8_vectorwise_quant(full.half())
    return codes, functional.int8_vectorwise_dequant(codes, steps).float()
