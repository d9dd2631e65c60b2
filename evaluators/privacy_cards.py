"""The metric table, membership: was this text trained on, and can that be seen?"""

from __future__ import annotations

from dataclasses import replace

from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.metric_cards import MUSE, OPEN_UNLEARNING

PRIVACY_CARDS = (
    MetricCard(
        name="mia_loss",
        summary="How unlike a training text does it look? Mean negative log-likelihood per token.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="nats per token",
        source="Yeom et al. 2018",
        range=(0.0, None),
        better_on_forget="gold",
        has_floor=False,
    ),
    MetricCard(
        name="mia_zlib",
        summary="How unlike a training text does it look? Mean negative log-likelihood over its compressed size.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="nats per token and byte",
        source="Carlini et al. 2021 (arXiv 2012.07805)",
        range=(0.0, None),
        better_on_forget="gold",
        has_floor=False,
    ),
    MetricCard(
        name="mia_min_k",
        summary="How unlike a training text does it look? Mean over the 40% least likely tokens.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="nats per token",
        source="Shi et al. 2023 (arXiv 2310.16789)",
        range=(0.0, None),
        better_on_forget="gold",
        has_floor=False,
    ),
    MetricCard(
        name="mia_min_k_plus_plus",
        summary="How unlike a training text does it look? The same of standardised log-probabilities.",
        group="privacy",
        serves=("ue",),
        needs="moments",
        unit="standard deviations",
        source="Zhang et al. 2024 (arXiv 2404.02936)",
        range=(None, None),
        better_on_forget="gold",
        has_floor=False,
    ),
    MetricCard(
        name="mia_gradnorm",
        summary="How unlike a training text does it look? Norm of the loss gradient.",
        group="privacy",
        serves=("ue",),
        needs="gradient",
        unit="norm",
        source="Wang et al. 2024 (arXiv 2402.17012)",
        range=(0.0, None),
        better_on_forget="gold",
        has_floor=False,
    ),
    MetricCard(
        name="mia_loss_auc",
        summary="Can forget texts be told from unseen ones by `mia_loss`? 1: all of them, 0.5: none.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="area under the curve",
        source=OPEN_UNLEARNING,
        better_on_forget="gold",
        chance=0.5,
    ),
    MetricCard(
        name="mia_zlib_auc",
        summary="Can forget texts be told from unseen ones by `mia_zlib`? 1: all of them, 0.5: none.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="area under the curve",
        source=OPEN_UNLEARNING,
        better_on_forget="gold",
        chance=0.5,
    ),
    MetricCard(
        name="mia_min_k_auc",
        summary="Can forget texts be told from unseen ones by `mia_min_k`? 1: all of them, 0.5: none.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="area under the curve",
        source=OPEN_UNLEARNING,
        better_on_forget="gold",
        chance=0.5,
    ),
    MetricCard(
        name="mia_min_k_plus_plus_auc",
        summary="Can forget texts be told from unseen ones by `mia_min_k_plus_plus`? 1: all of them, 0.5: none.",
        group="privacy",
        serves=("ue",),
        needs="moments",
        unit="area under the curve",
        source=OPEN_UNLEARNING,
        better_on_forget="gold",
        chance=0.5,
    ),
    MetricCard(
        name="mia_gradnorm_auc",
        summary="Can forget texts be told from unseen ones by `mia_gradnorm`? 1: all of them, 0.5: none.",
        group="privacy",
        serves=("ue",),
        needs="gradient",
        unit="area under the curve",
        source=OPEN_UNLEARNING,
        better_on_forget="gold",
        chance=0.5,
    ),
    MetricCard(
        name="mia_reference_auc",
        summary="Can forget texts be told from unseen ones by the loss beyond gold's own? 1: all of them, 0.5: none.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="area under the curve",
        source=OPEN_UNLEARNING,
        better_on_forget="gold",
        chance=0.5,
        has_floor=False,
    ),
    MetricCard(
        name="privleak",
        summary="MUSE's privacy leakage: how far the area under Min-K's curve is from gold's; 0 best, -100 all leaks.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="percent",
        source=MUSE,
        range=(-100.0, None),
        better_on_forget="gold",
        has_floor=False,
    ),
)
"""Membership: from token probabilities, against texts that no model saw."""

_OWN = f"{OPEN_UNLEARNING}: to lay a number beside a published one"


def _as_published(name: str, summary: str) -> tuple[MetricCard, MetricCard]:
    """The twins of a per-row metric and of its area under the curve, as open-unlearning computes them."""
    by_name = {card.name: card for card in PRIVACY_CARDS}
    row, area = by_name[name], by_name[f"{name}_auc"]
    curve = f"Can forget texts be told from unseen ones by `{name}_ou`? 1: all of them, 0.5: none."
    return (
        replace(row, name=f"{name}_ou", summary=summary, source=_OWN),
        replace(area, name=f"{name}_ou_auc", summary=curve, source=_OWN),
    )


PUBLISHED_PRIVACY_CARDS = (
    *_as_published("mia_zlib", "As `mia_zlib`, of the text with the blank that stands before an answer."),
    *_as_published("mia_min_k", "As `mia_min_k`, without the token that ends the text."),
    *_as_published("mia_min_k_plus_plus", "As `mia_min_k_plus_plus`, without the token that ends the text."),
    *_as_published(
        "mia_gradnorm",
        "Mean over weights of the norm of the loss gradient, without the token that ends the text.",
    ),
)
