"""Small plugins as text: one method, one metric."""

from __future__ import annotations

METHOD = '''
"""A hinge on the forget tokens."""
from dataclasses import dataclass

from unlearn_sweep.methods.cards import MethodCard, Param
from unlearn_sweep.methods.interface import Needs, Step, Term
from unlearn_sweep.methods.shared_params import training
from unlearn_sweep.methods.token_losses import token_nll


@dataclass(frozen=True, slots=True, kw_only=True)
class Hinge:
    """Loss max(0, margin - NLL) a forget token."""

    margin: float = 1.0

    def needs(self) -> Needs:
        return Needs(views=("forget",))

    def terms(self, step: Step) -> tuple[Term, ...]:
        batch = step.forward("forget")
        loss = (self.margin - token_nll(batch.logits, batch.targets)).clamp(min=0)
        return (Term(name="forget", total=loss.sum(), view="forget", per="token"),)


CARD = MethodCard(
    name="hinge",
    kind="method",
    family="divergence",
    summary="a hinge",
    paper="none",
    equation="max(0, margin - NLL)",
    needs=("forget",),
    params=(*training(1e-5, (1e-6, 1e-4), 5, "none"), Param(name="margin", default=1.0, low=0, search=(0.5, 4.0))),
    target=f"{__name__}:Hinge",
    cost=0.5,
)
'''
METRIC = '''
"""Length of the answer."""
from unlearn_sweep.evaluators.cards import MetricCard


def answer_length(measured):
    return float(len(measured.row.answer))


CARDS = (
    MetricCard(
        name="answer_length",
        summary="characters of the reference answer",
        group="generation",
        serves=("ue", "ut"),
        needs="likelihood",
        source="none",
        unit="characters",
        range=(0.0, None),
        target=f"{__name__}:answer_length",
    ),
)
'''
