"""Compare searches over a recorded sweep, in minutes and without training (bench/search_record.py made the table).

    python bench/search_replay.py run --rows FILE            # every sampler and variant, ten seeds each
    python bench/search_replay.py summary --rows FILE        # the table
    python bench/search_replay.py draw --rows FILE --out FILE.svg
    python bench/search_replay.py run --halfway --rows FILE  # trainings recorded half-way alone: for variant halfway
    python bench/search_replay.py learnt                     # half of the table, with and without learn_from the rest

The engine's own study proposes. A proposal is replaced by the nearest recorded trial of the same method that this run
has not had, and the study is told that trial's settings and results: no number is made up, and the search space is the
recorded trials. Nearest: least mean of squared distances over the searched parameters, each on the scale on which it is
searched; two different words are 1 apart. Seconds are the CPU seconds of the stages that the variant would have run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from recorded_search import VARIANTS, replay
from recorded_table import TABLE, Problem, halves, measured_halfway, read_problem, whole_volume
from search_stopping import Point, Regret

from unlearn_sweep.engine.study.front import REFERENCE_POINT
from unlearn_sweep.evaluators.front import hypervolume_curve

SAMPLERS = ("random", "qmc", "tpe", "nsga2", "tpe-free", "noisy", "noisy-free")
SHADES = {
    "random": "#767676", "qmc": "#009e73", "tpe": "#0072b2", "tpe-free": "#56b4e9", "nsga2": "#d55e00", "gp": "#cc79a7",
    "noisy": "#b8860b", "noisy-free": "#e69f00", "noisy-free-blind": "#000000",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "summary", "draw", "learnt"))
    parser.add_argument("--table", type=Path, default=TABLE, help="the recorded sweep")
    parser.add_argument(
        "--rows", type=Path, default=Path("replayed.jsonl"), help="JSON lines, one for each replayed run"
    )
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--variants", nargs="+", default=tuple(VARIANTS))
    parser.add_argument("--without", nargs="+", default=(), metavar="METHOD", help="methods to leave out")
    parser.add_argument("--halfway", action="store_true", help="only trainings that were recorded half-way too")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--out", type=Path, help="picture to draw: .svg or .png")
    options = parser.parse_args()
    problem = read_problem(options.table, without=options.without)
    problem = measured_halfway(problem) if options.halfway else problem
    if options.do == "learnt":
        compare_learnt(problem, options.seeds, options.trials)
    elif options.do == "run":
        run_all(problem, options)
    elif options.do == "summary":
        print_summary(read_runs(options.rows), whole_volume(problem))
        print_regret(options.rows, whole_volume(problem))
    else:
        draw(read_runs(options.rows), whole_volume(problem), options.out)


# --- many runs ------------------------------------------------------------------------------------------------------


def run_all(problem: Problem, options: argparse.Namespace) -> None:
    """Append a line to the file for each run that is not in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    there = set(read_runs(options.rows))
    for variant in options.variants:
        for sampler in options.samplers:
            for seed in range(1, options.seeds + 1):
                if (sampler, variant, seed) in there:
                    continue
                regret = Regret()
                steps = replay(problem, sampler, VARIANTS[variant], seed=seed, trials=options.trials, regret=regret)
                volumes = hypervolume_curve([point or REFERENCE_POINT for _, point in steps], REFERENCE_POINT)
                row = {"sampler": sampler, "variant": variant, "seed": seed}
                row["seconds"] = [round(clock, 2) for clock, _ in steps]
                row["volumes"] = [round(volume, 5) for volume in volumes]
                if VARIANTS[variant].stop:
                    row["regret"] = cost_of_stopping(regret, [point for _, point in steps if point is not None])
                with options.rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def cost_of_stopping(regret: Regret, points: Sequence[Point]) -> dict[str, float | None]:
    """Trials that were stopped and that ran anyway, and the hypervolume that stopping cost: as measured, and in truth.

    As measured: what a trial that ran anyway adds, times the number of stopped trials.
    """
    each = regret.measured(points)
    measured = None if each is None else each * len(regret.stopped)
    counts = {"stopped": len(regret.stopped), "anyway": len(regret.anyway)}
    return {**counts, "measured": measured, "true": regret.true(points)}


def compare_learnt(problem: Problem, seeds: int, trials: int) -> None:
    """Print hypervolume on half of the table after some trials: random, TPE, and TPE that knows the other half."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    half, learnt = halves(problem)
    most, counts = whole_volume(half), [count for count in (4, 8, 16, 32) if count <= trials]
    for sampler, known in (("random", []), ("tpe", []), ("tpe", learnt), ("tpe-free", []), ("tpe-free", learnt)):
        runs = []
        for seed in range(1, seeds + 1):
            steps = replay(half, sampler, VARIANTS["whole"], seed=seed, trials=trials, learnt=known)
            runs.append(hypervolume_curve([point or REFERENCE_POINT for _, point in steps], REFERENCE_POINT))
        after = {count: round(statistics.median(run[count - 1] for run in runs) / most, 3) for count in counts}
        print(f"{sampler}, {len(known)} trials of another sweep known: {after}")


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds and hypervolume after each trial of one run."""

    seconds: list[float]
    volumes: list[float]

    def at(self, seconds: float) -> float:
        """Hypervolume at a time."""
        return max((v for s, v in zip(self.seconds, self.volumes, strict=True) if s <= seconds), default=0.0)


Runs = Mapping[tuple[str, str, int], Run]
"""By sampler, variant and seed."""


def read_runs(rows: Path) -> Runs:
    lines = [json.loads(text) for text in rows.read_text().splitlines()] if rows.exists() else []
    return {(row["sampler"], row["variant"], row["seed"]): Run(row["seconds"], row["volumes"]) for row in lines}


def print_summary(runs: Runs, most: float) -> None:
    """Medians over seeds, hypervolume as a share of that of all recorded trials.

    `s to random` is when the median reaches the median that random search without skipped attacks ends with; `share` is
    that over the time random search takes to its end. `at a third` and `at all` are the medians after a third of that
    time and after all of it.
    """
    base = [run for (sampler, variant, _), run in runs.items() if (sampler, variant) == ("random", "whole")]
    goal, end = statistics.median(run.volumes[-1] for run in base), statistics.median(run.seconds[-1] for run in base)
    print(f"all recorded trials: {most:.4f}; random search ends at {goal / most:.3f} of it after {end:.0f} s\n")
    print(
        "| sampler | variant | seeds | ends at | lowest | highest | s in all | trials to random | s to random | share "
        "| at a third | at all |"
    )
    print(f"| {' | '.join(12 * ['---'])} |")
    for sampler, variant in dict.fromkeys((sampler, variant) for sampler, variant, _ in runs):
        own = [run for (name, kind, _), run in runs.items() if (name, kind) == (sampler, variant)]
        ends = [run.volumes[-1] / most for run in own]
        trials, seconds = _reaches(own, goal), _seconds_to(own, goal)
        reached = "never" if seconds is None else f"{seconds:.0f}"
        share = "" if seconds is None else f"{seconds / end:.2f}"
        cells = [sampler, variant, len(own), f"{statistics.median(ends):.3f}", f"{min(ends):.3f}", f"{max(ends):.3f}"]
        cells += [f"{statistics.median(run.seconds[-1] for run in own):.0f}", trials or "never", reached, share]
        cells += [f"{statistics.median(run.at(time) for run in own) / most:.3f}" for time in (end / 3, end)]
        print(f"| {' | '.join(str(cell) for cell in cells)} |")


def print_regret(rows: Path, most: float) -> None:
    """Print what stopping trainings cost each sampler: means over seeds, hypervolume as a share of all recorded."""
    lines = [row for row in map(json.loads, rows.read_text().splitlines()) if "regret" in row]
    if not lines:
        return
    print("\n| sampler | stopped | ran anyway | cost as measured on these | cost in truth |")
    print("| --- | --- | --- | --- | --- |")
    for sampler in dict.fromkeys(row["sampler"] for row in lines):
        own = [row["regret"] for row in lines if row["sampler"] == sampler]
        means = [statistics.fmean(one[name] for one in own) for name in ("stopped", "anyway", "true")]
        known = [one["measured"] for one in own if one["measured"] is not None]
        measured = f"{statistics.fmean(known) / most:.4f}" if known else "no trial ran anyway"
        print(f"| {sampler} | {means[0]:.1f} | {means[1]:.1f} | {measured} | {means[2] / most:.4f} |")


def _reaches(own: Sequence[Run], goal: float) -> int | None:
    """After how many trials the median is at the goal."""
    shortest = min(len(run.volumes) for run in own)
    medians = [statistics.median(run.volumes[place] for run in own) for place in range(shortest)]
    return next((count for count, median in enumerate(medians, start=1) if median >= goal), None)


def _seconds_to(own: Sequence[Run], goal: float) -> float | None:
    """When the median is at the goal."""
    moments = sorted(second for run in own for second in run.seconds)
    low, high = 0, len(moments)
    while low < high:
        middle = (low + high) // 2
        reached = statistics.median(run.at(moments[middle]) for run in own) >= goal
        low, high = (low, middle) if reached else (middle + 1, high)
    return moments[low] if low < len(moments) else None


def draw(runs: Runs, most: float, out: Path) -> None:
    """Median hypervolume over seconds, as a share of that of all recorded trials: one panel for each variant."""
    from matplotlib.figure import Figure

    variants = list(dict.fromkeys(variant for _, variant, _ in runs))
    figure = Figure(figsize=(4 * len(variants), 3.6), layout="constrained")
    panels: Any = figure.subplots(1, len(variants), sharey=True, squeeze=False)[0]
    for axes, variant in zip(panels, variants, strict=True):
        for sampler in dict.fromkeys(name for name, kind, _ in runs if kind == variant):
            own = [run for (name, kind, _), run in runs.items() if (name, kind) == (sampler, variant)]
            end = statistics.median(run.seconds[-1] for run in own)
            times = [end * place / 200 for place in range(201)]
            medians = [statistics.median(run.at(time) for run in own) / most for time in times]
            axes.plot(times, medians, color=SHADES.get(sampler, "#000000"), lw=1.8, label=sampler)
        axes.set(title=variant, xlabel="CPU seconds", ylim=(0.6, 1.005))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
    panels[0].set_ylabel("hypervolume, share of all recorded")
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
