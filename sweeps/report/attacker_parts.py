"""Render what searched attackers recover against their budget: a drawing with both controls, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unlearn_sweep.sweeps.report.attacker_budget import BudgetCurve
from unlearn_sweep.sweeps.report.html_table import table

WIDTH, HEIGHT, LEFT, TOP = 640, 260, 40, 12
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def attacker_section(curves: Sequence[BudgetCurve]) -> str:
    """Render each attacker as a figure and a table; empty without searched attackers."""
    parts = []
    for attacker in dict.fromkeys(curve.attacker for curve in curves):
        mine = [curve for curve in curves if curve.attacker == attacker]
        parts += [
            f"<h3>Forgotten against attack budget: {escape(attacker)}</h3>",
            "<p>What is left after the attacker tried so many settings, as the mean over their orders. On this scale "
            "the original model is at 0 and the gold model at 1 before any attack; both face the same settings. "
            "States that lost too much utility do not count, and an attacker may leave a model as it is. Front members "
            "whose settings all ran, on the search half. Rob is normalised by the attacked controls instead.</p>",
            _drawing(mine),
            _table(mine),
        ]
    return "".join(parts)


def _table(curves: Sequence[BudgetCurve]) -> str:
    count = len(curves[0].forgotten)
    shown = sorted({1, *(k for k in (2, 4, 8, 16, 32, 64, 128) if k < count), count})
    head = ["model", *(f"after {k}" for k in shown), "worst setting", "which is"]
    lines = [
        [
            curve.model,
            *(f"{curve.forgotten[k - 1]:.3f}" for k in shown),
            curve.worst or "none: left as it is",
            ", ".join(f"{name} {value}" for name, value in curve.setting.items()),
        ]
        for curve in curves
    ]
    return table(head, lines, label="Forgotten against attack budget")


def _drawing(curves: Sequence[BudgetCurve]) -> str:
    """Draw each curve; original and gold in black. The axis below is the number of settings, the other 0 to 1."""
    count = len(curves[0].forgotten)
    marks = "".join(
        f'<text x="{LEFT - 6}" y="{_y(level) + 4:.1f}" text-anchor="end" font-size="11" fill="currentColor">'
        f"{level:g}</text>"
        f'<line x1="{LEFT}" x2="{WIDTH - 110}" y1="{_y(level):.1f}" y2="{_y(level):.1f}" stroke="currentColor" '
        'stroke-opacity="0.2"/>'
        for level in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    ends = "".join(
        f'<text x="{_x(k, count):.1f}" y="{HEIGHT - 4}" text-anchor="middle" font-size="11" fill="currentColor">'
        f"{k}</text>"
        for k in sorted({1, max(1, count // 2), count})
    )
    lines = "".join(_line(curve, place) for place, curve in enumerate(curves))
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="What is forgotten against the number of '
        f'settings that the attacker tried">{marks}{ends}{lines}</svg></figure>'
    )


def _line(curve: BudgetCurve, place: int) -> str:
    count = len(curve.forgotten)
    points = " ".join(f"{_x(k, count):.1f},{_y(value):.1f}" for k, value in enumerate(curve.forgotten, start=1))
    control = curve.trial is None
    colour = "currentColor" if control else COLOURS[place % len(COLOURS)]
    dash = ' stroke-dasharray="6 4"' if curve.model == "gold" else ""
    end = _y(curve.forgotten[-1])
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{2.5 if control else 1.8}"{dash}/>'
        f'<text x="{WIDTH - 104}" y="{end + 4:.1f}" font-size="11" fill="{colour}">{escape(curve.model)}</text>'
    )


def _x(settings: int, count: int) -> float:
    return LEFT + (WIDTH - 110 - LEFT) * ((settings - 1) / (count - 1) if count > 1 else 0.5)


def _y(value: float) -> float:
    return TOP + (HEIGHT - 34 - TOP) * (1 - value)
