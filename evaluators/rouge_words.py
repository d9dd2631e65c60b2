"""ROUGE-L recall as RWKU computes it, with the `rouge` package of 2018: to lay a number beside a published one.

Words are what stands between blanks, with case and punctuation. A text is divided into sentences at full stops, a
common subsequence is sought for each pair of sentences, and each distinct word counts once. The package itself is not
needed.
"""

from __future__ import annotations

from collections.abc import Sequence

NO_ANSWER = "NOANSWER"
"""What RWKU compares in place of an empty answer."""


def distinct_word_recall(reference: str, answer: str) -> float:
    """Share in [0, 1] of the reference's distinct words that are in a common subsequence with the answer.

    0 where either has no sentence. Of several longest subsequences, the one is taken that drops words of the answer
    first, from the end.
    """
    ours, theirs = _sentences(reference), _sentences(answer if answer.strip() else NO_ANSWER)
    known = {word for sentence in ours for word in sentence}
    if not known:
        return 0.0
    found = {word for sentence in ours for other in theirs for word in _common(sentence, other)}
    return len(found) / len(known)


def _sentences(text: str) -> list[list[str]]:
    """The words of each piece between full stops; a piece of blanks is one empty word, as in the package."""
    return [" ".join(piece.split()).split(" ") for piece in text.split(".") if piece]


def _common(one: Sequence[str], other: Sequence[str]) -> set[str]:
    """Words of a longest common subsequence."""
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, word in enumerate(one, start=1):
        for j, their_word in enumerate(other, start=1):
            same = word == their_word
            lengths[i][j] = lengths[i - 1][j - 1] + 1 if same else max(lengths[i - 1][j], lengths[i][j - 1])
    words: set[str] = set()
    i, j = len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            words.add(one[i - 1])
            i, j = i - 1, j - 1
        elif lengths[i - 1][j] > lengths[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return words
