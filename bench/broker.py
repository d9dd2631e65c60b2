"""How fast the study broker asks and settles. Run: `python bench/broker.py`.

No trial is run: each proposal is settled with objectives made from its parameters. Seconds are CPU seconds of the one
thread, so that a busy machine disturbs them little; flushing the journal to the device is not in them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.search_settings import SearchPlan
from unlearn_sweep.engine.search_space import Choice, LogUniform, MethodSpace, Uniform
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.broker import Proposal, StudyBroker

SPACES = [
    MethodSpace(
        method=f"method{number}",
        params={
            "learning_rate": LogUniform(low=1e-6, high=1e-3),
            "beta": LogUniform(low=0.05, high=1.0),
            "retain_weight": Uniform(low=0.5, high=2.0),
            "retain": Choice(values=("nll", "kl")),
        },
    )
    for number in range(4)
]
LAST = 20
"""Asks whose median stands for the speed at that size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="trials of random search")
    parser.add_argument("--tpe-trials", type=int, default=500, help="trials of TPE")
    options = parser.parse_args()
    print(json.dumps(random_search(options.trials)))
    for window in (None, 8):
        print(json.dumps(tpe(options.tpe_trials, window)))


def random_search(trials: int) -> dict[str, Any]:
    """Trials settled in a CPU second, asks included, over the whole sweep and over its last tenth."""
    stamps = [stamp for stamp, _ in _run("random", trials, None)]
    tenth = trials // 10
    return {
        "sampler": "random",
        "trials": trials,
        "settled_per_s": round(trials / (stamps[-1] - stamps[0]), 1),
        "settled_per_s_at_the_end": round(tenth / (stamps[-1] - stamps[-1 - tenth]), 1),
    }


def tpe(trials: int, window: int | None) -> dict[str, Any]:
    """Seconds of one ask at the end of the sweep: the median over the last asks. Random search made those before."""
    marks = _run("random", trials, window, tpe_from=trials - LAST)
    asks = [ask for _, ask in marks[-LAST + 1 :]]  # the first one imports
    return {
        "sampler": "tpe",
        "trials": trials,
        "window": window,
        "ask_s_at_the_end": round(statistics.median(asks), 4),
        "ask_s_longest_of_the_last": round(max(asks), 4),
    }


def _run(sampler: Any, trials: int, window: int | None, tpe_from: int | None = None) -> list[tuple[float, float]]:
    """CPU time after each trial is settled, and what its ask took."""
    plan = SearchPlan(sampler=sampler, allocation="equal", trials=trials, seed=7, window=window)
    with tempfile.TemporaryDirectory() as folder:
        broker = StudyBroker(Path(folder) / "study.journal", SPACES, plan, identity={})
        marks = []
        while True:
            if len(marks) == tpe_from:
                broker.plan = replace(plan, sampler="tpe")
            began = time.process_time()
            proposal = broker.ask()
            asked = time.process_time()
            if proposal is None:
                return marks
            broker.settle(_settled(proposal))
            marks.append((time.process_time(), asked - began))


def _settled(proposal: Proposal) -> TrialRecord:
    """Objectives that trade off over two parameters, and all suffer from a learning rate far from 3e-5."""
    beta, weight, rate = (float(proposal.params[name]) for name in ("beta", "retain_weight", "learning_rate"))
    trained = math.exp(-(math.log10(rate / 3e-5) ** 2))
    return TrialRecord(
        number=proposal.number,
        key=proposal.key,
        method=proposal.method,
        params=proposal.params,
        seed=proposal.seed,
        state="complete",
        ue=trained / (1 + beta * weight),
        ut=trained * weight / (1 + weight),
        rob=0.5 * trained * beta / (1 + beta),
        started=0.0,
        finished=1.0,
    )


if __name__ == "__main__":
    main()
