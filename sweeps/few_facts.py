"""Say that a forget set has few facts, in the same words for `validate`, `plan` and the report."""

from __future__ import annotations

FEW_FACTS = 40


def few_facts(facts: int | None) -> str | None:
    """Return a warning if the forget side is judged by fewer than 40 facts; None if not or if the number is unknown."""
    if facts is None or facts >= FEW_FACTS:
        return None
    return (
        f"few rows: the forget side is judged by {facts} facts, about {facts // 2} in each half (rows that belong "
        f"together, such as all questions on one author, are one fact). Below {FEW_FACTS}, "
        "standard errors are large and many trials cannot be told apart"
    )
