"""The methods this project has, as a table. Reading it imports no torch; `build` imports the one method it builds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from unlearn_sweep.methods.cards import MethodCard, Param, Scalar
from unlearn_sweep.methods.composed_card import (
    SWITCH_AT,
    composed_card,
    in_order,
    misfit,
    parse,
    phase_prefixes,
    two_trainings,
)
from unlearn_sweep.methods.divergence_cards import (
    CEU,
    GRAD_ASCENT,
    GRADDIFF,
    JENSUN,
    JENSUN_KL,
    KL_MIN,
    LOG1MP,
    ME,
    NPO,
    PDU,
    SATIMP,
    SIMNPO,
    UNDIAL,
    WGA,
)
from unlearn_sweep.methods.interface import Method
from unlearn_sweep.methods.rejection_cards import ALTPO, DPO, ELM, IDK, IDK_AP, RE_LEARN
from unlearn_sweep.methods.representation_cards import ADAPTIVE_RMU, RAB, RAD, RMU, RR
from unlearn_sweep.methods.reversal_cards import TASK_VECTOR, UNDO, WHP
from unlearn_sweep.methods.shared_params import COMPAT, OUTSIDE_THE_LOSS, training
from unlearn_sweep.methods.wrapper_cards import (
    CIR,
    CR,
    GAO,
    GNR,
    GRU,
    IRM,
    LAT,
    MUDMAN,
    PLACES,
    RS,
    SAM,
    SURGERY,
    TAR,
    WEIGHT_AVG,
)
from unlearn_sweep.plugins import Catalog, PluginFile, in_use

METHODS = Catalog(
    "methods",
    MethodCard,
    (
        GRAD_ASCENT,
        GRADDIFF,
        KL_MIN,
        NPO,
        SIMNPO,
        WGA,
        SATIMP,
        CEU,
        UNDIAL,
        JENSUN,
        JENSUN_KL,
        PDU,
        ME,
        LOG1MP,
        IDK,
        IDK_AP,
        DPO,
        ALTPO,
        RE_LEARN,
        ELM,
        TASK_VECTOR,
        WHP,
        UNDO,
        RMU,
        ADAPTIVE_RMU,
        RAD,
        RAB,
        RR,
    ),
    accepts=lambda card: card.kind == "method",
    reserved=("finetune", *PLACES),
)
"""Every unlearning method a sweep may name."""

WRAPPERS = Catalog(
    "wrappers",
    MethodCard,
    (
        SAM,
        RS,
        GNR,
        CR,
        IRM,
        LAT,
        TAR,
        GAO,
        CIR,
        GRU,
        MUDMAN,
        SURGERY,
        WEIGHT_AVG,
    ),
    accepts=lambda card: card.kind == "wrapper",
    reserved=("finetune", *METHODS.own),
)
"""What may be put around a method with `+`."""

FINETUNE = MethodCard(
    name="finetune",
    kind="method",
    family="training",
    summary="plain fine-tuning: trains original and gold models and task vectors; no sweep offers it",
    paper="none",
    equation="NLL_train",
    needs=("train",),
    params=training(1e-5, (1e-6, 1e-4), 5, "TOFU arXiv 2401.06121: lr 1e-5 (Llama-2-7B), 5 epochs"),
    target="unlearn_sweep.methods.finetune:Finetune",
    cost=0.5,
)


def card(name: str) -> MethodCard:
    """The card of a method, of a composition (`npo+sam`, `dpo>idk_ap`), or of "finetune".

    Raises:
        KeyError: a part is no method or wrapper; the message names the nearest.
        ValueError: the parts do not fit together.
        PluginError: a plugin in use cannot be loaded.
    """
    return _card(name, in_use())


@cache
def _card(name: str, _: tuple[PluginFile, ...]) -> MethodCard:
    """As `card`; what a name means follows from the plugins in use."""
    if name == FINETUNE.name:
        return FINETUNE
    if name in METHODS:
        return METHODS[name]
    phases = parse(name)
    for phase in phases:
        _known(phase.method, METHODS, "method")
        for wrapper in phase.wrappers:
            _known(wrapper, WRAPPERS, "wrapper")
    if (problem := misfit(phases, METHODS, WRAPPERS)) is not None:
        raise ValueError(f"method {name!r}: {problem}")
    return composed_card(phases, METHODS, WRAPPERS)


def _known(name: str, among: Mapping[str, MethodCard], kind: str) -> None:
    if name not in among:
        near = get_close_matches(name, among, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(among)}"
        raise KeyError(f"no {kind} {name!r}; {hint}")


def defaults(name: str) -> dict[str, Scalar]:
    """Every parameter of a method at its published default."""
    return {param.name: param.default for param in card(name).params}


def build(name: str, values: Mapping[str, Any]) -> Method:
    """The method's loss with `values` over its defaults. Training parameters are checked and not passed on.

    Raises:
        KeyError: there is no such method.
        ValueError: an unknown parameter or a value outside its limits, all of them in one message; or the name is one
            of two trainings (`in_two`), which are built one by one.
    """
    entry = card(name)
    if (trainings := in_two(name, values)) is not None:
        raise ValueError(f"{name} is two trainings: build {trainings[0][0]!r} and {trainings[1][0]!r}")
    if problems := check(entry, values):
        raise ValueError(f"{name}: " + "; ".join(problems))
    given = defaults(name) | dict(values)
    if not entry.parts:
        return _as_published(_instance(entry, given, ""), given, "")
    from unlearn_sweep.methods.composition import Composed, Phased

    methods = []
    for phase, prefix in zip(parse(name), phase_prefixes(parse(name)), strict=True):
        base = _as_published(_instance(METHODS[phase.method], given, prefix), given, prefix)
        around = tuple(_instance(WRAPPERS[wrapper], given, prefix) for wrapper in in_order(phase.wrappers))
        methods.append(Composed(base, around) if around else base)
    return methods[0] if len(methods) == 1 else Phased(methods[0], methods[1], switch_at=float(given[SWITCH_AT]))


Training = tuple[str, dict[str, Any]]
"""A method by name, with its values."""


def in_two(name: str, values: Mapping[str, Any]) -> tuple[Training, Training] | None:
    """The two trainings that a name such as `npo>undo` stands for, each with its values; None for any other name.

    The second starts from the model that the first one leaves. Its values have its method in front (`undo.alpha`).
    """
    names = two_trainings(name, METHODS)
    if names is None:
        return None
    prefix = f"{parse(names[1])[0].method}."
    last = {param.removeprefix(prefix): value for param, value in values.items() if param.startswith(prefix)}
    first = {param: value for param, value in values.items() if not param.startswith(prefix)}
    return (names[0], first), (names[1], last)


def _instance(entry: MethodCard, given: Mapping[str, Any], prefix: str) -> Any:
    """The part's class with its share of the values; `prefix` stands before the names that two phases share."""
    names = [param.name for param in entry.params if param.name not in OUTSIDE_THE_LOSS]
    return entry.load()(**{name: given.get(f"{prefix}{name}", given.get(name)) for name in names})


def _as_published(method: Method, given: Mapping[str, Any], prefix: str) -> Method:
    """The method as the project computes it that its `compat` names; itself where that is "none"."""
    project = given.get(f"{prefix}{COMPAT}", "none" if prefix else given.get(COMPAT, "none"))
    if project == "none":
        return method
    from unlearn_sweep.methods.as_published import as_published

    return as_published(method, str(project))


def modules(name: str, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules whose code makes the loss with these values."""
    followed = any(
        param.rpartition(".")[2] == COMPAT and project != "none"
        for param, project in (defaults(name) | dict(values)).items()
    )
    return (*card(name).targets, *(("unlearn_sweep.methods.as_published",) if followed else ()))


def check(entry: MethodCard, values: Mapping[str, Any]) -> list[str]:
    """What is wrong with `values`: one sentence for each unknown name or illegal value; empty if nothing is."""
    problems = []
    for name, value in values.items():
        param = entry.param(name)
        if param is None:
            known = ", ".join(param.name for param in entry.params)
            problems.append(f"{name}: no such parameter; known: {known}")
        elif (expected := illegal(param, value)) is not None:
            problems.append(f"{name}: must be {expected}, got {value!r}")
    return problems


def illegal(param: Param, value: object) -> str | None:
    """What `value` should have been, or None where it is legal."""
    if param.choices:
        return None if value in param.choices else "one of " + ", ".join(map(str, param.choices))
    if isinstance(param.default, str):
        return None if isinstance(value, str) and value else "a text that is not empty"
    if param.is_whole:
        if isinstance(value, bool) or not isinstance(value, int):
            return "a whole number"
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        return "a number"
    return None if math.isfinite(value) and param.holds(value) else limits(param)


def limits(param: Param) -> str:
    """The hard limits of a number, in words: "a finite number > 0"."""
    return f"{'a whole number' if param.is_whole else 'a finite number'}{param.limits()}"
