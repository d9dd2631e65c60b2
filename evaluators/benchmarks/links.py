"""Rows that tell of each other share a group, so that no split parts them: equal rows, and texts with a common piece.

Groups are joined, never divided: two groups with a common key become one, under the name of the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from unlearn_sweep.evaluators.rows import Row
from unlearn_sweep.evaluators.words import folded_text

PIECE_WORDS = 16
"""Two texts with as many equal words in a row have a piece in common."""
COMMON_TO_MOST = 3
"""A piece in more documents than that is boilerplate (a licence, a legal notice) and joins nothing."""

TEXT_KINDS = frozenset({"text", "continuation"})

Views = Mapping[str, Sequence[Row]]


def content_key(row: Row) -> str:
    """Equal for rows that differ in nothing but case and white space."""
    return "\0".join(map(folded_text, (row.question, row.answer, *row.choices)))


def joined(views: Sequence[Views], keys: Callable[[Row], Iterable[str]]) -> list[dict[str, list[Row]]]:
    """The same views with groups joined that have a key in common in any of them."""
    rows = [row for view in views for found in view.values() for row in found]
    parents: dict[str, str] = {}
    first_with: dict[str, str] = {}

    def root(group: str) -> str:
        while parents.setdefault(group, group) != group:
            group = parents[group] = parents[parents[group]]
        return group

    for row in rows:
        for key in keys(row):
            ours, other = root(row.group_id), root(first_with.setdefault(key, row.group_id))
            if ours != other:
                parents[ours] = other
    names: dict[str, str] = {}
    for row in rows:
        names.setdefault(root(row.group_id), row.group_id)
    return [
        {name: [_renamed(row, names[root(row.group_id)]) for row in found] for name, found in view.items()}
        for view in views
    ]


def equal_rows_joined(*views: Views) -> list[dict[str, list[Row]]]:
    """The same views in which rows of equal content (see `content_key`) share a group."""
    return joined(views, lambda row: (content_key(row),))


def overlapping_texts_joined(train: Sequence[Row], judged: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The same rows; a judged text shares its group with the training texts it has `PIECE_WORDS` words in a row of.

    Questions are left alone: what they have in common with a text is not a matter of equal words.
    """
    asked = {piece for row in judged if row.kind in TEXT_KINDS for piece in text_pieces(row)}
    shared = {row.row_id: asked.intersection(text_pieces(row)) for row in train if row.kind in TEXT_KINDS}
    shared |= {row.row_id: set(text_pieces(row)) for row in judged if row.kind in TEXT_KINDS}
    groups: dict[int, set[str]] = {}
    for row in (*train, *judged):
        for piece in shared.get(row.row_id, ()):
            groups.setdefault(piece, set()).add(row.group_id)

    def keys(row: Row) -> Iterable[str]:
        return (str(piece) for piece in shared.get(row.row_id, ()) if len(groups[piece]) <= COMMON_TO_MOST)

    ((found,), (asked_rows,)) = (view.values() for view in joined([{"train": train}, {"judged": judged}], keys))
    return found, asked_rows


def text_pieces(row: Row) -> set[int]:
    """Hashes of every run of `PIECE_WORDS` words of a row's whole text; of the text itself where it is shorter."""
    words = f"{row.question} {row.answer}".split()
    return {hash(tuple(words[start : start + PIECE_WORDS])) for start in range(max(1, len(words) - PIECE_WORDS + 1))}


def _renamed(row: Row, group: str) -> Row:
    return row if row.group_id == group else replace(row, group_id=group)
