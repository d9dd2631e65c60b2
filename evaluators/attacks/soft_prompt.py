"""Soft prompt: a few trained embeddings before every question, trained on half of the facts, scored on the others.

Source: Schwinn et al., "Soft Prompt Threats" (arXiv 2402.09063), signed gradient steps. A soft prompt can force almost
any string out of almost any model (Chen et al., arXiv 2502.15836), so it is never trained on what is scored, and its
effect on wrong answers is recorded beside its effect on right ones: where both rise alike, the attack shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, collate, encode_rows, token_nll
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.forget_halves import attacked_rows, forget_halves
from unlearn_sweep.evaluators.attacks.prompts import insert_ids
from unlearn_sweep.evaluators.attacks.short_training import draw_batches, private_copy
from unlearn_sweep.evaluators.attacks.soft_prompt_params import SoftPromptParams
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.model_parts import vocabulary_embedding
from unlearn_sweep.evaluators.rows import Example, PromptEdit, Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class SoftEmbedding(nn.Module):
    """An input embedding with `soft` [P, D] behind its vocabulary: ids V to V + P - 1 are the soft tokens."""

    def __init__(self, base: nn.Embedding, start_ids: Tensor) -> None:
        super().__init__()
        self.base = base
        self.vocabulary = base.num_embeddings
        self.tokens = len(start_ids)
        self.soft = nn.Parameter(base(start_ids).detach().float())

    def forward(self, input_ids: Tensor) -> Tensor:
        is_soft = input_ids >= self.vocabulary
        known = self.base(input_ids.masked_fill(is_soft, 0))
        soft = self.soft[(input_ids - self.vocabulary).clamp(min=0)]
        return torch.where(is_soft[..., None], soft.to(known.dtype), known)


@dataclass(frozen=True, slots=True)
class SoftPrompt:
    """States after more and more updates of the soft tokens; nothing else of the model changes."""

    params: SoftPromptParams

    @torch.inference_mode(False)
    def run(self, target: Target) -> Iterator[Attacked]:
        halves = forget_halves(target.benchmark)
        rows = [row for row in target.benchmark.evaluation["forget"] if row.group_id in halves.scored]
        owned, soft = self._prepare(target)
        edit = soft_edit(target.tokenizer, soft)
        before = answer_probabilities(target, owned, rows, None)
        for wanted in self._states(target, owned, soft):
            # Untrained soft tokens are no attack: the model is asked without them.
            asked = edit if wanted else None
            after = answer_probabilities(target, owned, rows, asked)
            notes = {f"{key}_gain": after[key] - before[key] for key in before}
            notes["informative"] = informative(notes)
            yield Attacked(
                strength=wanted,
                unit="iterations",
                model=owned,
                prompt_edit=asked,
                scored_groups=halves.scored,
                notes=notes,
            )

    def examples(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, soft: SoftEmbedding) -> list[Example]:
        """What is trained on, with the soft tokens in it, in the order from which batches are drawn."""
        rows = attacked_rows(benchmark, forget_halves(benchmark))
        return list(map(soft_edit(tokenizer, soft), encode_rows(tokenizer, rows, benchmark.template)))

    def _states(self, target: Target, owned: PreTrainedModel, soft: SoftEmbedding) -> Iterator[int]:
        """Put each state's soft tokens in place: those trained elsewhere, or trained here. Yield its updates."""
        if target.trained_tokens is not None:
            for state in target.trained_tokens():
                with torch.no_grad():
                    soft.soft.copy_(state.embeddings)
                yield state.step
            return
        examples = self.examples(target.benchmark, target.tokenizer, soft)
        batches, done = draw_batches(len(examples), self.params.batch_size, target.seed), 0
        for wanted in self.params.curve:
            for _ in range(done, wanted):
                self._update(owned, soft, [examples[i] for i in next(batches)])
            done = wanted
            yield wanted

    def _prepare(self, target: Target) -> tuple[PreTrainedModel, SoftEmbedding]:
        """A frozen copy whose input embedding knows the soft tokens."""
        owned = private_copy(target.model).requires_grad_(False)
        base = vocabulary_embedding(owned)
        soft = SoftEmbedding(base, start_ids(self.params, base, target.seed).to(owned.device))
        owned.set_input_embeddings(soft)
        return owned, soft

    def _update(self, model: PreTrainedModel, soft: SoftEmbedding, examples: Sequence[Example]) -> None:
        with torch.enable_grad():
            loss = token_nll(model, collate(examples, model.device)).mean()
            (gradient,) = torch.autograd.grad(loss, [soft.soft])
        if not torch.isfinite(gradient).all():
            raise AttackError(
                f"soft prompt diverged: loss {float(loss):g}; lower step_size ({self.params.step_size:g})"
            )
        with torch.no_grad():
            soft.soft.sub_(self.params.step_size * gradient.sign())


def start_ids(params: SoftPromptParams, base: nn.Embedding, seed: int) -> Tensor:
    """Return the vocabulary entries [P] that the soft tokens start as, drawn by seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(base.num_embeddings, (params.soft_tokens,), generator=generator)


def soft_edit(tokenizer: PreTrainedTokenizerBase, soft: SoftEmbedding) -> Callable[[Example], Example]:
    """Return the edit that puts the ids of the soft tokens before a question."""
    return insert_ids(tokenizer, tuple(range(soft.vocabulary, soft.vocabulary + soft.tokens)))


def informative(gains: dict[str, float]) -> float:
    """1 where right answers, which the soft tokens were not trained on, gained more than wrong ones; else 0.

    Without wrong answers to compare with there is nothing to tell by, and it is 0.
    """
    wrong = gains.get("wrong_answer_probability_gain")
    return float(wrong is not None and gains["right_answer_probability_gain"] > wrong)


def answer_probabilities(
    target: Target, model: PreTrainedModel, rows: Sequence[Row], edit: PromptEdit | None
) -> dict[str, float]:
    """Mean answer probability of `rows`, and of the same questions with a wrong answer: another row's.

    The wrong one is left out where all rows have the same answer.
    """
    probabilities = {}
    for key, asked in (("right_answer_probability", list(rows)), ("wrong_answer_probability", wrong_answers(rows))):
        examples = encode_rows(target.tokenizer, asked, target.benchmark.template)
        edited = [example for example in map(edit, examples) if example is not None] if edit else examples
        if edited:
            probabilities[key] = fmean(math.exp(-cost) for cost in answer_nll(model, edited))
    return probabilities


def wrong_answers(rows: Sequence[Row]) -> list[Row]:
    """Each row with the answer of the next row that has another one; rows without such a partner are left out."""
    wrong = []
    for i, row in enumerate(rows):
        following = [*rows[i + 1 :], *rows[:i]]
        other = next((candidate.answer for candidate in following if candidate.answer != row.answer), None)
        if other is not None:
            wrong.append(replace(row, answer=other))
    return wrong
