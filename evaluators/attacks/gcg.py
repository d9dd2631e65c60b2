"""Greedy coordinate gradient: one text of ordinary tokens, searched on a few facts, put at every other question.

Source: Zou et al., "Universal and Transferable Adversarial Attacks" (arXiv 2307.15043); search as in nanoGCG 0.3
(width 512, 256 replacements a place, one place changed); with `draft_blocks`, probe sampling (arXiv 2403.01251). Cold
start from a neutral text: no hand-kept warm start, so models are compared fairly. A text that the tokenizer would not
read back as scored is never taken.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearn_sweep.evaluators.attacks.adversarial_text import Slot, ask_with, filler, forbidden_tokens, place_text
from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
from unlearn_sweep.evaluators.attacks.attacked_rows import searched_rows
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.attacks.probe_sampling import ProbeSampling, first_blocks
from unlearn_sweep.evaluators.attacks.prompts import common_prefix
from unlearn_sweep.evaluators.attacks.text_search import TextSearch, replacements
from unlearn_sweep.evaluators.inference import forward_cached, measuring, pad_right, rows_selectable, token_batches
from unlearn_sweep.evaluators.joint_tokens import Ids
from unlearn_sweep.evaluators.model_parts import vocabulary_embedding
from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.rows_by_length import Group, Groups, HeadOnce, grouped, pass_places

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


FEWEST = 4
"""Fewer texts than this are scored whole."""


@dataclass(frozen=True, slots=True)
class Gcg:
    """States after more and more search steps, each with the best text found by then."""

    params: GcgParams

    @torch.inference_mode(False)
    def run(self, target: Target) -> Iterator[Attacked]:
        halves = forget_halves(target.benchmark)
        chosen = searched_rows(target, halves, self.params)
        search, done = answer_search(target, self.params, chosen), 0
        for wanted in self.params.curve:
            for _ in range(done, wanted):
                search.step()
            done = wanted
            # Before the first step there is no text: the filler is no attack.
            edit = ask_with(target, search.text(), self.params.place) if wanted else None
            yield Attacked(
                strength=wanted,
                unit="steps",
                model=target.model,
                prompt_edit=edit,
                scored_groups=halves.scored,
                notes=search.notes(),
            )


def answer_search(target: Target, params: GcgParams, rows: Sequence[Row]) -> TextSearch:
    """The search for a text that makes the answers of `rows` likely.

    Raises:
        AttackError: the tokenizer leaves a text no place of its own at these questions.
    """
    start = filler(target.tokenizer, params.suffix_tokens)
    texts, ids = place_text(target, rows, start, place=params.place, target_tokens=params.target_tokens)
    return TextSearch(
        texts=texts,
        objective=AnswerObjective(target.model, texts.slots, batch_tokens=params.batch_tokens),
        moves=lambda text, scores, generator: replacements(
            text, scores, width=params.search_width, top_k=params.top_k, generator=generator
        ),
        forbidden=forbidden_tokens(target.tokenizer, target.model, ascii_only=params.ascii_only),
        start=ids,
        seed=target.seed,
        probing=None if params.draft_blocks is None else _probing(target, texts.slots, params, params.draft_blocks),
    )


def _probing(target: Target, slots: Sequence[Slot], params: GcgParams, blocks: int) -> ProbeSampling:
    draft = AnswerObjective(first_blocks(target.model, blocks), slots, batch_tokens=params.batch_tokens)
    return ProbeSampling(draft=draft.losses)


class AnswerObjective:
    """Mean over the questions of the mean answer NLL, in nats a token. What stands before the text is read once."""

    def __init__(self, model: PreTrainedModel, slots: Sequence[Slot], *, batch_tokens: int) -> None:
        self.model, self.slots, self.batch_tokens = model, slots, batch_tokens
        self._read = [read_before(model, slot) for slot in slots]

    def losses(self, texts: Sequence[Ids]) -> list[float]:
        losses = torch.zeros(len(texts), dtype=torch.float64)
        for slot, read in zip(self.slots, self._read, strict=True):
            losses += slot_losses(self.model, slot, texts, read, batch_tokens=self.batch_tokens)
        return (losses / len(self.slots)).tolist()

    def scores(self, text: Ids) -> Tensor:
        gradient, _ = text_gradient(self.model, self.slots, torch.tensor(text))
        return -embedding_products(self.model, gradient)

    def loss_of_prompts(self, prompts: Sequence[Ids]) -> float:
        slots = [slot.with_prompt(prompt) for slot, prompt in zip(self.slots, prompts, strict=True)]
        losses = [slot_losses(self.model, slot, [()], None, batch_tokens=self.batch_tokens) for slot in slots]
        return float(sum(losses) / len(slots))


@torch.no_grad()
def embedding_products(model: PreTrainedModel, gradient: Tensor) -> Tensor:
    """Products [n, V] of a gradient by input embeddings [n, D] with the embedding of every token; fp32."""
    embedding = vocabulary_embedding(model)
    vocabulary = embedding(torch.arange(embedding.num_embeddings, device=gradient.device))
    return gradient @ vocabulary.float().T


def text_gradient(model: PreTrainedModel, slots: Sequence[Slot], text: Tensor) -> tuple[Tensor, float]:
    """Gradient [n, D] of the mean loss over `slots` by the text's input embeddings, and that loss; fp32."""
    ids = pad_right([slot.ids(text.tolist()) for slot in slots], 0).to(model.device)
    with measuring(model), torch.enable_grad():
        inputs, shared = shared_inputs(model, slots, ids, len(text))
        keep, targets, weights = targets_of([(slot, len(text)) for slot in slots], ids)
        logits = model(inputs_embeds=inputs, use_cache=False, logits_to_keep=keep).logits
        loss = (functional.cross_entropy(logits.float(), targets, reduction="none") * weights).sum() / len(slots)
        (gradient,) = torch.autograd.grad(loss, [shared])
    return gradient.float(), float(loss.detach())


def shared_inputs(model: PreTrainedModel, slots: Sequence[Slot], ids: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Input embeddings [slots, T, D] in which the text's n places are one and the same leaf [n, D]."""
    embedded = model.get_input_embeddings()(ids).detach()
    first = len(slots[0].before)
    shared = embedded[0, first : first + n].clone().requires_grad_(True)
    rows = [
        torch.cat([row[: len(slot.before)], shared, row[len(slot.before) + n :]])
        for row, slot in zip(embedded, slots, strict=True)
    ]
    return torch.stack(rows), shared


def read_before(model: PreTrainedModel, slot: Slot) -> DynamicCache | None:
    """What the model keeps of the ids before the text; None where there are none or it cannot be kept by row."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    if not slot.before or not rows_selectable(cache):
        return None
    with measuring(model):
        ids = torch.tensor([slot.before], device=model.device)
        forward_cached(model, cache, ids, torch.ones_like(ids), 1)
    return cache if rows_selectable(cache) else None


def slot_losses(
    model: PreTrainedModel, slot: Slot, texts: Sequence[Ids], read: DynamicCache | None, *, batch_tokens: int
) -> Tensor:
    """Mean answer NLL [texts] of one question with each text, in nats a token; fp64 on the CPU.

    `read`: what the model keeps of the ids before the text; it is left as it is. On a CPU, what texts have in common
    with most of the others at their beginning is read once.
    """
    losses = torch.zeros(len(texts), dtype=torch.float64)
    with measuring(model):
        base = () if read is None else common_beginning(model, texts, read)
        further = _read_further(model, slot, base, read) if read is not None and base else None
        for batch in token_batches([len(slot.ids(text)) for text in texts], batch_tokens):
            chosen = [texts[i] for i in batch]
            logits = None if further is None else _logits_by_beginning(model, slot, chosen, base, further)
            if logits is None:
                logits = _logits_at_once(model, slot, chosen, read)
            targets = torch.tensor(slot.answer * len(chosen), device=logits.device)
            nll = functional.cross_entropy(logits.float(), targets, reduction="none").double().cpu()
            losses[batch] = nll.view(len(chosen), -1).mean(dim=1)
    return losses


def _logits_at_once(model: PreTrainedModel, slot: Slot, texts: Sequence[Ids], read: DynamicCache | None) -> Tensor:
    """Logits [texts * answer, V] that predict the answer behind each text, from one pass."""
    whole = pad_right([slot.ids(text) for text in texts], 0).to(model.device)
    keep, _, _ = targets_of([(slot, len(text)) for text in texts], whole)
    if read is None:
        return model(input_ids=whole, use_cache=False, logits_to_keep=keep).logits
    cache, skipped = copy.deepcopy(read), len(slot.before)
    cache.batch_repeat_interleave(len(texts))
    return forward_cached(model, cache, whole[:, skipped:], torch.ones_like(whole), keep[:, skipped:])


def _logits_by_beginning(
    model: PreTrainedModel, slot: Slot, texts: Sequence[Ids], base: Ids, further: DynamicCache
) -> Tensor | None:
    """The same from a pass for each group of texts, behind what it shares with `base`, and one product with the head.

    `further` holds the ids before the text and `base`. None where one pass is best, or the head is no module.
    """
    head, divided = model.get_output_embeddings(), by_beginning(model, texts, base)
    if len(divided) < 2 or not isinstance(head, nn.Module):
        return None
    parts, groups, places = [], [], []
    for shared, rows in divided:
        whole = pad_right([slot.ids(texts[row]) for row in rows], 0)
        keep, _, _ = targets_of([(slot, len(texts[row])) for row in rows], whole)
        skipped = len(slot.before) + shared
        parts.append((skipped, whole))
        own = keep[:, skipped:].flatten().nonzero()[:, 0]
        groups.append(Group(torch.tensor(rows), whole.shape[1] - skipped, own))
        places += [row * len(slot.answer) + place for row in rows for place in range(len(slot.answer))]
    once, logits = HeadOnce(Groups(tuple(groups), torch.tensor(places).argsort())), None
    for skipped, whole in parts:
        cache = _cropped(further, skipped)
        cache.batch_repeat_interleave(len(whole))
        with once.on(head):
            logits = forward_cached(model, cache, whole[:, skipped:], torch.ones_like(whole), 0)[0]
        if not once.caught:
            return None
    return logits


def common_beginning(model: PreTrainedModel, texts: Sequence[Ids], read: DynamicCache) -> Ids:
    """The commonest token at each place of the texts.

    Empty where tokens cannot be taken back from the cache, or off a CPU, where a pass costs more than it saves.
    """
    if model.device.type != "cpu" or len(texts) < FEWEST or not croppable(read):
        return ()
    length = Counter(map(len, texts)).most_common(1)[0][0]
    columns = zip(*(text for text in texts if len(text) == length), strict=True)
    return tuple(Counter(column).most_common(1)[0][0] for column in columns)


def by_beginning(model: PreTrainedModel, texts: Sequence[Ids], base: Ids) -> list[tuple[int, list[int]]]:
    """Group texts by how many first tokens they share with `base`; with each group, how many all of its rows share."""
    # The last token of a text may predict the answer, so it is always fed.
    shared = [max(0, min(common_prefix(text, base), len(text) - 1)) for text in texts]
    longest = max(map(len, texts))
    groups = grouped([1 + longest - count for count in shared], pass_places(model))
    return [(min(shared[row] for row in rows), rows) for rows in groups]


def croppable(cache: DynamicCache) -> bool:
    """Whether last tokens can be taken out of this cache: a sliding window has lost what was before them."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _read_further(model: PreTrainedModel, slot: Slot, base: Ids, read: DynamicCache) -> DynamicCache:
    """What the model keeps of the ids before the text and of the beginning `base`."""
    cache, ids = copy.deepcopy(read), torch.tensor([base], device=model.device)
    forward_cached(model, cache, ids, ids.new_ones(1, len(slot.before) + len(base)), 1)
    return cache


def _cropped(cache: DynamicCache, tokens: int) -> DynamicCache:
    """A copy of the first `tokens` of a cache."""
    shorter = copy.deepcopy(cache)
    if cache.get_seq_length() > tokens:
        shorter.crop(tokens - cache.get_seq_length())
    return shorter


def targets_of(asked: Sequence[tuple[Slot, int]], ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For slots with texts of so many tokens: mask [B, T] of predicting positions, targets [N], weights [N].

    A target's weight is 1 / answer length of its row.
    """
    keep = torch.zeros_like(ids, dtype=torch.bool)
    for row, (slot, text_tokens) in enumerate(asked):
        span = slot.predicts(text_tokens)
        keep[row, span.start : span.stop] = True
    targets = torch.tensor([token for slot, _ in asked for token in slot.answer], device=ids.device)
    weights = torch.tensor([1 / len(slot.answer) for slot, _ in asked for _ in slot.answer], device=ids.device)
    return keep, targets, weights
