"""Quantisation: round the weights to few bits and see whether what was forgotten comes back.

Source: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization" (arXiv 2410.16454): round-to-nearest,
step max|w| / 2^(bits-1). An edit of a weight below half a step vanishes. Simulated: codes are turned back into weights.
With scheme gptq (arXiv 2210.17323), as that paper also does, later weights make up for the rounding of earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.gptq import gptq_codes
from unlearn_sweep.evaluators.attacks.gptq_calibration import calibration_examples, in_blocks, second_moments
from unlearn_sweep.evaluators.attacks.quantize_backends import bitsandbytes_rounded, torchao_rounded
from unlearn_sweep.evaluators.attacks.quantize_params import Granularity, QuantizeParams
from unlearn_sweep.evaluators.attacks.short_training import private_copy
from unlearn_sweep.evaluators.model_parts import Matrix, linear_matrices

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def quantization_codes(
    weight: Tensor, bits: int, granularity: Granularity, group_size: int = 128
) -> tuple[Tensor, Tensor]:
    """Integer codes and steps of a weight matrix [out, in], symmetric, rounded to nearest (ties to even).

    Returns codes [out, in] (int8) in [-2^(bits-1), 2^(bits-1) - 1] and steps [out, in] (fp32); codes * steps is the
    quantised weight. A block of zeros has step 0 and codes 0.

    Raises:
        ValueError: a weight is not finite, or the matrix is not two-dimensional.
    """
    if weight.dim() != 2 or not torch.isfinite(weight).all():
        raise ValueError(f"can quantise finite matrices only; got shape {tuple(weight.shape)}")
    full, (rows, columns) = weight.detach().float(), weight.shape
    width = {"per_tensor": rows * columns, "per_channel": columns, "group": min(group_size, columns)}[granularity]
    # Zeros fill up a short last group: they never raise its largest magnitude.
    padded = functional.pad(full, (0, -columns % width)) if granularity == "group" else full
    blocks = padded.reshape(-1, width)
    step = blocks.abs().amax(dim=1, keepdim=True) / 2 ** (bits - 1)
    safe = torch.where(step > 0, step, torch.ones_like(step))
    codes = torch.round(blocks / safe).clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    codes = codes.reshape(padded.shape)[:, :columns].to(torch.int8)
    return codes, step.expand_as(blocks).reshape(padded.shape)[:, :columns]


@dataclass(frozen=True, slots=True)
class Quantize:
    """States with fewer and fewer bits, each rounded from the target's own weights."""

    params: QuantizeParams

    @torch.inference_mode(False)
    def run(self, target: Target) -> Iterator[Attacked]:
        matrices = linear_matrices(target.model, include_lm_head=self.params.include_lm_head)
        owned = private_copy(target.model)
        for bits in self.params.curve:
            notes = {"bits": float(bits), "share_of_parameters_quantized": 0.0}
            if bits < 16:
                round_all = self._round if self.params.scheme == "rtn" else self._calibrated
                notes |= round_all(target, owned, matrices, bits)
            yield Attacked(strength=bits, unit="bits", model=owned, notes=notes)

    @torch.no_grad()
    def _round(self, target: Target, owned: PreTrainedModel, matrices: list[Matrix], bits: int) -> dict[str, float]:
        source = dict(target.model.named_parameters())
        original = dict(target.original().named_parameters()) if target.original is not None else None
        quantized, equal, squared_error = 0, 0, 0.0
        for matrix in matrices:
            mine = matrix.views(source[matrix.name])
            theirs = mine if original is None else matrix.views(original[matrix.name].to(mine[0].device))
            places = matrix.views(owned.get_parameter(matrix.name))
            for weight, place, other in zip(mine, places, theirs, strict=True):
                codes, values = self._rounded(weight.contiguous(), bits)
                rounded = values.to(weight.dtype)
                place.copy_(rounded)
                squared_error += float((rounded.float() - weight.float()).square().sum())
                quantized += codes.numel()
                if original is not None:
                    equal += int((codes == self._rounded(other.contiguous(), bits)[0]).sum())
        notes = {"rms_rounding_error": (squared_error / quantized) ** 0.5}
        notes["share_of_parameters_quantized"] = quantized / sum(weight.numel() for weight in source.values())
        return notes if original is None else notes | {"share_of_codes_equal_to_original": equal / quantized}

    @torch.no_grad()
    def _calibrated(
        self, target: Target, owned: PreTrainedModel, matrices: list[Matrix], bits: int
    ) -> dict[str, float]:
        """Round by GPTQ, block by block; each sees the inputs that the rounded blocks before it give."""
        source, params = dict(target.model.named_parameters()), self.params
        examples = calibration_examples(target, params.calibration, params.samples)
        for matrix in matrices:
            owned.get_parameter(matrix.name).copy_(source[matrix.name])
        quantized, squared_error = 0, 0.0
        for block, inside in in_blocks(owned, matrices):
            moments = second_moments(owned, block, inside, examples)
            for matrix in inside:
                (weight,) = matrix.views(source[matrix.name])
                (place,) = matrix.views(owned.get_parameter(matrix.name))
                codes, steps = gptq_codes(weight, moments[matrix.name], bits, params.granularity, params.group_size)
                rounded = (codes * steps).to(weight.dtype)
                place.copy_(rounded)
                squared_error += float((rounded.float() - weight.float()).square().sum())
                quantized += codes.numel()
        return {
            "rms_rounding_error": (squared_error / quantized) ** 0.5,
            "share_of_parameters_quantized": quantized / sum(weight.numel() for weight in source.values()),
            "calibration_rows": float(len(examples)),
        }

    def _rounded(self, weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Codes and quantised weight in fp32."""
        match self.params.backend:
            case "torchao":
                return torchao_rounded(weight, bits, self.params)
            case "bitsandbytes":
                return bitsandbytes_rounded(weight, bits)
            case "plain":
                codes, steps = quantization_codes(weight, bits, self.params.granularity, self.params.group_size)
                return codes, codes * steps
