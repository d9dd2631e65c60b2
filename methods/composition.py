"""Methods made of parts: one with wrappers around it (`npo+sam+irm`), or two one after the other (`dpo>idk_ap`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from unlearn_sweep.methods.interface import FinalWeights, GradientWrapper, Method, Needs, Step, Term


@dataclass(frozen=True, slots=True)
class Composed:
    """A method with wrappers around it: a method itself."""

    base: Method
    wrappers: tuple[Any, ...]

    def needs(self) -> Needs:
        needs = self.base.needs()
        for wrapper in self.wrappers:
            needs = wrapper.extend(needs)
        return needs

    def terms(self, step: Step) -> tuple[Term, ...]:
        added = [term for wrapper in self._with("terms") for term in wrapper.terms(step)]
        return (*self.base.terms(step), *added)

    def after_step(self, step: Step, reduced: Mapping[str, float]) -> None:
        after = getattr(self.base, "after_step", None)
        if after is not None:
            after(step, reduced)

    @property
    def gradient_wrappers(self) -> tuple[GradientWrapper, ...]:
        return tuple(self._with("reshape"))

    def _with(self, ability: str) -> Iterator[Any]:
        return (wrapper for wrapper in self.wrappers if hasattr(wrapper, ability))


@dataclass(frozen=True, slots=True)
class Phased:
    """Two methods one after the other, in one training with one schedule and one optimizer: the second takes over at
    the share `switch_at` of the steps.
    """

    first: Method
    second: Method
    switch_at: float

    def __post_init__(self) -> None:
        for phase in (self.first, self.second):
            final = final_weights(phase)
            if final is not None:
                raise ValueError(f"{type(final).__name__} makes the kept weights from the whole training: no phase can")
            needs = phase.needs()
            if needs.adversary is not None or needs.average is not None:
                raise ValueError("an adversary or a mean of the weights is for the whole training: no phase can")

    def at(self, progress: float) -> Method:
        """The method of a step, by the share of steps behind it."""
        return self.first if progress < self.switch_at else self.second

    def needs(self) -> Needs:
        """What both need together: what is loaded. A step is given the needs of its own method."""
        return together(self.first.needs(), self.second.needs())

    def terms(self, step: Step) -> Sequence[Term]:
        return self.at(step.progress).terms(step)

    def after_step(self, step: Step, reduced: Mapping[str, float]) -> None:
        after = getattr(self.at(step.progress), "after_step", None)
        if after is not None:
            after(step, reduced)

    @property
    def gradient_wrappers(self) -> tuple[GradientWrapper, ...]:
        return ()


def final_weights(method: Method) -> FinalWeights | None:
    """What makes the kept weights once training is over: the method, or the one inside its wrappers; None for most.

    Every driver of a training asks this and never the method itself, so that no wrapper hides it.
    """
    inside = method.base if isinstance(method, Composed) else method
    return cast("FinalWeights", inside) if hasattr(inside, "final") else None


def together(first: Needs, second: Needs) -> Needs:
    """Needs that serve two methods.

    Raises:
        ValueError: they train other weights, or read hidden states of other layers: one training cannot do both.
    """
    if (first.trainable, first.layers, first.logits) != (second.trainable, second.layers, second.logits):
        raise ValueError("phases that read other layers or train other weights cannot share a training")
    kinds = {needs.reference for needs in (first, second)} - {"none"}
    return replace(
        first,
        views=tuple(dict.fromkeys((*first.views, *second.views))),
        reference=kinds.pop() if len(kinds) == 1 else "logits" if kinds else "none",
        reference_views=tuple(dict.fromkeys((*first.reference_views, *second.reference_views))),
        padded=tuple(dict.fromkeys((*first.padded, *second.padded))),
        subject_change=first.subject_change or second.subject_change,
        rows_a_step=tuple(dict.fromkeys((*first.rows_a_step, *second.rows_a_step))),
        teacher="reinforced" if "reinforced" in (first.teacher, second.teacher) else "none",
        gradients="grouped" if "grouped" in (first.gradients, second.gradients) else "single",
        state=first.state or second.state,
    )
