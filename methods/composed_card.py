"""Names of methods: plain, with wrappers (`npo+sam+irm`), in phases of one training (`dpo>idk_ap`), or followed by
another training (`npo>undo`), and the card such a name has.

The order of wrappers in a name means nothing. The parameters of all parts stand side by side; where two phases share
a name, the first has it as it is and the second with its own in front (`idk_ap.beta`). Learning rate and epochs are
the training's, so they are there once; a training that follows has its own, and all its names with its method in
front (`undo.alpha`). No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.shared_params import COMPAT, TRAINING_PARAMS
from unlearn_sweep.methods.wrapper_cards import PLACES

SWITCH_AT = "switch_at"
FORGET_GRADIENT = frozenset({"sam", "rs", "gnr", "cr", "tar"})
"""Each of these replaces the forget gradient, so there can be one."""
MORE_FORWARDS = FORGET_GRADIENT | {"lat", "gao"}
"""Wrappers that run the forget rows several times a step."""
BETWEEN_GRADIENTS = frozenset({"gru", "mudman", "surgery"})
"""Each of these decides between forget and retain gradient, so there can be one, around a method that has both."""
REVERSIBLE = frozenset({"sam", "rs", "gnr", "cr", "weight_avg"})
"""Wrappers that smooth the path of a training whatever it trains towards, so that it may be turned round afterwards.
The others act for the model that is trained (against its attacker, on its paraphrases): turned round, they do the
opposite of what they are for."""
SWITCH = Param(
    name=SWITCH_AT,
    default=0.3,
    search=(0.2, 0.8),
    low=0,
    low_open=True,
    high=1,
    source="Full-Stack: IDK+AP after a few DPO epochs",
    summary="share of the steps after which the second method takes over",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One method with the wrappers around it."""

    method: str
    wrappers: tuple[str, ...] = ()


def parse(name: str) -> tuple[Phase, ...]:
    """Split a name at `>` and `+`; blanks around the parts do not count."""
    phases = []
    for text in name.split(">"):
        first, *wrappers = (part.strip() for part in text.split("+"))
        phases.append(Phase(first, tuple(wrappers)))
    return tuple(phases)


def canonical_name(name: str) -> str:
    """One name for one meaning: no blanks, wrappers in the order they act; parts that are unknown stay as they are."""
    return ">".join("+".join((phase.method, *in_order(phase.wrappers))) for phase in parse(name))


def in_order(wrappers: Sequence[str]) -> tuple[str, ...]:
    """Wrappers in the order they act, the innermost first; those of plugins at the end, by name."""
    return tuple(sorted(wrappers, key=lambda name: (PLACES.index(name), "") if name in PLACES else (len(PLACES), name)))


def two_trainings(name: str, methods: Mapping[str, MethodCard]) -> tuple[str, str] | None:
    """The names of the two trainings that a name such as `npo>undo` stands for; None for any other name."""
    first, _, last = name.rpartition(">")
    method = parse(last)[0].method
    return (first, last) if first and method in methods and methods[method].follows else None


def phase_prefixes(phases: Sequence[Phase]) -> tuple[str, ...]:
    """What stands before the parameters of each phase that an earlier one has too."""
    return ("", *(f"{phase.method}." for phase in phases[1:]))


def misfit(
    phases: Sequence[Phase], methods: Mapping[str, MethodCard], wrappers: Mapping[str, MethodCard]
) -> str | None:
    """Why known parts do not fit together; None where they do."""
    if early := [phase.method for phase in phases[:-1] if methods[phase.method].follows]:
        return f"{early[0]} distils the model that another method leaves, so it comes last"
    if len(phases) > 1 and methods[phases[-1].method].follows:
        return misfit(phases[:-1], methods, wrappers) or misfit(phases[-1:], methods, wrappers)
    if len(phases) > 2:
        return "at most two phases"
    for phase in phases:
        if len(set(phase.wrappers)) < len(phase.wrappers):
            return "each wrapper once"
        rivals = sorted(FORGET_GRADIENT & set(phase.wrappers))
        if len(rivals) > 1:
            return f"{' and '.join(rivals)} each replace the forget gradient; take one of them"
        if "cir" in phase.wrappers and (others := sorted(MORE_FORWARDS & set(phase.wrappers))):
            return f"{others[0]} runs the forget rows at other weights or states, which cir would take for this step's"
        deciders = sorted(BETWEEN_GRADIENTS & set(phase.wrappers))
        if len(deciders) > 1:
            return f"{' and '.join(deciders)} each decide between forget and retain gradient; take one of them"
        if deciders and "retain" not in methods[phase.method].needs:
            return f"{deciders[0]} needs a retain gradient, and {phase.method} has none"
        reversed_ones = sorted(set(phase.wrappers) - REVERSIBLE) if methods[phase.method].reverses else []
        if reversed_ones:
            return f"{phase.method} turns the training round at the end, and with it what {reversed_ones[0]} is for"
    if len(phases) > 1 and (whole := [phase.method for phase in phases if methods[phase.method].reverses]):
        return f"{whole[0]} turns the whole training round at the end, the other phase's steps too"
    if len({methods[phase.method].family == "representation" for phase in phases}) > 1:
        return "a phase on hidden states trains other weights than one on answers; they cannot share a training"
    if len(phases) == 2 and phases[0].method == phases[1].method:
        return "two phases of the same method are one"
    if len(phases) == 2 and any({"weight_avg", "lat", "cir"} & set(phase.wrappers) for phase in phases):
        return "weight_avg, lat and cir hold for a whole training, not for one of its phases"
    return None


def composed_card(
    phases: Sequence[Phase], methods: Mapping[str, MethodCard], wrappers: Mapping[str, MethodCard]
) -> MethodCard:
    """The card of known parts that fit together."""
    if len(phases) > 1 and methods[phases[-1].method].follows:
        return _followed(*(composed_card(part, methods, wrappers) for part in (phases[:-1], phases[-1:])))
    cards = [
        _wrapped(phase, methods[phase.method], [wrappers[name] for name in in_order(phase.wrappers)])
        for phase in phases
    ]
    if len(cards) == 1:
        return cards[0]
    first, second = cards
    taken = {param.name for param in first.params}
    renamed = [
        replace(param, name=f"{phases[1].method}.{param.name}") if param.name in taken else param
        for param in second.params
        if param.name not in TRAINING_PARAMS
    ]
    return replace(
        first,
        name=f"{first.name}>{second.name}",
        family=second.family,
        summary=f"first {first.name} ({first.summary}), then {second.name} ({second.summary})",
        paper=f"{first.paper}; {second.paper}",
        equation=f"{first.equation}; then {second.equation}",
        needs=tuple(dict.fromkeys((*first.needs, *second.needs))),
        params=(*first.params, SWITCH, *renamed),
        target="",
        cost=max(first.cost, second.cost),
        parts=(first, second),
    )


def _followed(first: MethodCard, last: MethodCard) -> MethodCard:
    """The card of two trainings in turn."""
    prefix = parse(last.name)[0].method
    return replace(
        first,
        name=f"{first.name}>{last.name}",
        summary=f"{first.summary}; then {last.name}: {last.summary}",
        paper=f"{first.paper}; {last.paper}",
        equation=f"{first.equation}; then {last.equation}",
        needs=tuple(dict.fromkeys((*first.needs, *last.needs))),
        params=(*first.params, *(replace(param, name=f"{prefix}.{param.name}") for param in last.params)),
        target="",
        cost=round(first.cost + last.cost, 2),
        parts=(first, last),
        reverses=False,
    )


def _wrapped(phase: Phase, base: MethodCard, around: Sequence[MethodCard]) -> MethodCard:
    if not around:
        return base
    if "lat" in phase.wrappers:  # its adversary works on packed tokens
        base = replace(base, params=tuple(param for param in base.params if param.name != COMPAT))
    cost = base.cost
    for wrapper in around:
        cost *= wrapper.cost
    return replace(
        base,
        name="+".join((base.name, *(wrapper.name for wrapper in around))),
        summary="; ".join((base.summary, *(f"{wrapper.name}: {wrapper.summary}" for wrapper in around))),
        paper="; ".join((base.paper, *(wrapper.paper for wrapper in around))),
        equation="; ".join((base.equation, *(f"{wrapper.name}: {wrapper.equation}" for wrapper in around))),
        needs=tuple(dict.fromkeys((*base.needs, *(need for wrapper in around for need in wrapper.needs)))),
        params=(*base.params, *(param for wrapper in around for param in wrapper.params)),
        target="",
        cost=round(cost, 2),
        parts=(base, *around),
    )
