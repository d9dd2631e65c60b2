"""Assign each method a colour and a marker, the same in every picture. Distinct for most colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable

# The Okabe-Ito palette without yellow and black, which are invisible on light and dark pages, plus two colours.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a63d2", "#8c6d46")
# (plotly name, matplotlib name)
_MARKERS = (
    ("circle", "o"),
    ("square", "s"),
    ("diamond", "D"),
    ("triangle-up", "^"),
    ("pentagon", "p"),
    ("triangle-down", "v"),
    ("hexagon", "h"),
)


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, str]]:
    """Map each method name to its colour and marker, in the given order. The first 56 pairs are distinct."""
    return {
        method: {
            "colour": _COLOURS[index % len(_COLOURS)],
            "symbol": _MARKERS[index % len(_MARKERS)][0],
            "marker": _MARKERS[index % len(_MARKERS)][1],
        }
        for index, method in enumerate(methods)
    }
