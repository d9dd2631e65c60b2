"""What a model may say next: tokens that are guessed from texts, for one pass to verify instead of one pass for each.

A draft changes no answer. The model is run over it, and what its own greedy choice agrees with is kept; its next own
token follows. A guess that is wrong costs the computation of its tokens, so each row's drafts grow while they are right
and pause after a miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LONGEST = 16
FIRST = 2
PAUSE = 8
"""Tokens without a draft after a row's drafts have failed; twice as many each further time."""
MATCHED = 2
"""Last tokens of an answer that must occur in a text for it to be drafted from there on."""


@dataclass(slots=True)
class Drafter:
    """Drafts for one answer.

    Attributes:
        texts: What the answer may say, likeliest first: the row's own answer, in other words, wrong ones.
        prompt: What is fed before the answer; texts repeat it, too.
        length: Tokens of the next draft at most; 0 while it pauses.
        waits: Tokens until it tries again.
        pause: Tokens that it waits after its drafts have failed.
    """

    texts: Sequence[Sequence[int]]
    prompt: Sequence[int]
    length: int = FIRST
    waits: int = 0
    pause: int = PAUSE
    _places: list[dict[tuple[int, ...], int]] = field(default_factory=list)

    def draft(self, answer: Sequence[int], most: int) -> list[int]:
        """Guess at most `most` tokens that follow `answer`; none where no text knows its last tokens."""
        limit = min(most, self.length)
        if limit < 1 or len(answer) < 1:
            return []
        for number, text in enumerate(self.texts):
            found = self._after(number, text, answer)
            if found:
                return list(found[:limit])
        return self._repeated(answer, limit)

    def learn(self, drafted: int, accepted: int, taken: int) -> None:
        """Adapt to a verified draft; `taken` tokens have joined the answer."""
        if drafted == 0:
            self.waits -= taken
            if self.length == 0 and self.waits <= 0:
                self.length = 1
        elif accepted == drafted:
            self.length = min(LONGEST, 2 * self.length)
        elif accepted == 0:
            self.length //= 2
            if self.length == 0:
                self.waits, self.pause = self.pause, 2 * self.pause

    def _after(self, number: int, text: Sequence[int], answer: Sequence[int]) -> Sequence[int]:
        """What follows the answer's last tokens in a text; behind another token than the text's, what follows that."""
        while len(self._places) <= number:
            self._places.append(_places(self.texts[len(self._places)]))
        if list(answer) == list(text[: len(answer)]):
            return text[len(answer) :]
        place = self._places[number].get(tuple(answer[-MATCHED:]))
        if place is None and len(answer) > 1 and list(answer[:-1]) == list(text[: len(answer) - 1]):
            place = len(answer)
        return () if place is None else text[place:]

    def _repeated(self, answer: Sequence[int], limit: int) -> list[int]:
        """What followed when the last tokens occurred before, in the answer or the prompt."""
        whole = [*self.prompt, *answer]
        if len(whole) <= MATCHED:
            return []
        last = whole[-MATCHED:]
        for place in range(len(whole) - MATCHED - 1, -1, -1):
            if whole[place : place + MATCHED] == last:
                period = whole[place + MATCHED :]
                return [period[index % len(period)] for index in range(limit)]
        return []


def _places(text: Sequence[int]) -> dict[tuple[int, ...], int]:
    """For each MATCHED tokens in a row, where their first occurrence ends."""
    found: dict[tuple[int, ...], int] = {}
    for place in range(MATCHED, len(text) + 1):
        found.setdefault(tuple(text[place - MATCHED : place]), place)
    return found
