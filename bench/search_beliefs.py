"""What a belief is worth to a search: `search: {prior: ...}` replayed over a recorded sweep (bench/search_replay.py).

    python bench/search_beliefs.py

Every other trial of each method is the recorded sweep, the rest another one that a user knows. Beliefs of each
method: none; the published defaults that lie in its ranges; the best setting of the other sweep; and a misleading
one, the worst of the same. Best: highest harmonic mean of UE, UT and Rob. Prints the median hypervolume over seeds
after some trials, as a share of that of all trials of the recorded half.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from recorded_search import VARIANTS, replay
from recorded_table import TABLE, Problem, halves, read_problem, whole_volume

from unlearn_sweep.engine.search_settings import Configuration, LearntTrial
from unlearn_sweep.engine.search_space import holds
from unlearn_sweep.engine.study.front import REFERENCE_POINT
from unlearn_sweep.evaluators.front import hypervolume_curve
from unlearn_sweep.methods.catalog import defaults

AFTER = (8, 16, 24, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--samplers", nargs="+", default=("tpe", "tpe-free"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=64)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem, other = halves(read_problem(options.table))
    beliefs = {
        "none": [],
        "published defaults": published(problem),
        "best of the other half": chosen(other, max),
        "worst of the other half": chosen(other, min),
    }
    after = [count for count in AFTER if count <= options.trials]
    print("| sampler | belief | " + " | ".join(f"{count} trials" for count in after) + " | seconds |")
    print("| --- " * (len(after) + 3) + "|")
    for sampler in options.samplers:
        for name, believed in beliefs.items():
            print(f"| {sampler} | {name} | {' | '.join(row(problem, sampler, believed, options, after))} |", flush=True)


def row(
    problem: Problem, sampler: str, believed: list[Configuration], options: argparse.Namespace, after: list[int]
) -> list[str]:
    runs, seconds, most = [], [], whole_volume(problem)
    for seed in range(1, options.seeds + 1):
        steps = replay(problem, sampler, VARIANTS["pruned"], seed=seed, trials=options.trials, beliefs=believed)
        runs.append(hypervolume_curve([point or REFERENCE_POINT for _, point in steps], REFERENCE_POINT))
        seconds.append(steps[-1][0])
    shares = [statistics.median(run[count - 1] for run in runs) / most for count in after]
    return [*(f"{share:.3f}" for share in shares), f"{statistics.median(seconds):.0f}"]


def published(problem: Problem) -> list[Configuration]:
    """The defaults of each method's card, as far as they lie in its ranges."""
    found = []
    for space in problem.job.spaces:
        known = defaults(space.method)
        inside = {
            name: known[name]
            for name, dimension in space.searched().items()
            if name in known and holds(dimension, known[name])
        }
        found.append(Configuration(method=space.method, params=inside))
    return [belief for belief in found if belief.params]


def chosen(trials: Sequence[LearntTrial], choose: Callable[..., LearntTrial]) -> list[Configuration]:
    """The setting of each method with the highest, or the lowest, harmonic mean of its objectives."""

    def balance(trial: LearntTrial) -> float:
        values = None if trial.values is None else list(trial.values.values())
        return 0.0 if values is None or min(values) <= 0 else statistics.harmonic_mean(values)

    methods = dict.fromkeys(trial.method for trial in trials)
    found = (choose((trial for trial in trials if trial.method == method), key=balance) for method in methods)
    return [Configuration(method=trial.method, params=trial.params) for trial in found]


if __name__ == "__main__":
    main()
