"""Find a model's blocks and matrices, wherever its class keeps them, for training and for attacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UnsupportedModelError(UserError):
    """The model class keeps no such part where we look; the message names the class and what was looked for."""


NAMES = ("layers", "h", "blocks")
ELSEWHERE = ("vision", "audio", "image", "encoder")
"""Parts of a name that tell of other blocks than the language model's."""
DOWN_PROJECTION = re.compile(r"(^|\.)(down_proj|fc2|c_proj|dense_4h_to_h|fc_out)(\.weight|\.bias|\.?)$")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The model's blocks, first to last.

    Raises:
        UnsupportedModelError: no list of blocks is found under the usual names.
    """
    return _place(model)[2]


def _place(model: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList]:
    """The module that has the blocks, its name for them, and the blocks: the outermost list that is the decoder's."""
    found = [
        (name, module)
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) > 0
        and name.rpartition(".")[2] in NAMES
        and not any(part in name for part in ELSEWHERE)
    ]
    if not found:
        raise UnsupportedModelError(f"{type(model).__name__} keeps its blocks under none of {', '.join(NAMES)}")
    name, blocks = min(found, key=lambda item: item[0].count("."))
    parent, _, last = name.rpartition(".")
    return model.base_model.get_submodule(parent), last, blocks


class CutOff:
    """Runs the first blocks of `model` (a private copy) and no others; final norm and head follow them."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.parent, self.name, found = _place(model)
        self.blocks = list(found)
        configs: dict[int, Any] = {id(config): config for config in (model.config.get_text_config(), model.config)}
        configs |= {id(self.parent.config): self.parent.config} if hasattr(self.parent, "config") else {}
        self.configs = [config for config in configs.values() if hasattr(config, "num_hidden_layers")]
        self.kinds = [getattr(config, "layer_types", None) for config in self.configs]

    def keep(self, count: int) -> None:
        """Keep so many of all blocks, more or fewer than before."""
        setattr(self.parent, self.name, nn.ModuleList(self.blocks[:count]))
        for config, kinds in zip(self.configs, self.kinds, strict=True):
            if kinds is not None:
                config.layer_types = list(kinds)[:count]
            config.num_hidden_layers = count


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


@dataclass(frozen=True, slots=True)
class Matrix:
    """A parameter that is a linear layer's weight, or those of a stack of experts.

    `transposed`: it is stored [in, out] (GPT-2's layers, the experts of some classes), and not [out, in].
    """

    name: str
    transposed: bool = False

    def views(self, weight: Tensor) -> list[Tensor]:
        """The matrices [out, in] in a tensor of the parameter's shape: one, or one for each expert.

        They share its memory.
        """
        matrices = list(weight) if weight.dim() == 3 else [weight]
        return [matrix.T for matrix in matrices] if self.transposed else matrices


def linear_matrices(model: PreTrainedModel, *, include_lm_head: bool) -> list[Matrix]:
    """Weights of linear layers and of experts, each shared one once; head and embedding only where asked.

    Raises:
        UnsupportedModelError: the model has no linear layer (its layers are of another class).
    """
    first_names = {id(parameter): name for name, parameter in model.named_parameters()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    kept = {id(embedding.weight)} if isinstance(embedding, nn.Embedding) else set()
    if isinstance(head, nn.Linear):
        kept = kept - {id(head.weight)} if include_lm_head else kept | {id(head.weight)}
    found: dict[str, Matrix] = {}
    for module in model.modules():
        for weight, transposed in _matrices_of(module):
            if id(weight) not in kept:
                name = first_names[id(weight)]
                found.setdefault(name, Matrix(name, transposed))
    if not found:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no linear layer besides its head, so there is nothing to change"
        )
    return list(found.values())


def _matrices_of(module: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """The matrices that are a module's own parameters, and whether they are stored [in, out]."""
    if isinstance(module, nn.Linear):
        yield module.weight, False
    elif is_transposed_linear(module):
        yield module.get_parameter("weight"), True
    else:
        for _, weight in expert_parameters(module):
            yield weight, bool(getattr(module, "is_transposed", False))


def is_transposed_linear(module: nn.Module) -> bool:
    """GPT-2's linear layer, whose weight is [in, out]."""
    return type(module).__name__ == "Conv1D"


def expert_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """A module's own parameters that hold one matrix for each expert, [experts, out, in] or [experts, in, out]."""
    if isinstance(module, CONVOLUTIONS):
        return
    for name, weight in module.named_parameters(recurse=False):
        if weight.dim() == 3 and not name.endswith("bias"):
            yield name, weight


def expert_names(model: nn.Module) -> list[str]:
    """Full names of all parameters that hold experts; none for a model without."""
    return [
        f"{module_name}.{name}" if module_name else name
        for module_name, module in model.named_modules()
        for name, _ in expert_parameters(module)
    ]


def mlp_layers(model: PreTrainedModel) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of all blocks but those of attention, with their names.

    Raises:
        UnsupportedModelError: there is none (experts in one tensor, layers of another class).
    """
    blocks = {id(block) for block in decoder_layers(model)}
    found = [
        (f"{outer}.{inner}", layer)
        for outer, block in model.named_modules()
        if id(block) in blocks
        for inner, layer in block.named_modules()
        if isinstance(layer, nn.Linear) and "attn" not in inner and "attention" not in inner
    ]
    if not found:
        raise UnsupportedModelError(f"{type(model).__name__} has no linear layers in the MLPs of its blocks")
    yield from found


def is_down_projection(name: str) -> bool:
    """Whether a parameter (or linear layer) of a block is the second matrix of its MLP, or its experts' second ones.

    Llama, Mistral, Qwen, Gemma and Phi-3 say mlp.down_proj, their mixtures mlp.experts.down_proj, OPT and Phi-2 fc2,
    GPT-2 mlp.c_proj, GPT-NeoX, Falcon and Bloom mlp.dense_4h_to_h, GPT-J mlp.fc_out.
    """
    return "attn" not in name and "attention" not in name and DOWN_PROJECTION.search(name) is not None
