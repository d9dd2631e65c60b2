"""What UE and Rob an ideal model gets, on few rows and on many. Run: `python bench/ideal_model.py`.

An ideal model is a second gold model: it never saw the forget rows either, and differs from gold by chance. Its scores
are drawn here from gold's own distribution, each row apart from gold's (the worst case) or with what two trainings of
one model share (`--shared`). The table in docs/reading_the_report.md comes from this script.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unlearn_sweep.evaluators.objectives.forgetting import unlearning_effectiveness
from unlearn_sweep.evaluators.objectives.robustness import attack_score
from unlearn_sweep.evaluators.scores import AttackTables
from unlearn_sweep.evaluators.split_metrics import SPLIT_METRICS

ROWS = (6, 20, 100, 400)
ALL = ("probability", "rouge", *(name for name in SPLIT_METRICS if name != "judge_worst_context"))
TOGETHER = (
    ("probability", "forget_quality"),
    ("probability", "rouge", "forget_quality", "mia_min_k_auc", "privleak"),
)
SHIFT = {"log_truth_ratio": -1.5}
"""How far the original lies from gold, in standard deviations; `LEARNT` where nothing else is said."""
LEARNT = -2.5
MEMBERSHIP = ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus", "mia_gradnorm")
PUBLISHED = ("mia_min_k_ou", "mia_min_k_plus_plus_ou", "mia_gradnorm_ou")
SCORES = ("log_truth_ratio", *MEMBERSHIP, *PUBLISHED)
SHARES = {"probability": (0.2, 0.95), "rouge": (0.3, 0.95)}
"""Row means of gold and original, in [0, 1]."""
CONTAINED = (0.1, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Three models on the same rows. `shared` is the correlation of a row's scores between gold and the ideal model."""

    unlearned: pd.DataFrame
    original: pd.DataFrame
    gold: pd.DataFrame


def draw_world(rows: int, *, shared: float, draw: np.random.Generator) -> World:
    """Tables of `rows` forget rows and as many that no model saw."""
    common = draw.normal(size=(2 * rows, len(SCORES) + len(SHARES) + 1))

    def model(learnt: bool) -> pd.DataFrame:
        own = draw.normal(size=common.shape)
        return _table(rows, np.sqrt(shared) * common + np.sqrt(1 - shared) * own, learnt=learnt)

    gold, original, ideal = model(False), model(True), model(False)
    return World(unlearned=ideal, original=original, gold=gold)


def _table(rows: int, noise: np.ndarray, *, learnt: bool) -> pd.DataFrame:
    forget = np.arange(2 * rows) < rows
    columns: dict[str, np.ndarray] = {}
    for place, name in enumerate(SCORES):
        columns[name] = noise[:, place] + (SHIFT.get(name, LEARNT) if learnt else 0.0) * forget
    for place, (name, (low, high)) in enumerate(SHARES.items(), start=len(SCORES)):
        columns[name] = np.clip((high if learnt else low) + 0.15 * noise[:, place], 0, 1)
    given_away = (noise[:, -1] > -1.2816 if learnt else noise[:, -1] > 1.2816).astype(float)
    names = [f"{'forget' if inside else 'holdout'}/{place}" for place, inside in enumerate(forget)]
    return pd.DataFrame(
        {
            "row_id": names,
            "group_id": names,
            "fact_id": names,
            "split": np.where(forget, "forget", "holdout"),
            "form": "trained",
            "kind": "question",
            "answer_contained": given_away,
            "judge_accuracy": given_away,
            **columns,
        }
    )


def effectiveness(world: World, metrics: Sequence[str], seed: int) -> float | None:
    return unlearning_effectiveness(world.unlearned, world.original, world.gold, metrics, seed=seed).value


def robustness_of(world: World, metrics: Sequence[str], seed: int) -> float | None:
    """Still forgotten under an attack of two strengths that changes nothing."""
    points = [
        AttackTables(
            strength=strength, unit="steps", unlearned=world.unlearned, original=world.original, gold=world.gold
        )
        for strength in (1.0, 2.0)
    ]
    return attack_score(points, metrics, seed=seed).value


def values(
    metrics: Sequence[str], rows: int, *, shared: float = 0.0, worlds: int = 100, seed: int = 0, attacked: bool = False
) -> list[float | None]:
    """UE (or one attack's part of Rob) of an ideal model in each of `worlds` draws; None where it has no value."""
    draw = np.random.default_rng(seed)
    measure = robustness_of if attacked else effectiveness
    return [measure(draw_world(rows, shared=shared, draw=draw), metrics, world) for world in range(worlds)]


def lines(worlds: int, shared: float) -> Iterator[str]:
    """A Markdown table: median, a tenth of the models below, share at 0 and without a value, by number of rows."""
    yield f"| metrics | {' | '.join(f'{rows} rows' for rows in ROWS)} |"
    yield f"| --- |{' --- |' * len(ROWS)}"
    for metrics in (*((name,) for name in ALL), *TOGETHER):
        cells = [summary(values(metrics, rows, shared=shared, worlds=worlds)) for rows in ROWS]
        yield f"| `{'` `'.join(metrics)}` | {' | '.join(cells)} |"


def summary(found: Sequence[float | None]) -> str:
    known = [value for value in found if value is not None]
    none = f", none {1 - len(known) / len(found):.0%}" if len(known) < len(found) else ""
    if not known:
        return "no value"
    zeros = f", zero {known.count(0.0) / len(found):.0%}" if 0.0 in known else ""
    return f"{np.median(known):.2f} ({np.quantile(known, 0.1):.2f}){zeros}{none}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=200, help="draws of each cell")
    parser.add_argument("--shared", type=float, default=0.0, help="correlation of the ideal model's rows with gold's")
    given = parser.parse_args()
    for line in lines(given.worlds, given.shared):
        print(line, flush=True)


if __name__ == "__main__":
    main()
