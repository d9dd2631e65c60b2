"""Names of methods: plain, with wrappers (`npo+sam+irm`), or in stages (`dpo>idk_ap`), and the card such a name has.

The order of wrappers in a name means nothing. The parameters of all parts stand side by side; where two stages share
a name, the first has it as it is and the second with its own in front (`idk_ap.beta`). Learning rate and epochs are
the training's, so they are there once. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.shared_params import COMPAT, TRAINING_PARAMS
from unlearn_sweep.methods.wrapper_cards import PLACES

SWITCH_AT = "switch_at"
FORGET_GRADIENT = frozenset({"sam", "rs", "gnr", "tar"})
"""Each of these replaces the forget gradient, so there can be one."""
REVERSIBLE = frozenset({"sam", "rs", "gnr", "weight_avg"})
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
class Stage:
    """One method with the wrappers around it."""

    method: str
    wrappers: tuple[str, ...] = ()


def parse(name: str) -> tuple[Stage, ...]:
    """Split a name at `>` and `+`; blanks around the parts do not count."""
    stages = []
    for text in name.split(">"):
        first, *wrappers = (part.strip() for part in text.split("+"))
        stages.append(Stage(first, tuple(wrappers)))
    return tuple(stages)


def canonical_name(name: str) -> str:
    """One name for one meaning: no blanks, wrappers in the order they act; parts that are unknown stay as they are."""
    return ">".join("+".join((stage.method, *in_order(stage.wrappers))) for stage in parse(name))


def in_order(wrappers: Sequence[str]) -> tuple[str, ...]:
    """Wrappers in the order they act, the innermost first; those of plugins at the end, by name."""
    return tuple(sorted(wrappers, key=lambda name: (PLACES.index(name), "") if name in PLACES else (len(PLACES), name)))


def stage_prefixes(stages: Sequence[Stage]) -> tuple[str, ...]:
    """What stands before the parameters of each stage that an earlier one has too."""
    return ("", *(f"{stage.method}." for stage in stages[1:]))


def misfit(
    stages: Sequence[Stage], methods: Mapping[str, MethodCard], wrappers: Mapping[str, MethodCard]
) -> str | None:
    """Why known parts do not fit together; None where they do."""
    if len(stages) > 2:
        return "at most two stages"
    for stage in stages:
        if len(set(stage.wrappers)) < len(stage.wrappers):
            return "each wrapper once"
        rivals = sorted(FORGET_GRADIENT & set(stage.wrappers))
        if len(rivals) > 1:
            return f"{' and '.join(rivals)} each replace the forget gradient; take one of them"
        if "surgery" in stage.wrappers and "retain" not in methods[stage.method].needs:
            return f"surgery needs a retain gradient, and {stage.method} has none"
        reversed_ones = sorted(set(stage.wrappers) - REVERSIBLE) if methods[stage.method].reverses else []
        if reversed_ones:
            return f"{stage.method} turns the training round at the end, and with it what {reversed_ones[0]} is for"
    if len(stages) > 1 and (whole := [stage.method for stage in stages if methods[stage.method].reverses]):
        return f"{whole[0]} turns the whole training round at the end, the other stage's steps too"
    if len({methods[stage.method].family == "representation" for stage in stages}) > 1:
        return "a stage on hidden states trains other weights than one on answers; they cannot share a training"
    if len(stages) == 2 and stages[0].method == stages[1].method:
        return "two stages of the same method are one"
    if len(stages) == 2 and any({"weight_avg", "lat"} & set(stage.wrappers) for stage in stages):
        return "weight_avg and lat hold for a whole training, not for one of its stages"
    return None


def composed_card(
    stages: Sequence[Stage], methods: Mapping[str, MethodCard], wrappers: Mapping[str, MethodCard]
) -> MethodCard:
    """The card of known parts that fit together."""
    cards = [
        _wrapped(stage, methods[stage.method], [wrappers[name] for name in in_order(stage.wrappers)])
        for stage in stages
    ]
    if len(cards) == 1:
        return cards[0]
    first, second = cards
    taken = {param.name for param in first.params}
    renamed = [
        replace(param, name=f"{stages[1].method}.{param.name}") if param.name in taken else param
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


def _wrapped(stage: Stage, base: MethodCard, around: Sequence[MethodCard]) -> MethodCard:
    if not around:
        return base
    if "lat" in stage.wrappers:  # its adversary works on packed tokens
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
