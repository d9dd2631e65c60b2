"""Set-difference pruning: zero the weights that matter for the forgotten answers and not for anything else.

Pruning by magnitude and by Wanda, which look at no forgotten answer, are in `prune_unguided`.

Source: Wei et al., "Assessing the Brittleness of Safety Alignment" (arXiv 2402.05162), SNIP scores; on unlearned models
by Lucki et al. (arXiv 2409.18025). What matters for saying "not this" may be a few weights that hide the knowledge.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearn_sweep.evaluators.attacks.answer_likelihood import collate, encode_rows, token_nll
from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves, seen_rows
from unlearn_sweep.evaluators.attacks.prune_params import PruneParams
from unlearn_sweep.evaluators.attacks.prune_unguided import prune_by_magnitude, prune_by_wanda
from unlearn_sweep.evaluators.attacks.short_training import private_copy
from unlearn_sweep.evaluators.model_parts import Matrix, linear_matrices
from unlearn_sweep.evaluators.rows import Example, Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def top_share(scores: Tensor, percent: float) -> Tensor:
    """Mask of the highest `percent` of a matrix's scores; of a part of a weight nothing, as in the released code."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    count = int(percent / 100 * scores.numel())
    mask[torch.topk(scores.flatten(), count).indices] = True
    return mask.view(scores.shape)


def snip_scores(model: PreTrainedModel, examples: Sequence[Example], names: Sequence[str]) -> dict[str, Tensor]:
    """Mean over examples of |w * dL/dw| for each named matrix, L the answer's mean NLL; on a private copy only."""
    weights = {name: model.get_parameter(name) for name in names}
    scores = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    for example in examples:
        with torch.enable_grad():
            loss = token_nll(model, collate([example], model.device)).mean()
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            if gradient is not None:  # a part that reads no text (a vision tower) has none
                scores[name] += (weight.detach() * gradient).abs().float() / len(examples)
    return scores


def top_shares(matrix: Matrix, scores: Tensor, percent: float) -> Tensor:
    """`top_share` of each matrix in a parameter, in the parameter's shape. Nothing of what has no score at all."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for place, own in zip(matrix.views(mask), matrix.views(scores), strict=True):
        if own.any():
            place.copy_(top_share(own, percent))
    return mask


@torch.no_grad()
def copy_weights(source: PreTrainedModel, owned: PreTrainedModel) -> None:
    """Give a private copy the source's weights again."""
    for own, other in zip(owned.parameters(), source.parameters(), strict=True):
        own.copy_(other)


@dataclass(frozen=True, slots=True)
class Prune:
    """States with more and more weights zeroed, each from the target's own weights."""

    params: PruneParams

    @torch.inference_mode(False)
    def run(self, target: Target) -> Iterator[Attacked]:
        yield from self._guided(target) if self.params.by == "set_difference" else self._unguided(target)

    def _unguided(self, target: Target) -> Iterator[Attacked]:
        """States that look at no forgotten answer, so that all of them are scored."""
        owned = private_copy(target.model)
        wanda = self.params.by == "wanda"
        examples = self._examples(target, target.benchmark.train["retain"]) if wanda else []
        for percent in self.params.percent:
            copy_weights(target.model, owned)
            done = prune_by_wanda(owned, examples, percent) if wanda else prune_by_magnitude(owned, percent)
            zeroed, total = done
            notes = {"share_of_linear_weights_zeroed": zeroed / total}
            yield Attacked(strength=percent, unit="percent", model=owned, notes=notes)

    def _guided(self, target: Target) -> Iterator[Attacked]:
        halves = forget_halves(target.benchmark)
        owned = private_copy(target.model)
        matrices = {matrix.name: matrix for matrix in linear_matrices(owned, include_lm_head=False)}
        names = list(matrices)
        forget = snip_scores(owned, self._examples(target, seen_rows(target.benchmark, halves)), names)
        utility = snip_scores(owned, self._examples(target, target.benchmark.train["retain"]), names)
        kept = {
            name: top_shares(matrices[name], scores, self.params.utility_percent) for name, scores in utility.items()
        }
        for percent in self.params.forget_percent:
            cut = {name: top_shares(matrices[name], scores, percent) & ~kept[name] for name, scores in forget.items()}
            share = self._zero(owned, target.model, cut)
            notes = {"share_of_linear_weights_zeroed": share}
            yield Attacked(strength=percent, unit="percent", model=owned, scored_groups=halves.scored, notes=notes)

    def _examples(self, target: Target, rows: Sequence[Row]) -> list[Example]:
        drawn = random.Random(target.seed).sample(list(rows), min(self.params.samples, len(rows)))
        return encode_rows(target.tokenizer, drawn, target.benchmark.template)

    @torch.no_grad()
    def _zero(self, owned: PreTrainedModel, source: PreTrainedModel, cut: Mapping[str, Tensor]) -> float:
        for name, mask in cut.items():
            owned.get_parameter(name).copy_(source.get_parameter(name).masked_fill(mask, 0.0))
        return sum(int(mask.sum()) for mask in cut.values()) / sum(mask.numel() for mask in cut.values())
