"""TOFU's metrics in two measuring workers against one process: `python bench/speed_workers.py --tofu DIR`.

One thread a process. "Ours" is the CPU time of the busier process, which is what two free cores would take; the notes
have the seconds of the clock of both ways, and the load, on which they depend. The tables must be equal to the bit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from side_by_side import Result, options, show, world

from unlearn_sweep.engine.measuring.messages import StoredModel
from unlearn_sweep.engine.measuring.shared_models import SharedModels
from unlearn_sweep.engine.models.loading import load_tokenizer
from unlearn_sweep.evaluators.evaluate import evaluate_rows

LIKELIHOOD = (
    *("probability", "truth_ratio", "exact_memorization_ou", "extraction_strength_ou"),
    *("mia_loss", "mia_zlib_ou", "mia_min_k_ou", "mia_min_k_plus_plus_ou"),
)
LINES = {"TOFU likelihood metrics and MIA": LIKELIHOOD, "TOFU's metrics with ROUGE": (*LIKELIHOOD, "rouge")}
NEW_TOKENS = 48


def main() -> None:
    given = options(__doc__).parse_args()
    with world(given) as made:
        shared_models, tokenizer = SharedModels(), load_tokenizer(made.model)
        source = StoredModel(path=made.model, dtype="auto", attention="auto")
        model = shared_models.load(source, 2)
        template = made.benchmark.template
        rows = made.benchmark.evaluation["forget"][: given.rows]

        def table(metrics: tuple[str, ...]) -> pd.DataFrame:
            return evaluate_rows(
                model, tokenizer, rows, metrics=metrics, template=template, max_new_tokens=NEW_TOKENS
            ).table

        results: list[Result] = []
        with shared_models.sharing(model, 1):
            shared_models.ready()
        for name, metrics in LINES.items():
            if given.only not in name:
                continue

            def shared(metrics: tuple[str, ...] = metrics) -> pd.DataFrame:
                with shared_models.sharing(model, 1):
                    return table(metrics)

            def alone(metrics: tuple[str, ...] = metrics) -> pd.DataFrame:
                return table(metrics)

            results.append(line(f"{name}, {len(rows)} rows", given, shared_models.pids(), shared, alone))
        shared_models.close()
        show(results, given)


def line(
    name: str,
    given: argparse.Namespace,
    pids: Sequence[int],
    shared: Callable[[], pd.DataFrame],
    alone: Callable[[], pd.DataFrame],
) -> Result:
    """Time both ways in alternating pairs, after one pair that warms up.

    Raises:
        SystemExit: the tables differ in any bit.
    """
    before = os.getloadavg()[0]
    if not shared().equals(alone()):
        raise SystemExit(f"{name}: two processes and one give different tables")
    fast: list[float] = []
    slow: list[float] = []
    clock: dict[int, list[float]] = {id(fast): [], id(slow): []}
    for number in range(given.pairs):
        both = ((shared, fast), (alone, slow))
        for run, taken in both if number % 2 == 0 else both[::-1]:
            began, used = time.perf_counter(), cpu_seconds(pids)
            run()
            taken.append(max(after - first for after, first in zip(cpu_seconds(pids), used, strict=True)))
            clock[id(taken)].append(time.perf_counter() - began)
    two, one = (statistics.median(clock[id(taken)]) for taken in (fast, slow))
    notes = f"clock {two:.1f} s and {one:.1f} s; load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    return Result(name=name, ours=fast, plain=slow, difference=0.0, equal="table", aim=None, notes=notes)


def cpu_seconds(pids: Sequence[int]) -> list[float]:
    """Return the CPU seconds of this process and of others so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return [time.process_time(), *((int(own[11]) + int(own[12])) / ticks for own in fields)]


if __name__ == "__main__":
    main()
