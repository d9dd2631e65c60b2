"""Which measurement of a sweep answers to which published number: one card for each paper of `sweeps/papers/`.

A card says which rows of `papers.csv` belong to the file, which method or control of the sweep is which published line,
and how each printed metric is read from the rows that a sweep measured. Pure data; loads neither torch nor pandas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Scalar = float | int | str | bool
Form = Literal["value", "loss", "nearness"]
"""What is averaged over rows: the metric; minus its logarithm; or min(TR, 1 / TR) of the truth ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a printed metric is read from a sweep.

    Attributes:
        metric: name in `evaluators.catalog`.
        split: split of the rows; "utility" for all utility splits together.
        rows: beginning of the row ids that count; "" for all rows of the split.
        form: what is averaged over the rows of a metric with one value a row.
        attack: label of the attack; "" for the model before any attack.
        strength: strength of the attack; None for its last one.
        scale: factor from the metric's unit to the printed one.
        differs: why the two numbers do not measure the same, although settings agree; "" where they do.
    """

    metric: str
    split: str = "forget"
    rows: str = ""
    form: Form = "value"
    attack: str = ""
    strength: float | None = None
    scale: float = 1.0
    differs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanOf:
    """The mean over groups of the mean over the readings of a group."""

    groups: tuple[tuple[Reading, ...], ...]

    @property
    def readings(self) -> tuple[Reading, ...]:
        return tuple(reading for group in self.groups for reading in group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The model of the sweep behind a published line: a method with some of its values, or a control."""

    model: Literal["trial", "original", "gold"] = "trial"
    method: str = ""
    params: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperCard:
    """One file of `sweeps/papers/` and its published numbers.

    Attributes:
        name: name of the file.
        paper, benchmark, model: of the rows of `papers.csv` that the file answers to.
        lines: model of the sweep by published method; a published method without one is not run by the file.
        readings: reading by published metric.
        judge: part of the name of the judge that the paper asked; "" if none.
        unknown: setting that the paper does not print, so that no line of it can be run exactly; "" if none.
        superficial: whether the paper looks at superficial forgetting, which is then reported for every line.
    """

    name: str
    paper: str
    benchmark: str
    model: str
    lines: Mapping[str, Line]
    readings: Mapping[str, Reading | MeanOf]
    judge: str = ""
    unknown: str = ""
    superficial: bool = False


ORIGINAL, GOLD = Line(model="original"), Line(model="gold")


def _runs(method: str, **params: Scalar) -> Line:
    return Line(method=method, params=params)


PERCENT = 100.0
MMLU = Reading(metric="lm_eval", split="task:mmlu")
CHOICES = (MMLU, Reading(metric="lm_eval", split="task:truthfulqa_mc1"), Reading(metric="lm_eval", split="task:mathqa"))
WRITTEN = (Reading(metric="lm_eval", split="task:ifeval"), Reading(metric="lm_eval", split="task:gsm8k"))
OUR_CLASSIFIER = "the entailment model, its template and demonstrations are not printed in the paper"
ONE_A_CALL = "one answer a call, as it was generated; the paper sends 48 lower-cased answers a call"
OUR_PRIVLEAK = "areas under the curve over all held-out texts, gold measured here"


def _full_stack() -> dict[str, Reading | MeanOf]:
    """UE and UT of the Full-Stack table, before and after its weight attacks."""
    found: dict[str, Reading | MeanOf] = {
        "UE_MCQ": Reading(metric="choice_accuracy"),
        "UE_OpenQA": Reading(metric="entailment", differs=OUR_CLASSIFIER),
        "MMLU": MMLU,
        "TruthfulQA": CHOICES[1],
        "MathQA": CHOICES[2],
        "IFEval": WRITTEN[0],
        "GSM8K": WRITTEN[1],
        "UT_avg": MeanOf(groups=(CHOICES, WRITTEN)),
        "UE_MCQ after relearning": Reading(metric="choice_accuracy", attack="relearn"),
        "UE_MCQ at full": Reading(metric="choice_accuracy"),
        "MMLU at full": MMLU,
    }
    for task, label in (("GSM8K", "gsm8k"), ("SST2", "sst2"), ("MNLI", "mnli")):
        attack = f"finetune-{label}"
        found[f"UE_MCQ after fine-tuning on {task}"] = Reading(metric="choice_accuracy", attack=attack)
        found[f"UE_OpenQA after fine-tuning on {task}"] = Reading(
            metric="entailment", attack=attack, differs=OUR_CLASSIFIER
        )
    for bits in (8, 4):
        strength = float(bits)
        found[f"UE_MCQ at {bits} bit"] = Reading(metric="choice_accuracy", attack="quantize", strength=strength)
        found[f"MMLU at {bits} bit"] = Reading(
            metric="lm_eval", split="task:mmlu", attack="quantize", strength=strength
        )
    return found


def _rwku() -> dict[str, Reading | MeanOf]:
    """RWKU's columns. Its levels are told by the ids of the rows."""
    levels = {"fill-in-blank": "forget/level1/", "question-answer": "forget/level2/", "adversarial": "forget/level3/"}
    found: dict[str, Reading | MeanOf] = {
        f"forget {name}": Reading(metric="rouge_rwku", rows=rows, scale=PERCENT) for name, rows in levels.items()
    }
    return found | {
        "forget all": Reading(metric="rouge_rwku", scale=PERCENT),
        "neighbour all": Reading(metric="rouge_rwku", split="neighbor", scale=PERCENT),
        "MIA forget (FM)": Reading(metric="probability", rows="mia_forget/", form="loss", scale=PERCENT),
        "MIA retain (RM)": Reading(metric="probability", split="mia_retain", form="loss", scale=PERCENT),
        "general": Reading(metric="choice_accuracy", split="general", scale=PERCENT),
        "reasoning": Reading(metric="exact_match", split="reasoning", scale=PERCENT),
        "truthfulness": Reading(metric="choice_accuracy", split="truthfulness", scale=PERCENT),
        "factuality": Reading(metric="answer_f1", split="factuality", scale=PERCENT),
        "fluency": Reading(metric="ngram_entropy", split="fluency"),
    }


PAPER_CARDS: tuple[PaperCard, ...] = (
    PaperCard(
        name="jensun",
        paper="JensUn 2509.02820",
        benchmark="LKF",
        model="Llama-3.2-3B-Instruct",
        judge="gemini-2.5-flash",
        lines={
            "Original": ORIGINAL,
            "GradAscent": _runs("grad_ascent"),
            "DPO": _runs("dpo"),
            "NPO": _runs("npo"),
            "GradDiff": _runs("graddiff"),
            "RMU": _runs("rmu"),
            "JensUn": _runs("jensun", target="No idea"),
        },
        readings={
            "J_W, worst-case forget accuracy": Reading(metric="judge_worst", scale=PERCENT, differs=ONE_A_CALL),
            "quality win rate": Reading(
                metric="win_rate", split="fluency", differs="the judge compares in both orders and may call a tie"
            ),
        },
    ),
    PaperCard(
        name="gao",
        paper="GAO (Zhong et al. 2025)",
        benchmark="TOFU forget05",
        model="Qwen3-1.7B",
        judge="qwen-max-2025-01-25",
        superficial=True,
        lines={
            "Original": ORIGINAL,
            "Retain": GOLD,
            "GAO": _runs("npo+gao"),
            "NPO": _runs("npo"),
            "GradAscent": _runs("grad_ascent"),
            "GradDiff": _runs("graddiff"),
            "DPO": _runs("dpo"),
            "RMU": _runs("rmu"),
        },
        readings={},
    ),
    PaperCard(
        name="full_stack",
        paper="Full-Stack 2510.07626",
        benchmark="WMDP-Bio",
        model="Llama-3-8B-Instruct",
        unknown="the paper prints ranges of its learning rates and weights, and no chosen values",
        lines={
            "Original": ORIGINAL,
            "GradDiff": _runs("graddiff"),
            "NPO": _runs("npo"),
            "SimNPO": _runs("simnpo"),
            "RMU": _runs("rmu"),
            "RR": _runs("rr"),
            "ELM": _runs("elm"),
            "DPO": _runs("dpo"),
            "IDK+AP": _runs("idk_ap"),
            "NPO+SAM": _runs("npo+sam"),
            "NPO+IRM": _runs("npo+irm"),
            "RMU+LAT": _runs("rmu+lat"),
            "TAR": _runs("rmu+tar"),
        },
        readings=_full_stack(),
    ),
    PaperCard(
        name="open_unlearning_tofu",
        paper="open-unlearning docs/repro.md",
        benchmark="TOFU forget10",
        model="Llama-3.2-1B-Instruct",
        lines={
            "Finetuned": ORIGINAL,
            "Retain": GOLD,
            "GradAscent": _runs("grad_ascent"),
            "GradDiff": _runs("graddiff"),
            "IdkDPO": _runs("dpo"),
            "NPO": _runs("npo"),
            "SimNPO": _runs("simnpo"),
            "RMU": _runs("rmu"),
        },
        readings={
            "forget quality (KS p)": Reading(metric="forget_quality_p"),
            "model utility": Reading(metric="model_utility", split="utility"),
            "forget truth ratio": Reading(metric="truth_ratio", form="nearness"),
        },
    ),
    PaperCard(
        name="muse",
        paper="MUSE 2407.06460",
        benchmark="MUSE-News",
        model="Llama-2-7B",
        lines={
            "Target": ORIGINAL,
            "Retrain": GOLD,
            "GA": _runs("grad_ascent"),
            "GA_GDR": _runs("graddiff", retain="nll"),
            "GA_KLR": _runs("graddiff", retain="kl"),
            "NPO": _runs("npo", retain="none"),
            "NPO_GDR": _runs("npo", retain="nll"),
            "NPO_KLR": _runs("npo", retain="kl"),
            "Task Vector": _runs("task_vector"),
            "WHP": _runs("whp"),
        },
        readings={
            "VerbMem forget": Reading(metric="verbmem", scale=PERCENT),
            "KnowMem forget": Reading(metric="knowmem", scale=PERCENT),
            "KnowMem retain": Reading(metric="knowmem", split="retain", scale=PERCENT),
            "PrivLeak": Reading(metric="privleak", differs=OUR_PRIVLEAK),
        },
    ),
    PaperCard(
        name="rwku",
        paper="RWKU 2406.10890",
        benchmark="RWKU",
        model="Llama-3-8B-Instruct",
        unknown="the table is the mean over 100 targets, one model each, trained on texts that the model wrote",
        lines={
            "Original": ORIGINAL,
            "GA full": _runs("grad_ascent"),
            "DPO full": _runs("dpo"),
            "NPO full": _runs("npo"),
            "RT full": _runs("idk"),
        },
        readings=_rwku(),
    ),
)


def paper_card(name: str) -> PaperCard | None:
    """Return the card of a file, None if no file has this name."""
    return next((card for card in PAPER_CARDS if card.name == name), None)
