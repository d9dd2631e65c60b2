"""Keep the trained adapters of a LoRA run in a small file, and make the model folder from it again.

The model is made as its training made it: the same start model in the same number format, the same layers adapted, and
merged by the same code. On the same kind of device it is the same model to the bit; the caller checks that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.training.assembly import trainable
from unlearn_sweep.engine.training.export import export_whole
from unlearn_sweep.engine.training.forward import layer_indices
from unlearn_sweep.engine.training.job import KeptAdapter, TrainJob
from unlearn_sweep.engine.training.noise import put_noise
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.evaluators.model_parts import decoder_layers
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.composition import final_weights
from unlearn_sweep.methods.interface import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def save_adapter(model: PreTrainedModel, path: Path) -> None:
    """Write the adapters' weights, in the number format in which they were trained, keyed by parameter name."""
    found = {name: weight.detach().cpu().contiguous() for name, weight in model.named_parameters() if "lora_" in name}
    save_file(found, path)


@torch.no_grad()
def load_adapter(model: PreTrainedModel, path: Path) -> None:
    """Put the weights of `save_adapter` into the adapters of `model`.

    Raises:
        ValueError: the file has other adapters than the model, or of another shape.
    """
    kept = load_file(path)
    own = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    if {name: weight.shape for name, weight in kept.items()} != {name: weight.shape for name, weight in own.items()}:
        raise ValueError(f"{path}: its adapters are not those that these settings train")
    for name, weight in own.items():
        weight.copy_(kept[name])


def restore(job: TrainJob, kept: KeptAdapter, method: Method | None = None) -> TrainOutcome:
    """Write the model folder of a finished LoRA training from its adapter. Return that training's outcome.

    Every rank may call this; the first one works.

    Raises:
        ValueError: the job trains without LoRA, or the file is not of this training.
    """
    if job.training.lora is None:
        raise ValueError("restore: the job trains without lora, so no adapter belongs to it")
    if Ranks.current().first:
        method = method or build(job.method.name, job.method.params)
        needs = method.needs()
        tokenizer = load_tokenizer(job.tokenizer or job.start_model, model=job.start_model)
        model = load_model(job.start_model, dtype=job.dtype, attention=job.attention)
        dtype = model.dtype
        layers = layer_indices(needs.layers, len(decoder_layers(model))) if needs.layers else ()
        if needs.noise is not None:
            put_noise(model, needs.noise, job.seed)
        trainable(job, model, needs, layers)
        load_adapter(model, Path(kept.path))
        export_whole(job, model, tokenizer, dtype, Path(job.output_dir), final_weights(method))
    return kept.outcome
