"""One metric laid between its anchors: what was forgotten (0 original, 1 gold), what was kept (1 original).

Anchors must lie further apart than noise; where they do not, there is no score but a reason that names the figures.
"""

from __future__ import annotations

from typing import Literal

NOISE_FACTOR = 2.0
"""Anchors must lie this many bootstrap standard deviations apart."""


def normalise_forgetting(
    value: float,
    original: float,
    gold: float,
    gap_sd: float | None,
    *,
    better: Literal["lower", "higher", "gold"] = "lower",
    slack: float = 0.0,
) -> tuple[float | None, str | None]:
    """How far a metric went from original (0) to gold (1): (score, None), or (None, reason).

    One-sided for "lower" and "higher": clip((original - value) / (original - gold), 0, 1), no reward for going beyond
    gold. "gold" is two-sided: clip(1 - |value - gold| / |original - gold|, 0, 1), both distances shortened by `slack`,
    as far from gold as a second gold model lies. Undefined where the anchors lie less
    than 2 `gap_sd` apart (bootstrap standard deviation of their difference; None: not known), or the wrong way round.
    """
    gap = abs(original - gold) - slack if better == "gold" else (original - gold) * (1.0 if better == "lower" else -1.0)
    anchors = f"original {original:.4g} and gold {gold:.4g}"
    if gap_sd is None:
        return None, f"{anchors}: a single row: their distance cannot be told from noise"
    if gap < 0 and better != "gold":
        return None, f"{anchors} are the wrong way round: gold remembers more than original by this metric"
    if gap <= 0 or gap < NOISE_FACTOR * gap_sd:
        less = f" beyond the {slack:.4g} of a second gold" if slack else ""
        return None, f"{anchors} are {gap:.4g} apart{less}, which is within {NOISE_FACTOR:g} x {gap_sd:.4g} of noise"
    share = (
        1.0 - max(0.0, abs(value - gold) - slack) / gap if better == "gold" else (original - value) / (original - gold)
    )
    return min(1.0, max(0.0, share)), None


def normalise_utility(
    value: float, original: float, chance: float, original_sd: float | None
) -> tuple[float | None, str | None]:
    """How much of what the original knows beyond `chance` is left: (score, None), or (None, reason).

    clip((value - chance) / (original - chance), 0, 1). Undefined where the original lies less than 2 `original_sd`
    (its bootstrap standard deviation; None: not known) above chance: there is nothing to keep.
    """
    surplus = original - chance
    if original_sd is None:
        return None, f"original {original:.4g}: a single row: its distance from chance cannot be told from noise"
    if surplus <= 0 or surplus < NOISE_FACTOR * original_sd:
        return None, (
            f"original {original:.4g} is not above chance {chance:g} by {NOISE_FACTOR:g} x {original_sd:.4g} of noise"
        )
    return min(1.0, max(0.0, (value - chance) / surplus)), None
