"""Check that a loaded model matches its folder: all weights loaded, correct shapes, finite values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from unlearn_sweep.engine.models.inspection import some, untied_fault
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WrongWeightsError(UserError, ValueError):
    """The weights of a folder are not those of the model that its configuration describes."""


def check_loaded(path: str, model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Check that no weight is missing, unexpected, of another shape, NaN or infinite.

    `info` is the loading info of `from_pretrained(output_loading_info=True)`. transformers initializes missing weights
    at random at each load, so a model with missing weights differs every time.

    Raises:
        WrongWeightsError: if a check fails. The message lists the problems with a few names.
    """
    _refuse(path, model, [*_names(info), *_tied(model), *_values(broken_values(model))])


def refuse_values(path: str, model: PreTrainedModel, broken: Sequence[str]) -> None:
    """Raise WrongWeightsError, as `check_loaded` does, if `broken` names weights with NaN or infinite values."""
    _refuse(path, model, list(_values(broken)))


def _refuse(path: str, model: PreTrainedModel, wrong: Sequence[str]) -> None:
    if wrong:
        raise WrongWeightsError(f"{path}: its weights are not those of a {type(model).__name__}: {'; '.join(wrong)}")


def _names(info: Mapping[str, Any]) -> Iterator[str]:
    missing, unexpected = list(info.get("missing_keys", ())), list(info.get("unexpected_keys", ()))
    if missing:
        yield f"{len(missing)} missing ({some(missing)})"
    if unexpected:
        yield f"{len(unexpected)} that the class has no place for ({some(unexpected)})"
    for name, stored, wanted in sorted(info.get("mismatched_keys", ())):
        yield f"{name} is {_shape(stored)}, and config.json makes it {_shape(wanted)}"
    if info.get("error_msgs"):
        yield str(info["error_msgs"])[:300]


def _shape(size: Iterable[int]) -> str:
    return " x ".join(str(length) for length in size)


def _tied(model: PreTrainedModel) -> Iterator[str]:
    """Yield a message if config.json ties the head to the embedding but the loaded head is a separate weight."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    own, shared = getattr(head, "weight", None), getattr(embedding, "weight", None)
    if own is None or shared is None or own is shared or not model._tied_weights_keys:
        return
    configs = (model.config, model.config.get_text_config())
    if all(getattr(config, "tie_word_embeddings", False) for config in configs):
        yield untied_fault().text()


def _values(broken: Sequence[str]) -> Iterator[str]:
    if broken:
        yield f"NaN or infinite values in {len(broken)} ({some(broken)})"


def broken_values(model: PreTrainedModel) -> list[str]:
    """Return the names of weights with NaN or infinite values. Those without values (meta device, other ranks) pass."""
    return [
        name for name, weight in model.named_parameters() if weight.device.type != "meta" and not _is_finite(weight)
    ]


def _is_finite(weight: torch.Tensor) -> bool:
    return not weight.is_floating_point() or bool(torch.isfinite(weight).all())
