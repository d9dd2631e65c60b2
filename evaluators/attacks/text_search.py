"""The search for an adversarial text that gcg and enhanced_gcg share: score places, draw changes, take the best.

What is searched for (the objective) and how a text may change (the moves) differ between the two.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from unlearn_sweep.evaluators.attacks.adversarial_text import AdversarialText
from unlearn_sweep.evaluators.attacks.probe_sampling import ProbeSampling
from unlearn_sweep.evaluators.joint_tokens import Ids

Moves = Callable[[Ids, Tensor, torch.Generator], Sequence[Ids]]
"""Changed texts of a text, from its token scores [n, V]: the higher, the more promising the token at that place."""


class Objective(Protocol):
    """What a text is judged by, in nats or in units of its own; the lower the better."""

    def losses(self, texts: Sequence[Ids]) -> list[float]:
        """The mean over the questions, for each text."""
        ...

    def scores(self, text: Ids) -> Tensor:
        """How promising each token of the vocabulary is at each place of the text [n, V]; by gradient."""
        ...

    def loss_of_prompts(self, prompts: Sequence[Ids]) -> float:
        """The loss of whole prompts, one a question: nothing of the search's own ids is used."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A text with its own loss: they always belong together. In order of loss."""

    loss: float
    ids: Ids


@dataclass(slots=True, kw_only=True)
class TextSearch:
    """A running search. `buffer_size` best texts are kept, and the best of them is changed next; with 0, the best
    text of the last step is, even where it is worse than one before. `probing` chooses which candidates are scored.
    """

    texts: AdversarialText
    objective: Objective
    moves: Moves
    forbidden: Tensor
    start: Ids
    seed: int
    buffer_size: int = 0
    probing: ProbeSampling | None = None
    scored: int = field(default=0, init=False)
    steps_without_candidate: int = field(default=0, init=False)
    current: Found = field(init=False)
    best: Found = field(init=False)
    first: Found = field(init=False)
    _buffer: list[Found] = field(default_factory=list[Found], init=False)
    _generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        (loss,) = self.objective.losses([self.start])
        self.first = self.current = self.best = Found(loss, self.start)
        self._buffer = [self.first] if self.buffer_size else []

    def step(self) -> None:
        """One step: gradient, candidates, exact losses."""
        scores = self.objective.scores(self.current.ids)
        scores[:, self.forbidden.to(scores.device)] = float("-inf")
        drawn = dict.fromkeys(self.moves(self.current.ids, scores, self._generator))
        stable = self.texts.read_back_unchanged([ids for ids in drawn if ids])
        if not stable:
            self.steps_without_candidate += 1
            return
        found = [Found(loss, ids) for loss, ids in self._losses(stable)]
        self.scored += len(found)
        self._take(found)

    def _losses(self, texts: Sequence[Ids]) -> list[tuple[float, Ids]]:
        """The losses of all texts, or of those that probe sampling chooses."""
        if self.probing is not None:
            return self.probing.scored(texts, self.objective.losses, self._generator)
        return list(zip(self.objective.losses(texts), texts, strict=True))

    def _take(self, found: Sequence[Found]) -> None:
        nearest = min(found)
        self.best = min(self.best, nearest)
        if not self.buffer_size:
            self.current = nearest
            return
        for candidate in found:
            if candidate not in self._buffer:
                insort(self._buffer, candidate)
        del self._buffer[self.buffer_size :]
        self.current = self._buffer[0]

    def text(self) -> str:
        """The best text so far."""
        return self.texts.text(self.best.ids)

    def loss_of_text(self, text: str) -> float:
        """The loss of a text as it is sent: prompts are tokenised from scratch."""
        return self.objective.loss_of_prompts(self.texts.prompts(text))

    def notes(self) -> dict[str, float]:
        return {
            "loss_first": self.first.loss,
            "loss_best": self.best.loss,
            "loss_rescored_from_text": self.loss_of_text(self.text()),
            "tokens": float(len(self.best.ids)),
            "candidates_scored": float(self.scored),
            "steps_without_candidate": float(self.steps_without_candidate),
        }


def replacements(text: Ids, scores: Tensor, *, width: int, top_k: int, generator: torch.Generator) -> list[Ids]:
    """Different texts, each with one token of `text` replaced, at most `width`.

    Replacements are drawn evenly from the `top_k` highest of `scores` [n, V] at an evenly drawn place; minus infinity
    is never drawn.
    """
    allowed = torch.isfinite(scores).sum(dim=1)
    best = scores.topk(min(top_k, scores.shape[1]), dim=1).indices.cpu()
    limit = allowed.clamp(max=best.shape[1]).cpu()
    places = torch.randint(len(text), (width,), generator=generator)
    ranks = (torch.rand(width, generator=generator) * limit[places]).long()
    current = torch.tensor(text)
    drawn = current.repeat(width, 1)
    drawn[torch.arange(width), places] = best[places, ranks]
    drawn = torch.unique(drawn[limit[places] > 0], dim=0)
    return [tuple(row) for row in drawn[(drawn != current).any(dim=1)].tolist()]
