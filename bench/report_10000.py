"""How long the report of a sweep of 10,000 trials takes to build and to open. Run: `python bench/report_10000.py`.

The records are written through the engine's own models, as large as real ones: curves, parts, attacks, stages. Building
reads them first. `python -m bench.report_10000 --browser`, run at the top of the project, then opens the page in a
headless Chromium without a GPU, until table and marks of the front are drawn.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from unlearn_sweep.engine.store.records import AttackPoint, AttackScore, Event, Normalised, Objective, TrialRecord
from unlearn_sweep.engine.study.front import front_of
from unlearn_sweep.sweeps.report.build import build_report, load_report
from unlearn_sweep.sweeps.report.status import status

START = 1_760_000_000.0
METHODS = ("graddiff", "npo", "simnpo", "rmu")
ATTACKS = {"prefill": "prompt", "paraphrase": "prompt", "quantize": "quantize", "relearn": "relearn"}
STEPS = (5.0, 20.0, 100.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="recorded trials")
    parser.add_argument("--browser", action="store_true", help="open the page as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = write_sweep(Path(folder) / "large", options.trials)
        found = {"trials": options.trials, **timed(sweep)}
        if options.browser:
            found["open_wall_s"] = asyncio.run(opening(sweep / "report" / "index.html", Path(folder)))
        print(json.dumps(found))


async def opening(page: Path, folder: Path) -> float:
    """Wall seconds from the address to a drawn page."""
    from tests.sweeps.report.test_browser import opened

    blank = folder / "blank.html"
    blank.write_text("<div id=plot-ut-rob><p class=point></div>")
    async with opened(blank, folder / "profile") as tab:
        began = time.perf_counter()
        await tab.call("Page.navigate", url=page.as_uri())
        await tab.until("document.querySelectorAll('#table tr[data-row], #plot-ut-rob .point').length > 100")
        await tab.value("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        return round(time.perf_counter() - began, 2)


def timed(sweep: Path) -> dict[str, Any]:
    """CPU seconds of one thread, so that a busy machine disturbs them little."""
    marks = [time.process_time()]
    load_report(sweep)  # is part of building, too
    marks.append(time.process_time())
    paths = build_report(sweep)
    marks.append(time.process_time())
    status(sweep)
    marks.append(time.process_time())
    read, build, state = (round(after - before, 2) for before, after in itertools.pairwise(marks))
    size = round(paths.page.stat().st_size / 2**20, 1)
    return {"read_s": read, "build_s": build, "status_s": state, "page_mib": size}


def write_sweep(folder: Path, trials: int) -> Path:
    """The folder of a finished sweep."""
    (folder / "trials").mkdir(parents=True)
    records = [trial(number) for number in range(trials)]
    for record in records:
        (folder / "trials" / f"{record.number}.json").write_text(record.model_dump_json(indent=1))
    attacks = [{"label": name, "family": family} for name, family in ATTACKS.items()]
    job = {"name": "large", "seed": 7, "benchmark": {"name": "authors"}, "search": {"trials": trials}}
    lock = {"job": {**job, "attacks": attacks, "concurrent_trials": 2}, "versions": {}}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    (folder / "progress.json").write_text(front_of(records, wanted=trials).model_dump_json())
    log = [Event(time=START, event="sweep_started", data={"trials": trials})]
    for record in records:
        log += events_of(record)
    log.append(Event(time=START + 12 * trials, event="sweep_finished"))
    (folder / "events.jsonl").write_text("".join(event.model_dump_json(exclude_none=True) + "\n" for event in log))
    return folder


def trial(number: int) -> TrialRecord:
    """A complete trial on a trade-off between forgetting and the rest, at some distance from the best."""
    draw = random.Random(number)
    push, miss = draw.random(), draw.betavariate(1.2, 3)
    ue, ut = (1 - miss) * push, (1 - miss) * math.sqrt(1 - push**2)
    attacks = [attack(name, family, ue * draw.uniform(0.3, 1.0)) for name, family in ATTACKS.items()]
    rob = min(score.value or 0.0 for score in attacks)
    seconds = {"unlearn": 5.0, "evaluate": 1.0, **{f"attack:{name}": 1.0 for name in ATTACKS}}
    return TrialRecord(
        number=number,
        key=f"{number:016x}",
        method=METHODS[number % len(METHODS)],
        params={"learning_rate": 10 ** draw.uniform(-6, -3), "beta": draw.random(), "retain": "nll"},
        seed=7,
        state="complete",
        ue=ue,
        ut=ut,
        rob=rob,
        report_ue=ue,
        report_ut=ut,
        report_rob=rob,
        ue_detail=objective(ue, "forget"),
        ut_detail=objective(ut, "retain"),
        attacks=attacks,
        stage_keys={stage: f"{number:08x}{place:08x}" for place, stage in enumerate(seconds)},
        stage_seconds=seconds,
        started=START + 12 * number,
        finished=START + 12 * number + 11,
    )


def objective(value: float, split: str) -> Objective:
    parts = [
        Normalised(metric=name, split=split, group=name, value=1 - value, original=1.0, gold=0.0, score=value)
        for name in ("probability", "extraction_strength", "truth_ratio")
    ]
    return Objective(value=value, standard_error=0.02, parts=tuple(parts))


def attack(name: str, family: str, value: float) -> AttackScore:
    curve = [
        AttackPoint(strength=step, unit="steps", still_forgotten=value, utility=0.8, metrics={"probability": 1 - value})
        for step in STEPS
    ]
    return AttackScore(attack=name, family=family, value=value, report_value=value, utility=0.8, curve=tuple(curve))


def events_of(record: TrialRecord) -> list[Event]:
    """What a trial's life leaves in the log."""
    log = [
        Event(time=record.started, event="trial_asked", trial=record.number, data={"method": record.method}),
        Event(time=record.started, event="trial_started", trial=record.number, attempt=1),
    ]
    for stage, seconds in record.stage_seconds.items():
        fields = {"trial": record.number, "stage": stage, "stage_key": record.stage_keys[stage]}
        log.append(Event(time=record.started, event="stage_started", **fields))
        log.append(Event(time=record.finished, event="stage_finished", seconds=seconds, **fields))
    settled = {"state": record.state, "ue": record.ue, "ut": record.ut, "rob": record.rob}
    log.append(Event(time=record.finished, event="trial_settled", trial=record.number, seconds=11.0, data=settled))
    return log


if __name__ == "__main__":
    main()
