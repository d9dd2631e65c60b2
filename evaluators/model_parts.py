"""Find a model's blocks and matrices, wherever its class keeps them, for training and for attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UnsupportedModelError(RuntimeError):
    """The model class keeps no such part where we look; the message names the class and what was looked for."""


NAMES = ("layers", "h", "blocks")


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The model's blocks, first to last.

    Raises:
        UnsupportedModelError: no list of blocks is found under the usual names.
    """
    return _place(model)[1]


def keep_first_layers(model: PreTrainedModel, layers: Sequence[nn.Module]) -> None:
    """Make `model` (a private copy) run these blocks and no others; final norm and head follow them."""
    name, _ = _place(model)
    count, config = len(layers), model.config
    setattr(model.base_model, name, nn.ModuleList(layers))
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = kinds[:count]
    config.num_hidden_layers = count


def _place(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    for name in NAMES:
        found = getattr(model.base_model, name, None)
        if isinstance(found, nn.ModuleList) and len(found) > 0:
            return name, found
    raise UnsupportedModelError(f"{type(model).__name__} keeps its blocks under none of {', '.join(NAMES)}")


def vocabulary_embedding(model: PreTrainedModel) -> nn.Embedding:
    """The model's input embedding.

    Raises:
        UnsupportedModelError: it is no plain embedding any more (another attack of a chain has replaced it).
    """
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise UnsupportedModelError(
            f"the input embedding is a {type(embedding).__name__}, not an nn.Embedding: put this attack first"
        )
    return embedding


def linear_weights(model: PreTrainedModel, *, include_lm_head: bool) -> list[str]:
    """Parameter names of the weights of linear layers, each shared matrix once; head and embedding only where asked.

    Raises:
        UnsupportedModelError: the model has no linear layer (its layers are of another class).
    """
    first_names = {id(parameter): name for name, parameter in model.named_parameters()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    kept = {id(embedding.weight)} if isinstance(embedding, nn.Embedding) else set()
    if isinstance(head, nn.Linear):
        kept = kept - {id(head.weight)} if include_lm_head else kept | {id(head.weight)}
    weights = (module.weight for module in model.modules() if isinstance(module, nn.Linear))
    names = dict.fromkeys(first_names[id(weight)] for weight in weights if id(weight) not in kept)
    if not names:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no nn.Linear layer besides its head, so there is nothing to change"
        )
    return list(names)
