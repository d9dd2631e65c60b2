"""Explain why a method name is invalid: unknown parts, a wrapper without a method, or incompatible parts."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn_sweep.methods.catalog import METHODS, WRAPPERS
from unlearn_sweep.methods.composed_card import misfit, parse
from unlearn_sweep.sweeps.file.problems import listing, near_miss

COMPOSES = (
    "a method, a method with wrappers (npo+sam+irm), two methods in turn (dpo>idk_ap), or one that undo follows "
    "(npo>undo)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a method name is invalid."""

    message: str
    allowed: str
    nearest: str | None
    advice: str


def refusal(name: str) -> Refusal | None:
    """Return why a method name in a sweep file is invalid; None if it is valid."""
    phases = parse(name)
    for phase in phases:
        if phase.method in WRAPPERS:
            return _bare_wrapper(name, phase.method)
        if phase.method not in METHODS:
            return _unknown(name, phase.method, list(METHODS), "method")
        for wrapper in phase.wrappers:
            if wrapper not in WRAPPERS:
                return _unknown(name, wrapper, list(WRAPPERS), "wrapper")
    problem = misfit(phases, METHODS, WRAPPERS)
    if problem is None:
        return None
    return Refusal(message=problem, allowed=COMPOSES, nearest=phases[0].method, advice="take the parts apart")


def _unknown(name: str, part: str, known: list[str], kind: str) -> Refusal:
    nearest = near_miss(part, known) if part else None
    whole = name.replace(part, nearest) if nearest else None
    return Refusal(
        message=f"unknown {kind}" if part == name else f"unknown {kind} {part!r} in a composition",
        allowed=f"{COMPOSES}; {kind}s: {listing(known)}",
        nearest=whole,
        advice=f"write {whole}" if whole else "use one of the names above, or see `unlearn-sweep methods`",
    )


def _bare_wrapper(name: str, wrapper: str) -> Refusal:
    return Refusal(
        message="a wrapper is no method by itself" if name == wrapper else f"{wrapper!r} is a wrapper, not a method",
        allowed=f"{COMPOSES}; methods: {listing(list(METHODS))}",
        nearest=None,
        advice=f"name it behind a method: npo+{wrapper}",
    )
