"""The metric table, parts of a benchmark: RWKU's levels and types of probe, LUME's tasks."""

from __future__ import annotations

from unlearn_sweep.evaluators.cards import MetricCard
from unlearn_sweep.evaluators.metric_cards import RWKU
from unlearn_sweep.evaluators.probe_parts import PROBE_TYPES

LUME = "LUME (Ramakrishna et al. 2025, arXiv 2502.15097; SemEval-2025 task 4)"
LEVELS = {1: "blanks to fill in", 2: "questions", 3: "adversarial prompts of all nine types"}


def _rwku(name: str, what: str) -> MetricCard:
    """A card of `rouge_rwku` over the forget probes of one part."""
    return MetricCard(
        name=f"rwku_{name}",
        summary=f"`rouge_rwku` over RWKU's {what}, and no others.",
        group="generation",
        serves=("ue",),
        needs="generation",
        unit="share of distinct words",
        source=RWKU,
        kinds=("question",),
    )


PART_CARDS = (
    *(_rwku(f"level{level}", f"forget probes of level {level}: {what}") for level, what in LEVELS.items()),
    *(_rwku(probe, f"probes of type {probe.replace('_', ' ')}: {what}") for probe, (_, what) in PROBE_TYPES.items()),
    MetricCard(
        name="mia_loss_rise",
        summary="Does the loss of forget texts rise over the original's more than that of retain texts? Area under the "
        "curve; 0.5: the original, 1: every forget text's rises more.",
        group="privacy",
        serves=("ue",),
        needs="likelihood",
        unit="area under the curve",
        source=f"{RWKU}, FM and RM, text by text against the original model in place of two means",
        better_on_forget="higher",
        chance=1.0,
        kinds=("text",),
    ),
    MetricCard(
        name="regurgitation",
        summary="LUME's regurgitation: ROUGE-L recall of the rest of a document, stemmed.",
        group="generation",
        serves=("ue", "ut"),
        needs="generation",
        unit="share of words",
        source=LUME,
        kinds=("continuation",),
    ),
    MetricCard(
        name="exact_answer",
        summary="LUME's knowledge: is the answer the right one, letter for letter but for case and outer blanks?",
        group="generation",
        serves=("ue", "ut"),
        needs="generation",
        unit="share of rows",
        source=LUME,
        kinds=("question",),
    ),
    MetricCard(
        name="lume_forget_aggregate",
        summary="Forget side of LUME's aggregate: harmonic mean, over tasks, of 1 - regurgitation and 1 - knowledge.",
        group="generation",
        serves=("ue",),
        needs="generation",
        unit="harmonic mean",
        source=LUME,
        better_on_forget="higher",
        chance=1.0,
        kinds=("question", "continuation"),
    ),
    MetricCard(
        name="lume_task_aggregate",
        summary="LUME's task aggregate as published: harmonic mean of 1 - forget scores and of retain scores, by task.",
        group="generation",
        serves=("ue",),
        needs="generation",
        unit="harmonic mean",
        source=f"{LUME}: to lay a number beside a published one",
        better_on_forget="higher",
        chance=1.0,
        kinds=("question", "continuation"),
    ),
)
"""Numbers of parts of a benchmark, and of the parts together."""
