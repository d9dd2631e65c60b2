"""Directional ablation: find the direction in which unlearning pushed forget text, and take it out of the states.

Sources: Arditi et al., "Refusal in LLMs is mediated by a single direction" (arXiv 2406.11717), edits on weights;
Lucki et al. (arXiv 2409.18025), a direction a layer on block outputs of unlearned models.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.attacks.abliterate_params import AbliterateParams
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, collate, encode_rows
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.short_training import private_copy
from unlearn_sweep.evaluators.inference import measuring
from unlearn_sweep.evaluators.model_parts import decoder_layers, expert_names, vocabulary_embedding
from unlearn_sweep.evaluators.rows import Example, Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WRITERS = ("o_proj", "down_proj")
"""Linear layers that add to the residual stream, by the name that Llama and its relatives give them."""


def without_direction(states: Tensor, direction: Tensor) -> Tensor:
    """States [..., D] minus their part along `direction` [D] (of length 1, or all zeros: nothing is taken out)."""
    along = direction.to(states.device, states.dtype)
    return states - (states @ along)[..., None] * along


def unit(direction: Tensor) -> Tensor:
    """The direction at length 1; a difference of exactly zero stays zero."""
    length = direction.norm()
    return direction / length if length > 0 else direction


def mean_states(model: PreTrainedModel, examples: Sequence[Example], *, batch_size: int = 16) -> Tensor:
    """Mean block outputs [layers, D] in fp32 over the positions that predict answer tokens."""
    sums: dict[int, Tensor] = {}
    positions = 0
    with measuring(model):
        for start in range(0, len(examples), batch_size):
            batch = collate(examples[start : start + batch_size], model.device)
            states = _block_outputs(model, batch.input_ids)
            positions += len(batch.targets)
            for layer, output in enumerate(states):
                summed = output[batch.predicts].double().sum(0)
                sums[layer] = sums[layer] + summed if layer in sums else summed
        return torch.stack([sums[layer] / positions for layer in sorted(sums)]).float()


@dataclass(frozen=True, slots=True)
class Abliterate:
    """One state: each chosen layer's direction removed from its output, or the best single one from the weights."""

    params: AbliterateParams

    @torch.inference_mode(False)  # The directions stand in a model that may be trained further.
    def run(self, target: Target) -> Iterator[Attacked]:
        halves = forget_halves(target.benchmark)
        forget = self._examples(target, seen_rows(target.benchmark, halves))
        directions = self._directions(target, forget)
        if self.params.where == "activations":
            owned = private_copy(target.model)
            project_outputs(owned, directions)
            notes = {"zero_directions": float(sum(not direction.any() for direction in directions.values()))}
        else:
            owned, notes = _best_in_weights(target.model, forget, directions)
        strength = len(directions) if self.params.where == "activations" else 1
        yield Attacked(strength=strength, unit="directions", model=owned, scored_groups=halves.scored, notes=notes)

    def _examples(self, target: Target, rows: Sequence[Row]) -> list[Example]:
        drawn = random.Random(target.seed).sample(list(rows), min(self.params.samples, len(rows)))
        return encode_rows(target.tokenizer, drawn, target.benchmark.template)

    def _directions(self, target: Target, forget: Sequence[Example]) -> dict[int, Tensor]:
        """The unit direction of each chosen layer, counted from 1."""
        if self.params.reference == "retain":
            compared = mean_states(target.model, self._examples(target, target.benchmark.train["retain"]))
        elif target.original is None:
            raise AttackError(
                "reference: original needs the original model, which was not given; use reference: retain"
            )
        else:
            compared = mean_states(target.original(), forget)
        differences = mean_states(target.model, forget) - compared
        chosen = self.params.layers or range(1, len(differences) + 1)
        if max(chosen) > len(differences):
            raise AttackError(
                f"the model has {len(differences)} layers, counted from 1; there is no layer {max(chosen)}"
            )
        return {layer: unit(differences[layer - 1]) for layer in chosen}


def project_outputs(model: PreTrainedModel, directions: Mapping[int, Tensor]) -> None:
    """Take each layer's direction out of its block output, from now on, in `model` (a private copy)."""
    blocks = decoder_layers(model)
    for layer, direction in directions.items():
        blocks[layer - 1].register_forward_hook(_Projection(direction))


@torch.no_grad()
def project_weights(model: PreTrainedModel, direction: Tensor) -> None:
    """Take one direction out of everything that is written to the residual stream of `model` (a private copy).

    The same as removing it from the output of the embedding and of every attention and feed-forward layer.

    Raises:
        AttackError: the model does not write to its residual stream through plain `o_proj` and `down_proj` layers.
    """
    writers = _residual_writers(model)
    embedding, head = vocabulary_embedding(model), model.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight is embedding.weight:
        # A tied head reads the stream, it does not write to it: it keeps the old values.
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
    for rows in (embedding.weight, *(layer.weight.T for layer in writers)):
        rows.copy_(without_direction(rows.float(), direction))
    for layer in writers:
        if layer.bias is not None:
            layer.bias.copy_(without_direction(layer.bias.float(), direction))


def _residual_writers(model: PreTrainedModel) -> list[nn.Linear]:
    writers: list[nn.Linear] = []
    for block in decoder_layers(model):
        names = {name.rpartition(".")[2]: module for name, module in block.named_modules()}
        found = [names.get(name) for name in WRITERS]
        linear = [module for module in found if isinstance(module, nn.Linear)]
        if len(linear) != len(WRITERS) or "post_feedforward_layernorm" in names or expert_names(block):
            raise AttackError(
                f"{type(model).__name__} does not write to its residual stream through plain {' and '.join(WRITERS)} "
                "layers; use where: activations"
            )
        writers += linear
    return writers


def _best_in_weights(
    model: PreTrainedModel, forget: Sequence[Example], directions: Mapping[int, Tensor]
) -> tuple[PreTrainedModel, dict[str, float]]:
    """The copy without the direction that makes the attacker's half likeliest, and what each layer's gave."""
    costs: dict[int, float] = {}
    for layer, direction in directions.items():
        candidate = private_copy(model)
        project_weights(candidate, direction)
        costs[layer] = fmean(answer_nll(candidate, forget))
    best = min(costs, key=lambda layer: (costs[layer], layer))
    owned = private_copy(model)
    project_weights(owned, directions[best])
    notes = {f"selection_nll.layer_{layer}": cost for layer, cost in costs.items()}
    return owned, notes | {"layer": float(best)}


@dataclass(frozen=True, slots=True)
class _Projection:
    """A forward hook that takes a direction out of a block's output; it can be pickled with its model."""

    direction: Tensor

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return without_direction(output[0], self.direction), *output[1:]
        return without_direction(output, self.direction)


def _block_outputs(model: PreTrainedModel, input_ids: Tensor) -> list[Tensor]:
    """The output [B, T, D] of every block; the hooks that catch them are gone afterwards."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, _inputs: Any, output: Any) -> None:
        caught.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(catch) for block in decoder_layers(model)]
    try:
        model.base_model(input_ids=input_ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return caught
