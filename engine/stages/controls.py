"""Write controls.json: scores of the original and the gold model, and the same attacks on both."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from unlearn_sweep.engine.answers import keep_questions
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages.measuring_requests import metrics_of
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.scoring import Scorer
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.records import Control, Controls, Measured
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

NO_GOLD = "none: metrics at chance"
"""Value of the gold model's path if there is no gold model."""


def write_controls(job: SweepJob, prepared: Prepared, store: StageStore) -> Controls:
    """Score the controls, write `controls.json` and the questions of the benchmark, and return the scores.

    Objectives use the search half. By construction, the original has UE 0 and UT 1, and gold has UE 1.
    """
    from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

    scorer = Scorer(job, prepared, store)
    controls = Controls(
        original=_control("original", job, prepared, scorer),
        gold=_control("gold", job, prepared, scorer),
        forget_facts=_forget_facts(scorer),
    )
    keep_questions(load_benchmark(job.benchmark.name, job.benchmark.params), job.directory)
    durable.write_text(job.directory / "controls.json", controls.model_dump_json(indent=1) + "\n")
    return controls


def _control(which: Literal["original", "gold"], job: SweepJob, prepared: Prepared, scorer: Scorer) -> Control:
    from unlearn_sweep.evaluators.aggregate import measure

    no_model = which == "gold" and prepared.gold_at_chance
    tables = scorer.controls
    rows = tables.original if which == "original" else tables.gold
    halves: tuple[Literal["search", "report"], ...] = ("search", "report")
    measured = [
        Measured(**asdict(number))
        for half in halves
        for number in measure(rows, metrics_of(job), groups=tables.halves[half], half=half)
    ]
    (ue, _), (ut, _) = scorer.effectiveness(rows, "search"), scorer.utility(rows, "search")
    return Control(
        model=which,
        model_path=NO_GOLD if no_model else prepared.paths[which],
        measured=measured,
        ue=ue.value,
        ut=ut.value,
        ue_reason=ue.reason,
        ut_reason=ut.reason,
        attacks={attack.label: scorer.control_attack(attack, which) for attack in job.attacks},
        stage_keys={} if no_model else _stage_keys(prepared, which),
    )


def _forget_facts(scorer: Scorer) -> int:
    rows = scorer.controls.original
    return int(rows.loc[rows["split"] == FORGET_SPLIT, "group_id"].nunique())


def _stage_keys(prepared: Prepared, which: str) -> dict[str, str]:
    attacks = {f"attack:{label}": keys[which] for label, keys in prepared.attacks.items()}
    return {"evaluate": prepared.evaluations[which], **attacks}
