"""What methods that work on one layer do to keep the rest: hold that layer's retain states, or a term over logits.

embed_mse   token-mean squared distance to the original model's states at the method's own layer (RMU)
nll, kl, jsd, none  as in `methods.retain`; they need the whole forward, where embed_mse stops at the layer
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from unlearn_sweep.methods.hidden_losses import mean_squared_distance
from unlearn_sweep.methods.interface import Needs, Step, Term, Trainable
from unlearn_sweep.methods.retain import hidden_retain_term, retain_needs, retain_terms

HiddenRetain = Literal["embed_mse", "nll", "kl", "jsd", "none"]


def hidden_needs(
    kind: HiddenRetain,
    weight: float,
    *,
    layer: float,
    trainable: Trainable,
    reference_views: tuple[str, ...] = (),
) -> Needs:
    """The needs of a method over the forget states at `layer`, with those of its retain term."""
    held = kind == "embed_mse" and weight != 0
    other = retain_needs("none" if kind == "embed_mse" else kind, weight)
    views = ("forget", "retain") if held else other.views
    consulted = (*reference_views, *(("retain",) if held else other.reference_views))
    logits = "retain" in views and not held
    return replace(
        other,
        views=views,
        reference=("logits" if other.reference == "logits" else "hidden") if consulted else "none",
        reference_views=consulted,
        layers=(layer,),
        logits=logits,
        trainable=trainable,
    )


def hidden_retain_terms(kind: HiddenRetain, step: Step, weight: float) -> tuple[Term, ...]:
    """The retain term of one step; empty for "none" and for a weight of 0."""
    if kind == "embed_mse" and weight != 0:
        return (hidden_retain_term(step, step.layers(), mean_squared_distance, weight),)
    return () if kind == "embed_mse" else retain_terms(kind, step, weight)
