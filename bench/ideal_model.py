"""What UE and Rob an ideal model gets, and a bad one, on few rows and on many. Run: `python bench/ideal_model.py`.

An ideal model is a second gold model: it never saw the forget rows either, and differs from gold by chance. Its scores
are drawn here from gold's own distribution, each row apart from gold's (the worst case) or with what two trainings of
one model share (`--shared`). A bad model is a second original model: it has forgotten nothing. docs/ideal_model.md is
what this script prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.objectives.forgetting import unlearning_effectiveness
from unlearn_sweep.evaluators.objectives.robustness import attack_score, robustness
from unlearn_sweep.evaluators.part_metrics import WIDER
from unlearn_sweep.evaluators.probe_parts import RWKU_METRICS
from unlearn_sweep.evaluators.scores import AttackTables

ROWS = (6, 20, 100, 400)
ALL = tuple(name for name, card in METRICS.items() if "ue" in card.serves)
TOGETHER = (
    ("probability", "forget_quality"),
    ("probability", "truth_ratio", "rouge", "mia_min_k_auc"),
    ("probability", "rouge", "forget_quality", "mia_min_k_auc", "privleak"),
    ("knowmem", "verbmem", "privleak"),
    ("choice_accuracy", "answer_contained", "contained_worst"),
)
FAMILIES = ("relearn", "quantize", "prompt")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a row metric is spread over rows: means of gold and original, and the standard deviation of a row.

    "share": in [0, 1], cut there. "yes_no": 0 or 1, the means are shares of rows. "score": without bounds.
    """

    kind: Literal["share", "yes_no", "score"]
    gold: float
    original: float
    deviation: float = 0.15

    def of(self, noise: np.ndarray, *, learnt: bool) -> np.ndarray:
        """Row values [rows] for standard normal `noise` [rows]."""
        mean = self.original if learnt else self.gold
        if self.kind == "yes_no":
            return (noise < special.ndtri(mean)).astype(float)
        values = mean + self.deviation * noise
        return np.clip(values, 0, 1) if self.kind == "share" else values


SHAPES = {
    "probability": Shape("share", 0.2, 0.95),
    "paraphrase_probability": Shape("share", 0.15, 0.6),
    "exact_memorization": Shape("share", 0.45, 0.95),
    "exact_memorization_ou": Shape("share", 0.45, 0.95),
    "extraction_strength": Shape("share", 0.05, 0.8, 0.25),
    "extraction_strength_ou": Shape("share", 0.1, 0.8, 0.25),
    "truth_ratio": Shape("share", 0.4, 0.75, 0.2),
    "log_truth_ratio": Shape("score", 0.0, -1.5, 1.0),
    "rouge": Shape("share", 0.3, 0.95),
    "rouge_unstemmed": Shape("share", 0.3, 0.95),
    "rouge_rwku": Shape("share", 0.3, 0.95),
    "rouge_f1": Shape("share", 0.3, 0.95),
    "answer_kept": Shape("share", 0.3, 0.95),
    "paraphrase_rouge": Shape("share", 0.25, 0.6),
    "regurgitation": Shape("share", 0.3, 0.95),
    "exact_answer": Shape("yes_no", 0.1, 0.9),
    "knowmem": Shape("share", 0.3, 0.65, 0.35),
    "verbmem": Shape("share", 0.2, 0.6, 0.15),
    "answer_match": Shape("yes_no", 0.05, 0.9),
    "answer_contained": Shape("yes_no", 0.1, 0.9),
    "exact_match": Shape("yes_no", 0.1, 0.7),
    "answer_f1": Shape("share", 0.15, 0.7, 0.3),
    "choice_accuracy": Shape("yes_no", 0.25, 0.65),
    "choice_accuracy_norm": Shape("yes_no", 0.25, 0.65),
    "choice_probability": Shape("share", 0.25, 0.6, 0.25),
    "judge_accuracy": Shape("yes_no", 0.1, 0.9),
    "entailment": Shape("yes_no", 0.1, 0.7),
    **{name: Shape("score", 2.5, 0.0, 1.0) for name in ALL if name.startswith("mia_")},
}
"""By row metric; the levels are of the kind that TOFU, MUSE and WMDP report for their gold and original models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Three models on the same rows. `shared` is the correlation of a row's scores between gold and the ideal model."""

    unlearned: pd.DataFrame
    original: pd.DataFrame
    gold: pd.DataFrame


def columns_of(metrics: Sequence[str]) -> tuple[str, ...]:
    """The columns of a table that these metrics are computed from."""
    names = row_metrics(metrics)
    return (*names, "log_truth_ratio") if "truth_ratio" in names else names


def draw_world(
    rows: int, metrics: Sequence[str], *, shared: float, draw: np.random.Generator, learnt: frozenset[str] = frozenset()
) -> World:
    """Tables of `rows` forget rows and as many that no model saw, and, where a metric compares with them, as many that
    every model knows. The unlearned model has the metrics in `learnt` as an original has them, all others as a gold
    model.
    """
    names, wider = columns_of(metrics), bool(WIDER & set(metrics))
    common = draw.normal(size=((3 if wider else 2) * rows, len(names)))
    form = "in_context" if "judge_worst_context" in metrics else "trained"
    part = next((RWKU_METRICS[name] for name in metrics if name in RWKU_METRICS), "creative")
    kind = "text" if "mia_loss_rise" in metrics else "question"

    def model(kept: frozenset[str]) -> pd.DataFrame:
        noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * draw.normal(size=common.shape)
        return _table(names, noise, kept, rows).assign(form=form, part=part, kind=kind)

    gold, original, unlearned = (model(kept) for kept in (frozenset(), frozenset(names), learnt))
    return World(unlearned=unlearned, original=original, gold=gold)


def _table(names: Sequence[str], noise: np.ndarray, learnt: frozenset[str], rows: int) -> pd.DataFrame:
    split = np.array(["forget", "holdout", "retain"])[np.arange(len(noise)) // rows]

    def column(name: str, drawn: np.ndarray) -> np.ndarray:
        as_known, as_unseen = (SHAPES[name].of(drawn, learnt=known) for known in (True, False))
        known = (split == "retain") | ((split == "forget") & (name in learnt))
        return np.where(known, as_known, as_unseen)

    columns = {name: column(name, noise[:, place]) for place, name in enumerate(names)}
    ids = [f"{name}/{place}" for place, name in enumerate(split)]
    return pd.DataFrame({"row_id": ids, "group_id": ids, "fact_id": ids, "split": split, **columns})


def effectiveness(world: World, metrics: Sequence[str], seed: int) -> float | None:
    return unlearning_effectiveness(world.unlearned, world.original, world.gold, metrics, seed=seed).value


def robustness_of(worlds: Sequence[World], metrics: Sequence[str], seed: int) -> float | None:
    """Rob under one attack of each family, each of two strengths that change nothing but the draw of the rows."""
    scores: dict[str, float | None] = {}
    for family, pair in zip(FAMILIES, zip(worlds[::2], worlds[1::2], strict=True), strict=True):
        points = [
            AttackTables(strength=place, unit="steps", unlearned=at.unlearned, original=at.original, gold=at.gold)
            for place, at in enumerate(pair, start=1)
        ]
        scores[family] = attack_score(points, metrics, seed=seed).value
    return robustness(scores, {family: family for family in FAMILIES}).value


def values(
    metrics: Sequence[str],
    rows: int,
    *,
    shared: float = 0.0,
    worlds: int = 100,
    seed: int = 0,
    attacked: bool = False,
    learnt: frozenset[str] = frozenset(),
) -> list[float | None]:
    """UE (or Rob) of an ideal model, or of one that kept `learnt`, in each of `worlds` draws; None: it has no value."""
    draw = np.random.default_rng(seed)

    def one(world: int) -> float | None:
        found = [
            draw_world(rows, metrics, shared=shared, draw=draw, learnt=learnt)
            for _ in range(2 * len(FAMILIES) if attacked else 1)
        ]
        return robustness_of(found, metrics, world) if attacked else effectiveness(found[0], metrics, world)

    return [one(world) for world in range(worlds)]


def kept_beside(metric: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """A list of two groups, and the columns of `metric`: what a model keeps that has unlearned by the other alone."""
    other = "rouge" if METRICS[metric].group == "memorisation" else "probability"
    return (other, metric), frozenset(columns_of([metric])) - {other}


def summary(found: Sequence[float | None], outer: float) -> str:
    """Median, the `outer` quantile in brackets, the share at 0 and the share without a value."""
    known = [value for value in found if value is not None]
    none = f", none {1 - len(known) / len(found):.0%}" if len(known) < len(found) else ""
    if not known:
        return "no value"
    zeros = f", zero {known.count(0.0) / len(found):.0%}" if 0.0 in known else ""
    return f"{np.median(known):.2f} ({np.quantile(known, outer):.2f}){zeros}{none}"


def table(lists: Sequence[tuple[str, ...]], cell: Callable[[tuple[str, ...], int], str]) -> Iterator[str]:
    yield f"| metrics | {' | '.join(f'{rows} rows' for rows in ROWS)} |"
    yield f"| --- |{' --- |' * len(ROWS)}"
    for metrics in lists:
        yield f"| `{'` `'.join(metrics)}` | {' | '.join(cell(metrics, rows) for rows in ROWS)} |"
    yield ""


def page(worlds: int, shared: float) -> Iterator[str]:
    """The whole of docs/ideal_model.md."""
    lists = (*((name,) for name in ALL), *TOGETHER)
    yield PREFACE.format(worlds=worlds, shared=f"{shared:g}")
    yield "## UE of an ideal model\n"
    yield from table(lists, lambda metrics, rows: summary(values(metrics, rows, shared=shared, worlds=worlds), 0.1))
    yield ROB
    yield from table(
        lists,
        lambda metrics, rows: summary(values(metrics, rows, shared=shared, worlds=worlds // 2, attacked=True), 0.1),
    )
    yield BAD

    def bad(metrics: tuple[str, ...], rows: int) -> str:
        together, learnt = kept_beside(metrics[0])
        return summary(values(together, rows, shared=shared, worlds=worlds, learnt=learnt), 0.9)

    yield from table([(name,) for name in ALL], bad)


PREFACE = """# An ideal model, and a bad one, by the number of rows

Printed by `python bench/ideal_model.py > docs/ideal_model.md`; do not edit.

A model that has forgotten as gold never knew differs from gold by chance, and on few rows chance is large. So does a
model that has forgotten nothing differ from the original. Both are simulated here: the ideal model is a second draw
from gold's distribution, the bad one a second draw from the original's, with a correlation of {shared} between the rows
of two models. At 0 a row's score in one model says nothing of it in another, the worst case. {worlds} draws of UE,
half as many of Rob. Rows are those of one half; of metrics that need texts no model saw there are as many again.

What is done against chance, in the order in which it acts:

1. Original and gold have to lie two bootstrap standard deviations apart, else the metric has no value (`none`).
2. A metric over whole splits has gold's anchor from two draws of gold's rows, since gold compared with itself is
   perfect without any spread.
3. UE is a harmonic mean over groups of metrics, and one group at 0 makes it 0. With `noise` for the standard deviation
   of a group's score and `t` for Student's t of 1% for that many facts, a group counts as no less than
   `t * noise - 1`, at least 0 and at most `noise`, times the mean of the other groups. Where it is 0, chance alone does
   not take a model from 1 to 0, and a 0 is a 0.
4. All groups at 0 are 0, and so is one metric alone: a floor only keeps one group from speaking for the others.

A cell has the median, in brackets what a tenth of the draws stay below, `zero`: the share at exactly 0, `none`: the
share without a value.
"""

ROB = """## Rob of an ideal model

One attack of each of three families, each of two strengths, that change nothing: every measurement is a draw of its
own. Rob is the minimum over families, so chance pulls it down further than UE; a strength whose anchors cannot be told
apart is left out, and a family that has none left.
"""

BAD = """## UE of a model that kept one metric

The model is gold by `probability` (`rouge` where the metric is of the group of `probability`) and the original by the
metric of the line: it has not forgotten, whatever the other metric says, and its UE should be 0. A cell has the median,
in brackets what a tenth of the draws lie above. Where original and gold cannot be told apart by the metric, the other
one is all that is left, and the model passes for one that has forgotten.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=60, help="draws of each cell")
    parser.add_argument("--shared", type=float, default=0.0, help="correlation of the rows of two models")
    given = parser.parse_args()
    for line in page(given.worlds, given.shared):
        print(line, flush=True)


if __name__ == "__main__":
    main()
