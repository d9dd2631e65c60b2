"""Enhanced GCG: the text also has to bring the inner states back to those of the original model, and may change length.

Source: Lucki et al., "An Adversarial Perspective on Machine Unlearning for AI Safety" (arXiv 2409.18025), after fluent
student-teacher redteaming (Thompson & Sklar, arXiv 2407.17447). The loss adds two terms to the answer's likelihood: how
far the residual stream is from the original model's under the same text, and how far its direction is from that of the
original model asked plainly. Candidates replace, delete, insert or swap tokens, and a buffer keeps the best.

The released code adds two terms for the text itself: the prompt's own mean loss and its repetitions. They are off by
default; `fluency_weight` 1.5, `repetition_weight` 3, `distance: absolute`, `states: input`, `layers: [20]`,
`target: original` and `prompts: [0, 2, 3, 4, 5]` are what it ran. The answer's loss is never clamped here, as it ran.

Different from it on purpose: a cold start from a neutral text (theirs began with one kept by hand for each published
model, which is unfair to all others; `warm_start` takes one), and states compared at the positions that predict the
answer, where the release takes those of 35 more tokens of the original's answer, or of the whole prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from unlearn_sweep.evaluators.attacks.adversarial_text import Slot, ask_with, filler, forbidden_tokens, place_text
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.attacked_rows import searched_rows
from unlearn_sweep.evaluators.attacks.enhanced_gcg_params import EnhancedGcgParams
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.attacks.gcg import AnswerObjective, embedding_products, shared_inputs, targets_of
from unlearn_sweep.evaluators.attacks.text_search import TextSearch, replacements
from unlearn_sweep.evaluators.inference import measuring, pad_right, token_batches
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPETITION_POWER = 1.5
"""As released."""
MOVES = {"replace": 0.7, "delete": 0.1, "insert": 0.1, "swap": 0.1}
"""Share of the candidates that each kind of change makes, as published."""


@dataclass(frozen=True, slots=True)
class EnhancedGcg:
    """States after more and more search steps, each with the best text found by then."""

    params: EnhancedGcgParams

    @torch.inference_mode(False)
    def run(self, target: Target) -> Iterator[Attacked]:
        halves = forget_halves(target.benchmark)
        chosen = searched_rows(target, halves, self.params)
        search, done = enhanced_search(target, self.params, chosen), 0
        answers = AnswerObjective(target.model, search.texts.slots, batch_tokens=self.params.batch_tokens)
        for wanted in self.params.curve:
            for _ in range(done, wanted):
                search.step()
            done = wanted
            (answer_nll,) = answers.losses([search.best.ids])
            yield Attacked(
                strength=wanted,
                unit="steps",
                model=target.model,
                # Before the first step there is no text: what the search starts from is no attack.
                prompt_edit=ask_with(target, search.text(), self.params.place) if wanted else None,
                scored_groups=halves.scored,
                notes=search.notes() | {"answer_nll": answer_nll},
            )


def enhanced_search(target: Target, params: EnhancedGcgParams, rows: Sequence[Row]) -> TextSearch:
    """The search for a text that brings the answers of `rows`, and the states behind them, back.

    Raises:
        AttackError: the original model is missing or has another shape, or the tokenizer leaves the text no place.
    """
    if target.original is None:
        raise AttackError("enhanced_gcg compares states with the original model, which was not given; use gcg")
    start = params.warm_start or filler(target.tokenizer, params.text_tokens)
    texts, ids = place_text(target, rows, start, place=params.place, target_tokens=params.target_tokens)
    return TextSearch(
        texts=texts,
        objective=RepresentationObjective(target.model, target.original(), texts.slots, params),
        moves=lambda text, scores, generator: changes(text, scores, params, generator),
        forbidden=forbidden_tokens(target.tokenizer, target.model, ascii_only=params.ascii_only),
        start=ids,
        seed=target.seed,
        buffer_size=params.buffer_size,
    )


class RepresentationObjective:
    """Answer NLL, distance from the original model under the same text, and turn from the original asked plainly.

    distance: |unlearned - original| / |original| of the residual stream; turn: 1 - cosine. Both are means over layers
    and over the positions that predict the answer; the whole is a mean over those positions and then over questions.
    """

    def __init__(
        self, model: PreTrainedModel, original: PreTrainedModel, slots: Sequence[Slot], params: EnhancedGcgParams
    ) -> None:
        self.model, self.original, self.slots, self.params = model, original, slots, params
        self.layers = _layers(model, original, params.layers)
        with measuring(original):
            self.plain = [self._states(original, [slot], [()])[1] for slot in slots]

    def losses(self, texts: Sequence[Ids]) -> list[float]:
        losses = torch.zeros(len(texts), dtype=torch.float64)
        with measuring(self.model), measuring(self.original):
            for place, slot in enumerate(self.slots):
                for batch in token_batches([len(slot.ids(text)) for text in texts], self.params.batch_tokens):
                    chosen = [texts[i] for i in batch]
                    losses[batch] += self._losses([place] * len(chosen), chosen).double().cpu()
        return (losses / len(self.slots)).tolist()

    def scores(self, text: Ids) -> Tensor:
        """Minus the gradient by a one-hot choice of token, through both models and both of their embeddings."""
        ids = pad_right([slot.ids(text) for slot in self.slots], 0).to(self.model.device)
        with measuring(self.model), measuring(self.original), torch.enable_grad():
            pairs = [shared_inputs(model, self.slots, ids, len(text)) for model in (self.model, self.original)]
            (inputs, own), (original_inputs, others) = pairs
            places = range(len(self.slots))
            loss = self._losses(places, [text] * len(self.slots), inputs, original_inputs).sum() / len(self.slots)
            gradients = torch.autograd.grad(loss, [own, others], allow_unused=True, materialize_grads=True)
        products = [
            embedding_products(model, gradient.float()).to(ids.device)
            for model, gradient in zip((self.model, self.original), gradients, strict=True)
        ]
        vocabulary = min(product.shape[1] for product in products)
        return -sum((product[:, :vocabulary] for product in products), torch.zeros(()))

    def loss_of_prompts(self, prompts: Sequence[Ids]) -> float:
        """Whole prompts against the same plain states: the answers, and so the positions compared, are the same."""
        slots = [slot.with_prompt(prompt) for slot, prompt in zip(self.slots, prompts, strict=True)]
        with measuring(self.model), measuring(self.original):
            found = [self._losses([place], [()], slots=[slot]) for place, slot in enumerate(slots)]
        return float(torch.cat(found).double().mean())

    def _losses(
        self,
        places: Sequence[int],
        texts: Sequence[Ids],
        inputs: Tensor | None = None,
        original_inputs: Tensor | None = None,
        slots: Sequence[Slot] | None = None,
    ) -> Tensor:
        """Loss [B] of each question (by its place) with its text; inputs may be given as embeddings."""
        asked = list(slots) if slots is not None else [self.slots[place] for place in places]
        whole = self.params.fluency_weight > 0
        logits, states = self._states(self.model, asked, texts, inputs, whole=whole)
        prompts = [(*slot.before, *text, *slot.behind) for slot, text in zip(asked, texts, strict=True)]
        fluency = torch.zeros(len(asked), device=logits.device)
        if whole:
            logits, fluency = split_prompts(logits, prompts, [len(slot.answer) for slot in asked])
        _, under_text = self._states(self.original, asked, texts, original_inputs)
        plain = torch.cat([self.plain[place] for place in places], dim=1).to(states.device)
        under_text = under_text.to(states.device)
        targets = torch.tensor([token for slot in asked for token in slot.answer], device=states.device)
        distance = (states - under_text).norm(dim=-1)
        if self.params.distance == "relative":
            distance = distance / under_text.norm(dim=-1).clamp_min(1e-6)
        distance = distance.mean(dim=0)
        turn = (1 - functional.cosine_similarity(states, plain, dim=-1)).mean(dim=0)
        each = functional.cross_entropy(logits, targets, reduction="none")
        each = each + self.params.distance_weight * distance + self.params.turn_weight * turn
        lengths = [len(slot.answer) for slot in asked]
        repeated = torch.tensor([repetition(prompt) for prompt in prompts], device=states.device)
        text_terms = self.params.fluency_weight * fluency + self.params.repetition_weight * repeated
        return torch.stack([part.mean() for part in each.split(lengths)]) + text_terms

    def _states(
        self,
        model: PreTrainedModel,
        slots: Sequence[Slot],
        texts: Sequence[Ids],
        inputs: Tensor | None = None,
        *,
        whole: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Logits [N, V] and block states [layers, N, D] where answers are predicted, in fp32; the last output normed.

        `whole`: logits of every position, row by row without padding.
        """
        rows = [slot.ids(text) for slot, text in zip(slots, texts, strict=True)]
        ids = pad_right(rows, 0).to(model.device)
        keep, _, _ = targets_of([(slot, len(text)) for slot, text in zip(slots, texts, strict=True)], ids)
        lengths = torch.tensor([len(row) for row in rows], device=ids.device)
        kept = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None] if whole else keep
        given = {"input_ids": ids} if inputs is None else {"inputs_embeds": inputs}
        found = model(**given, use_cache=False, logits_to_keep=kept, output_hidden_states=True)
        back = 1 if self.params.states == "input" else 0
        states = torch.stack([found.hidden_states[layer - back][keep] for layer in self.layers]).float()
        return found.logits.float(), states


def split_prompts(logits: Tensor, prompts: Sequence[Ids], answers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The logits [N, V] that predict answers, and the mean loss [B] of each prompt's tokens but its first.

    `logits` are those of every position, row by row: a prompt's, then its answer's but the last. A prompt of one token
    has no loss: 0.
    """
    found, losses = [], []
    sizes = [len(prompt) + count - 1 for prompt, count in zip(prompts, answers, strict=True)]
    for part, prompt in zip(logits.split(sizes), prompts, strict=True):
        inner = len(prompt) - 1
        targets = torch.tensor(prompt[1:], device=logits.device)
        losses.append(functional.cross_entropy(part[:inner], targets) if inner else logits.new_zeros(()))
        found.append(part[inner:])
    return torch.cat(found), torch.stack(losses)


def repetition(prompt: Ids) -> float:
    """Sum over the different tokens of (count - 1)^1.5, over the length of the prompt; 0 where none is repeated."""
    return sum((count - 1) ** REPETITION_POWER for count in Counter(prompt).values()) / len(prompt)


def changes(text: Ids, scores: Tensor, params: EnhancedGcgParams, generator: torch.Generator) -> list[Ids]:
    """At most `search_width` changed texts: tokens replaced or inserted by their scores, deleted, or swapped.

    Nothing is deleted from a text of `min_tokens`, nothing inserted into one of `max_tokens`.
    """
    shares = torch.tensor(list(MOVES.values()))
    drawn = torch.multinomial(shares, params.search_width, replacement=True, generator=generator).tolist()
    counts = Counter(list(MOVES)[kind] for kind in drawn)
    found = replacements(text, scores, width=counts["replace"], top_k=params.top_k, generator=generator)
    if len(text) > params.min_tokens:
        found += [text[:at] + text[at + 1 :] for at in _places(len(text), counts["delete"], generator)]
    if len(text) < params.max_tokens:
        found += _insertions(text, scores, counts["insert"], params.top_k, generator)
    found += _swaps(text, counts["swap"], generator)
    return [changed for changed in dict.fromkeys(found) if changed != text]


def _insertions(text: Ids, scores: Tensor, count: int, top_k: int, generator: torch.Generator) -> list[Ids]:
    """Texts with one more token, drawn from the most promising ones of the place it is put before."""
    allowed = torch.isfinite(scores).sum(dim=1).clamp(max=top_k).tolist()
    best = scores.topk(min(top_k, scores.shape[1]), dim=1).indices.tolist()
    found = []
    for at in _places(len(text), count, generator):
        if allowed[at]:
            (rank,) = _places(allowed[at], 1, generator)
            found.append((*text[:at], best[at][rank], *text[at:]))
    return found


def _swaps(text: Ids, count: int, generator: torch.Generator) -> list[Ids]:
    found = []
    for _ in range(count if len(text) > 1 else 0):
        one, other = sorted(torch.randperm(len(text), generator=generator)[:2].tolist())
        found.append((*text[:one], text[other], *text[one + 1 : other], text[one], *text[other + 1 :]))
    return found


def _places(length: int, count: int, generator: torch.Generator) -> list[int]:
    return torch.randint(length, (count,), generator=generator).tolist()


def _layers(model: PreTrainedModel, original: PreTrainedModel, wanted: Sequence[int] | None) -> list[int]:
    """Layers compared, counted from 1; all by default. Raises AttackError where the two models do not fit."""
    configs = [found.config.get_text_config() for found in (model, original)]
    shapes = [(config.num_hidden_layers, config.hidden_size) for config in configs]
    if shapes[0] != shapes[1]:
        raise AttackError(f"the original model has (layers, width) {shapes[1]} and this one {shapes[0]}; use gcg")
    layers = list(wanted or range(1, shapes[0][0] + 1))
    if max(layers) > shapes[0][0]:
        raise AttackError(f"the model has {shapes[0][0]} layers, counted from 1; there is no layer {max(layers)}")
    return layers
