"""Write the trained model as a folder: from rank 0, or weight by weight from the shards of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.models.loading import load_model, save_files_beside_weights, save_model
from unlearn_sweep.engine.models.weight_files import WeightFiles
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.training.assembly import Loaded
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.lora import adapters, merge_adapters, merged_weight
from unlearn_sweep.engine.zero.shards import gathered, is_sharded, whole_shape
from unlearn_sweep.methods.interface import FinalWeights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def export(loaded: Loaded, output: Path, final: FinalWeights | None) -> bool:
    """Write the model folder on rank 0, with the final weights of a method that computes them.

    Every rank must call this. Return whether all weights are finite.
    """
    ranks, model = loaded.training.ranks, loaded.model
    finite = torch.zeros(1, device=loaded.training.run.device)
    if any(map(is_sharded, model.parameters())):
        finite += _export_shards(loaded, output, final)
    elif ranks.first:
        finite += export_whole(loaded.training.job, model, loaded.tokenizer, loaded.dtype, output, final)
    return bool(ranks.sum(finite).item())


def export_whole(
    job: TrainJob,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    output: Path,
    final: FinalWeights | None,
) -> bool:
    """Merge the adapters of a model that is not sharded and write its folder. Return whether all weights are finite."""
    merge_adapters(model)
    if final is not None:
        put_final_weights(final, job, model)
    nn.Module.to(model, dtype)
    finite = all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    with durable.new_folder(output) as scratch:
        save_model(model, tokenizer, scratch)
    return finite


@torch.no_grad()
def put_final_weights(method: FinalWeights, job: TrainJob, model: PreTrainedModel) -> None:
    """Let the method compute the final weights from start and trained weights, one weight at a time, in float32."""
    start = dict(load_model(job.start_model, dtype="float32", attention=job.attention, device="cpu").named_parameters())
    for name, weight in model.named_parameters():
        weight.copy_(method.final(start[name].to(weight.device), weight.float()).to(weight.dtype))


def _export_shards(loaded: Loaded, output: Path, final: FinalWeights | None) -> bool:
    """Write the folder weight by weight. Return on rank 0 whether all are finite, and False elsewhere."""
    start = loaded.load_again() if final is not None else None
    change = changed_by(final, start)
    with ExitStack() as stack:
        first = loaded.training.ranks.first
        scratch = stack.enter_context(durable.new_folder(output)) if first else None
        return write_weights(loaded.model, loaded.tokenizer, loaded.dtype, scratch, change)


def changed_by(final: FinalWeights | None, start: PreTrainedModel | None) -> Callable[[str, Tensor], Tensor]:
    """Return what makes a final weight from its name and trained value: `final`, given the start model's weights."""
    before = dict(start.named_parameters()) if start is not None else {}

    def change(name: str, weight: Tensor) -> Tensor:
        if final is None or name not in before:
            return weight
        with gathered([before[name]]):
            return final.final(before[name].detach().float().to(weight.device), weight.float())

    return change


def write_weights(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    folder: Path | None,
    change: Callable[[str, Tensor], Tensor] = lambda name, weight: weight,
) -> bool:
    """Write a model folder weight by weight, with adapters merged; nothing of the model is changed.

    Every rank must call this. `folder` is None on ranks that only help to gather weights. `change` is applied to each
    weight before it is rounded to `dtype`. Return whether all weights are finite; False on ranks without a folder.
    """
    files, finite = None, folder is not None
    if folder is not None:
        save_files_beside_weights(model, tokenizer, folder, dtype)
        files = WeightFiles(folder, saved_form(model, _planned(model, dtype)))
    for name, weight in whole_weights(model):
        changed = change(name, weight)
        if files is None:
            continue
        kept = changed.to(dtype) if changed.is_floating_point() else changed
        finite &= bool(kept.isfinite().all())
        for saved, tensor in saved_form(model, {name: kept}).items():
            files.write(saved, tensor)
    if files is not None:
        files.finish()
    return finite


@torch.no_grad()
def whole_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight of a sharded model by its name without adapters, whole, with adapters merged; then buffers.

    Every rank must take all of them. A weight is freed when the next one is asked for.
    """
    adapted = {_plain(f"{name}.{own}"): module for name, module in adapters(model) for own in _adapted_names(module)}
    for name, weight in model.named_parameters():
        plain = _plain(name)
        if "lora_" in name:
            continue
        module = adapted.get(plain)
        added = [] if module is None else [other for own, other in module.named_parameters() if "lora_" in own]
        with gathered([weight, *added]):
            yield plain, weight.detach() if module is None else merged_weight(module, weight)
    yield from _kept_buffers(model)


def _planned(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return every weight that `whole_weights` yields, on the meta device."""
    planned = {
        _plain(name): torch.empty(
            whole_shape(weight), dtype=dtype if weight.is_floating_point() else weight.dtype, device="meta"
        )
        for name, weight in model.named_parameters()
        if "lora_" not in name
    }
    return planned | {name: buffer.to("meta") for name, buffer in _kept_buffers(model)}


def saved_form(model: PreTrainedModel, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the names and shapes that transformers saves them under; it joins some when it loads them."""
    from transformers.core_model_loading import revert_weight_conversion

    return dict(revert_weight_conversion(model, weights))


def _kept_buffers(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    kept = model.state_dict(keep_vars=True).keys()
    return ((name, buffer) for name, buffer in model.named_buffers() if name in kept)


def _adapted_names(module: Any) -> tuple[str, ...]:
    """Return the name, within an adapted layer, of the weight that its adapter changes."""
    return (module.parameter_name,) if hasattr(module, "parameter_name") else ("weight",)


def _plain(name: str) -> str:
    return name.replace(".base_layer", "")
