"""Load a model sharded by ZeRO stage 3: no rank ever holds all weights, in main memory either.

transformers builds the model under `deepspeed.zero.Init`, which shards each module's weights as they are created. Rank
0 maps the weight files, copies one module's weights at a time, and sends them to the other ranks. That path reports
neither unexpected weights nor other shapes, so names and shapes are compared before it, on the meta device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist

from unlearn_sweep.engine.models.configuration import model_class, read_config
from unlearn_sweep.engine.models.loaded import check_loaded, refuse_values
from unlearn_sweep.engine.models.loading import (
    choose_attention,
    choose_dtype,
    load_model,
    whole_folder,
    without_progress_bars,
)
from unlearn_sweep.engine.zero.shards import own_part

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Configure = Callable[["PreTrainedModel"], dict[str, Any]]
"""Make DeepSpeed's configuration for a model on the meta device."""


def load_sharded(path: str, configure: Configure, *, dtype: str = "auto", attention: str = "auto") -> PreTrainedModel:
    """Load a causal language model in evaluation mode, sharded over all ranks. Every rank must call this.

    Arguments and errors are those of `load_model`. Requires a `zero_session`.
    """
    from transformers import AutoModelForCausalLM

    folder = whole_folder(path)
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = cast("torch.dtype", choose_dtype(dtype, place))
    shell = load_model(path, dtype=str(numbers).removeprefix("torch."), device="meta")
    with without_progress_bars(), built_sharded(configure(shell)):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=numbers,
            attn_implementation=choose_attention(attention, place, numbers, model_class(read_config(folder))),
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    model, info = cast("tuple[PreTrainedModel, Mapping[str, Any]]", loaded)
    check_loaded(path, model, info)
    refuse_values(path, model, broken_weights(model))
    return model.eval()


@contextmanager
def built_sharded(config: dict[str, Any]) -> Iterator[None]:
    """Make transformers build and load models sharded inside the context, by a setting global to the process."""
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    setting = HfDeepSpeedConfig(config)  # transformers refers to it weakly
    try:
        yield
    finally:
        unset_hf_deepspeed_config()
        del setting


def broken_weights(model: PreTrainedModel) -> list[str]:
    """Return the names of weights with NaN or infinite values in any rank's part; the same list on every rank."""
    named = list(model.named_parameters())
    found = torch.tensor([float(not own_part(weight).isfinite().all()) for _, weight in named])
    found = found.to(own_part(named[0][1]).device if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(found)
    return [name for (name, _), count in zip(named, found.tolist(), strict=True) if count > 0]
