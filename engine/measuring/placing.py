"""Load a model on the devices of one process: on one, spread over several, or on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearn_sweep.engine.models.loading import load_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_on(devices: Sequence[str], path: str, *, dtype: str, attention: str) -> PreTrainedModel:
    """Return the model for measuring. `devices`: accelerators, over which its blocks are spread; none: the CPU."""
    if len(devices) > 1:
        return load_model(path, dtype=dtype, attention=attention, devices=devices).eval()
    return load_model(path, dtype=dtype, attention=attention, device=devices[0] if devices else "cpu").eval()
