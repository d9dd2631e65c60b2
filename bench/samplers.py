"""How much hypervolume each sampler reaches with the same number of trials, over several seeds.

    python bench/samplers.py run --storage DIR --rows FILE     # an hour on one core; stop and start it as you like
    python bench/samplers.py summary --rows FILE               # medians, and who beats whom
    python bench/samplers.py draw --rows FILE --out FILE.svg   # curves

Real trials of bench/samplers.yaml: trained, measured and attacked in this process, one after the other, by the engine's
own driver. Every finished trial is a line of FILE. One storage serves all, so that original, gold and their attacks are
made once, and settings that two samplers both try are run once.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.study.front import REFERENCE_POINT
from unlearn_sweep.evaluators.front import hypervolume_curve

FILE = Path(__file__).with_suffix(".yaml")
SAMPLERS = ("random", "tpe")
SHADES = {"random": "#767676", "tpe": "#0072b2", "nsga2": "#d55e00", "qmc": "#009e73", "gp": "#cc79a7"}
Runs = Mapping[tuple[str, int], Sequence[float]]
"""Hypervolume after each trial, by sampler and seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "summary", "draw"))
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines, one for each finished trial")
    parser.add_argument("--storage", type=Path, help="where the sweeps are kept")
    parser.add_argument("--file", type=Path, default=FILE, help="the sweep; bench/samplers_training.yaml searches more")
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--seeds", nargs="+", type=int, default=(1, 2, 3, 4, 5))
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--out", type=Path, help="picture to draw: .svg or .png")
    options = parser.parse_args()
    if options.do == "run":
        for sampler in options.samplers:
            for seed in options.seeds:
                run(options.storage.resolve(), options.rows, sampler, seed, options.trials, options.file)
        return
    runs = read_runs(options.rows, options.trials, options.samplers, options.seeds)
    if options.do == "draw":
        draw(runs, options.out)
    else:
        print(json.dumps(summary(runs), indent=1))


def run(storage: Path, rows: Path, sampler: str, seed: int, trials: int, file: Path = FILE) -> None:
    """One sweep, or what is left of it."""
    import torch

    from unlearn_sweep.engine.driver.sweep import Driver
    from unlearn_sweep.engine.stages.attack_order import base_costs
    from unlearn_sweep.engine.stages.in_process import InProcessExecutor
    from unlearn_sweep.engine.stages.prepare import Preparation
    from unlearn_sweep.engine.stages.runner import StageRunner
    from unlearn_sweep.engine.stages.trial import run_trial

    torch.set_num_threads(1)
    job = job_of(storage, sampler, seed, trials, file)
    driver = Driver(job)
    driver.open()
    written = {row["trial"] for row in read_rows(rows) if (row["sampler"], row["seed"]) == (sampler, seed)}
    for record in driver.records():
        if record.number not in written:
            append(rows, sampler, seed, record)
    executor = InProcessExecutor()
    prepared = Preparation(job, StageRunner(driver.store, driver.events), [executor], in_turn=True).run()
    driver.attack_costs = base_costs(job.attacks, prepared, driver.store, timed=True)
    driver.broker = broker_of(job, prepared, driver)
    while (task := driver.next_task()) is not None:
        record = run_trial(task, job, prepared, executor)
        driver.settle(task, record)
        append(rows, sampler, seed, record)


def broker_of(job: SweepJob, prepared: Any, driver: Any) -> Any:
    """The study as a sweep opens it, each proposal made from every result there is."""
    from unlearn_sweep.engine.driver.changed_code import trial_identity
    from unlearn_sweep.engine.search_settings import SearchPlan
    from unlearn_sweep.engine.study.broker import StudyBroker

    plan = SearchPlan(
        sampler=job.search.sampler,
        allocation=job.search.allocation,
        trials=job.search.trials,
        seed=job.seed,
        startup_trials=job.search.startup_trials,
    )
    identity = trial_identity(job, prepared.ids["original"], prepared.data)
    journal = job.directory / "study.journal"
    return StudyBroker(journal, job.spaces, plan, identity=identity, known=driver.settled.values())


def job_of(storage: Path, sampler: str, seed: int, trials: int, file: Path = FILE) -> SweepJob:
    """The sweep of the file, under another name, sampler and seed."""
    from unlearn_sweep.sweeps.file.spec import load_spec
    from unlearn_sweep.sweeps.resolve import Overrides, resolve

    job = resolve(load_spec(file), Overrides(storage=str(storage), trials=trials))
    name = f"{sampler}-{seed}"
    search = job.search.model_copy(update={"sampler": sampler})
    return job.model_copy(update={"name": name, "directory": storage / name, "seed": seed, "search": search})


def append(rows: Path, sampler: str, seed: int, record: Any) -> None:
    """One finished trial; `point` is what it adds to the front, if anything can be said."""
    from unlearn_sweep.engine.study.front import point_of

    row = {
        "sampler": sampler,
        "seed": seed,
        "trial": record.number,
        "method": record.method,
        "params": record.params,
        "state": record.state,
        "values": [record.ue, record.ut, record.rob],
        "point": point_of(record),
        "seconds": round(sum(record.stage_seconds.values()), 2),
    }
    rows.parent.mkdir(parents=True, exist_ok=True)
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(rows: Path) -> list[dict[str, Any]]:
    """Whole lines; one torn by a kill is passed over, and its trial is written again when the sweep goes on."""
    found = []
    for line in rows.read_text().splitlines() if rows.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def read_runs(rows: Path, trials: int, samplers: Sequence[str], seeds: Sequence[int]) -> Runs:
    """The hypervolume curve of each of these runs that has `trials` trials; a trial without a point adds nothing."""
    by_run: dict[tuple[str, int], dict[int, Any]] = defaultdict(dict)
    for row in read_rows(rows):
        if row["sampler"] in samplers and row["seed"] in seeds:
            by_run[row["sampler"], row["seed"]][row["trial"]] = row["point"]
    return {
        run: _curve([points[number] for number in sorted(points)][:trials])
        for run, points in by_run.items()
        if len(points) >= trials
    }


def _curve(points: Iterable[Sequence[float] | None]) -> list[float]:
    return hypervolume_curve([point or REFERENCE_POINT for point in points], REFERENCE_POINT)


def summary(runs: Runs) -> dict[str, Any]:
    """Each sampler's final hypervolume: median, range, and how many seeds it beats random search on."""
    found: dict[str, Any] = {}
    for sampler in dict.fromkeys(sampler for sampler, _ in runs):
        finals = {seed: curve[-1] for (name, seed), curve in runs.items() if name == sampler}
        chance = {seed: runs["random", seed][-1] for seed in finals if ("random", seed) in runs}
        found[sampler] = {
            "median": round(statistics.median(finals.values()), 4),
            "lowest": round(min(finals.values()), 4),
            "highest": round(max(finals.values()), 4),
            "seeds": {seed: round(value, 4) for seed, value in sorted(finals.items())},
            "beats_random_on": sum(finals[seed] > value for seed, value in chance.items()),
            "trials_to_the_median_of_random": _trials_to(runs, sampler, list(chance.values())),
        }
    return found


def _trials_to(runs: Runs, sampler: str, chance: Sequence[float]) -> int | None:
    """After how many trials the sampler's median is where random search ends; None where it never is."""
    medians = [
        statistics.median(values)
        for values in zip(*(curve for (name, _), curve in runs.items() if name == sampler), strict=True)
    ]
    wanted = statistics.median(chance) if chance else float("inf")
    return next((count for count, median in enumerate(medians, start=1) if median >= wanted), None)


def draw(runs: Runs, out: Path) -> None:
    """Left: each run thin, the median of a sampler thick. Right: what it is ahead of random search under one seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for sampler in dict.fromkeys(sampler for sampler, _ in runs):
        own = {seed: curve for (name, seed), curve in runs.items() if name == sampler}
        _lines(left, list(own.values()), sampler)
        ahead = [
            [mine - theirs for mine, theirs in zip(curve, runs["random", seed], strict=True)]
            for seed, curve in own.items()
            if ("random", seed) in runs
        ]
        if sampler != "random" and ahead:
            _lines(right, ahead, sampler)
    left.set(xlabel="trials", ylabel="hypervolume above (0, 0, 0)", ylim=(0, None))
    left.legend(loc="lower right", frameon=False)
    right.set(xlabel="trials", ylabel="hypervolume ahead of random, same seed")
    right.axhline(0, color=SHADES["random"], lw=1)
    for axes in (left, right):
        axes.set_xlim(1, None)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


def _lines(axes: Any, curves: Sequence[Sequence[float]], sampler: str) -> None:
    shade = SHADES.get(sampler, "#000000")
    steps = range(1, len(curves[0]) + 1)
    for curve in curves:
        axes.plot(steps, curve, color=shade, alpha=0.3, lw=0.8)
    median = [statistics.median(values) for values in zip(*curves, strict=True)]
    axes.plot(steps, median, color=shade, lw=2.2, label=f"{sampler}, median of {len(curves)}")


if __name__ == "__main__":
    main()
