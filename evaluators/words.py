"""Words of a text in any script: what ROUGE, containment, F1, exact match and repetition are counted on.

One rule for all of them. A text is normalised (NFKC) and case folded. Letters, digits and their combining marks make
words, everything else separates them. In scripts that are written without spaces between words (Han, Hiragana,
Katakana, Bopomofo, Yi, Thai, Lao, Khmer, Myanmar, Tibetan, Javanese and their relatives) every character is a word of
its own, where a character is a letter with its combining marks. The rule follows the script of each character, so
"GPT-4由OpenAI发布" has the words gpt, 4, 由, openai, 发, 布. On ASCII text the words are those of the `rouge-score`
package.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

UNSPACED: Final = (
    "\u0e00-\u0e7f"  # Thai
    "\u0e80-\u0eff"  # Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b"  # Han radicals, iteration mark, numerals
    "\u3041-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\ua000-\ua4cf"  # Yi
    "\U0001aff0-\U0001b16f"  # Kana supplements
    "\U00020000-\U0003ffff"  # Han supplements
)
"""Character ranges of scripts without spaces between words, for a regular expression's character class."""
_UNSPACED = re.compile(f"[{UNSPACED}]")
WORD_CATEGORIES: Final = ("L", "N", "M")
SENTENCE_ENDS: Final = ".!?\u3002\uff01\uff1f\uff61\u0964\u0965\u06d4\u061f\u104b\u17d4\u17d5\u0f0d\u1362"
"""Full stops, exclamation and question marks of many scripts."""


def normalised(text: str) -> str:
    """The text in the form in which two texts are compared: NFKC, case folded, without invisible format characters."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(mark for mark in folded if unicodedata.category(mark) != "Cf")


def folded_text(text: str) -> str:
    """`normalised`, with every run of white space as one space: equal for texts that differ in nothing else."""
    return " ".join(normalised(text).split())


def has_unspaced(text: str) -> bool:
    """Whether any character belongs to a script that is written without spaces between words."""
    return _UNSPACED.search(text) is not None


def word_list(text: str) -> list[str]:
    """The words of a text, normalised and in order; empty where it has neither letter nor digit in any script."""
    marks = normalised(text)
    kept = "".join(mark if unicodedata.category(mark)[0] in WORD_CATEGORIES else " " for mark in marks)
    return [word for piece in kept.split() for word in split_unspaced(piece) if not _only_marks(word)]


def split_unspaced(piece: str) -> list[str]:
    """A piece without spaces as words: characters of scripts without spaces apart, all other runs whole."""
    if not has_unspaced(piece):
        return [piece] if piece else []
    return [found for found, _ in _spans(piece)]


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each word in the text as it is written, punctuation included with the word before it.

    Cutting a text at any of the starts leaves every word and every letter with its combining marks whole.
    """
    spans: list[tuple[int, int]] = []
    for run in re.finditer(r"\S+", text):
        spans += [(run.start() + start, run.start() + start + len(found)) for found, start in _spans(run.group())]
    return spans


def _spans(piece: str) -> list[tuple[str, int]]:
    """The parts of a piece without spaces with where they begin; marks and punctuation stay with what is before."""
    starts = [0]
    for place in range(1, len(piece)):
        before, mark = piece[place - 1], piece[place]
        category = unicodedata.category(mark)
        if category[0] in "MP" or category == "Cf":
            continue
        if _UNSPACED.match(mark) or _UNSPACED.match(before) or _after_unspaced(piece, place):
            starts.append(place)
    return [(piece[start:end], start) for start, end in zip(starts, [*starts[1:], len(piece)], strict=True)]


def _after_unspaced(piece: str, place: int) -> bool:
    """Whether marks or punctuation before this place follow a character of a script without spaces."""
    while place and unicodedata.category(piece[place - 1])[0] in "MP":
        place -= 1
    return bool(place) and _UNSPACED.match(piece[place - 1]) is not None


def _only_marks(word: str) -> bool:
    return all(unicodedata.category(mark)[0] == "M" for mark in word)
