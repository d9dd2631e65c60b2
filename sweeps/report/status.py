"""`unlearn-sweep status`: show a sweep's progress from its records, while it runs, when finished or after a crash."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.study.enqueued import waiting_texts
from unlearn_sweep.sweeps.report.accounting import TimeAccount, time_account, time_text
from unlearn_sweep.sweeps.report.document import Cleaner
from unlearn_sweep.sweeps.report.durations import duration
from unlearn_sweep.sweeps.report.estimate import slots_of, time_left, utilisation
from unlearn_sweep.sweeps.report.picks import balance, values_of
from unlearn_sweep.sweeps.report.records import SweepData, SweepState, read_sweep
from unlearn_sweep.sweeps.report.savings import Savings, savings, savings_text
from unlearn_sweep.sweeps.report.stopping import Stopping, stopping_of, stopping_text
from unlearn_sweep.sweeps.report.training import training_text

FRONT_ROWS = 10
FAILED_ROWS = 10


class _Part(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, ser_json_inf_nan="null")


class RunningStage(_Part):
    """One running stage.

    Attributes:
        trial: Number of the trial; None for a preparation stage.
        seed: The seed if a front member is retrained with another one, else None.
        seconds: Seconds since the stage started.
        training: Current step, loss and remaining time of a training; None for other stages.
    """

    trial: int | None
    seed: int | None = None
    method: str | None
    stage: str
    seconds: float
    training: str | None = None


class FrontRow(_Part):
    """One trial on the front. Its objectives are those on the search half of the rows."""

    trial: int
    key: str
    method: str
    ue: float | None
    ut: float | None
    rob: float | None


class FailedRow(_Part):
    """One failed trial."""

    trial: int
    method: str
    stage: str | None
    attempts: int
    reason: str | None


class Status(_Part):
    """The data that `status DIR --json` prints. Times are in seconds.

    Attributes:
        trials: Number of trials by state.
        waiting: Number of unfinished trials without a running stage.
        compute_seconds: Seconds per stage, including failed attempts.
        time_left_seconds: Estimated time left; None if it is unknown or the sweep is not running.
        enqueued: Settings of the user that wait to be tried, as text.
        infeasible: Numbers of trials that violate the sweep's constraints.
        lost: Numbers of trials that were unfinished when a driver died. The next run resumes them.
        processes_lost: Number of processes and machines that were lost and replaced during the sweep.
    """

    sweep: str
    directory: str
    benchmark: str | None
    state: SweepState
    trials: dict[str, int]
    settled: int
    wanted: int | None
    running: list[RunningStage]
    waiting: int
    front: list[FrontRow]
    hypervolume: float
    elapsed_seconds: float
    compute_seconds: dict[str, float]
    pruning: Savings
    stopping: Stopping | None
    time: TimeAccount
    slots: int | None
    utilisation: float | None
    time_left_seconds: float | None
    last_event_seconds_ago: float | None
    failed: list[FailedRow]
    enqueued: list[str] = []
    infeasible: list[int] = []
    lost: list[int]
    processes_lost: int = 0
    problems: list[str]


def status(directory: Path | str, *, now: float | None = None) -> dict[str, Any]:
    """Return the state of a sweep as plain JSON values, with the fields of `Status` and without secrets.

    Raises:
        SweepNotFoundError: The folder does not exist or is not a sweep.
    """
    data = read_sweep(directory)
    return Cleaner().value(_status(data, time.time() if now is None else now).model_dump(mode="json"))


def render(state: dict[str, Any]) -> RenderableType:
    """Render the result of `status` for a terminal. Texts from records are never interpreted as markup."""
    shown = Status.model_validate(state)
    blocks: list[RenderableType] = [_headline(shown), _times(shown)]
    blocks.append(Text(f"time: {time_text(shown.time)}", style="dim"))
    if (saved := savings_text(shown.pruning)) is not None:
        blocks.append(Text(f"pruning: {saved}", style="dim"))
    if (stopped := stopping_text(shown.stopping)) is not None:
        blocks.append(Text(f"stopping: {stopped}", style="dim"))
    if shown.running:
        blocks.append(_running_table(shown))
    if shown.front:
        blocks.append(_front_table(shown))
    if shown.enqueued:
        blocks.append(Text(f"enqueued, to be tried next: {'; '.join(shown.enqueued[:FRONT_ROWS])}"))
    if shown.infeasible:
        blocks.append(Text(_infeasible_text(shown), style="yellow"))
    if shown.failed:
        blocks.append(_failed_table(shown))
    if shown.lost:
        numbers = ", ".join(map(str, shown.lost))
        text = f"Under way when the driver died, continued by the next run: trials {numbers}"
        blocks.append(Text(text, style="yellow"))
    if shown.processes_lost:
        text = f"Processes lost and replaced, their stages begun again: {shown.processes_lost}"
        blocks.append(Text(text, style="yellow"))
    blocks += [Text(f"Not readable: {problem}", style="red") for problem in shown.problems]
    return Group(*blocks)


def _status(data: SweepData, now: float) -> Status:
    timeline, alive = data.timeline, data.state == "running"
    counts = Counter(str(trial.state) for trial in data.trials)
    settled = len(data.trials) - counts["duplicate"]
    running = _running(data, now)
    if data.open_trials:
        counts["running"] = len(data.open_trials)
    elapsed = timeline.elapsed_seconds(now, alive)
    in_stages = timeline.running_seconds(now) if alive else 0.0
    slots = slots_of(timeline, data.spec_value("concurrent_trials"))
    return Status(
        sweep=data.name,
        directory=str(data.directory),
        benchmark=data.benchmark,
        state=data.state,
        trials=dict(counts),
        settled=settled,
        wanted=data.trials_wanted,
        running=running,
        waiting=sum(not trial.stages for trial in data.open_trials),
        front=_front_rows(data),
        hypervolume=data.front.hypervolume,
        elapsed_seconds=elapsed,
        compute_seconds=_compute_seconds(data),
        pruning=savings(data.trials, timeline),
        stopping=stopping_of(data),
        time=time_account(timeline, elapsed=elapsed, slots=slots, running=in_stages),
        slots=slots,
        utilisation=utilisation(timeline, elapsed=elapsed, slots=slots, running=in_stages),
        time_left_seconds=_time_left(data, now) if alive else None,
        last_event_seconds_ago=max(0.0, now - timeline.last_time) if timeline.last_time is not None else None,
        failed=[_failed_row(trial) for trial in data.trials if trial.state == "failed"],
        enqueued=waiting_texts(data.directory),
        infeasible=[trial.number for trial in data.trials if trial.infeasible is not None],
        lost=_lost(data),
        processes_lost=data.timeline.processes_lost(),
        problems=data.problems,
    )


def _running(data: SweepData, now: float) -> list[RunningStage]:
    if data.state != "running":
        return []
    preparing = [
        RunningStage(
            trial=None,
            method=None,
            stage=part.stage,
            seconds=max(0.0, now - part.started),
            training=training_text(data.directory, part.key, part.started),
        )
        for part in data.timeline.preparation.values()
        if part.state == "running" and part.started is not None
    ]
    return (
        preparing
        + [
            RunningStage(
                trial=trial.number,
                method=trial.method,
                stage=stage.stage,
                seconds=max(0.0, now - stage.started),
                training=training_text(data.directory, stage.key, stage.started),
            )
            for trial in data.open_trials
            for stage in trial.stages.values()
        ]
        + [
            RunningStage(
                trial=number,
                seed=seed,
                method=trial.method,
                stage=stage.stage,
                seconds=max(0.0, now - stage.started),
                training=training_text(data.directory, stage.key, stage.started),
            )
            for (number, seed), trial in data.timeline.open_finalists.items()
            for stage in trial.stages.values()
        ]
    )


def _front_rows(data: SweepData) -> list[FrontRow]:
    members = [trial for trial in data.trials if trial.key in data.front.front and trial.state != "duplicate"]
    members.sort(key=lambda trial: (-balance(values_of(trial, data.objectives)), trial.number))
    return [FrontRow(trial=t.number, key=t.key, method=t.method, ue=t.ue, ut=t.ut, rob=t.rob) for t in members]


def _failed_row(trial: TrialRecord) -> FailedRow:
    return FailedRow(
        trial=trial.number,
        method=trial.method,
        stage=trial.failed_stage,
        attempts=trial.attempts,
        reason=trial.reason,
    )


def _compute_seconds(data: SweepData) -> dict[str, float]:
    seconds: Counter[str] = Counter()
    for (stage, _), cost in data.timeline.costs.items():
        seconds[stage] += cost.seconds + cost.failed_seconds  # pyright: ignore[reportArgumentType]
    return dict(seconds.most_common())


def _time_left(data: SweepData, now: float) -> float | None:
    return None if data.trials_wanted is None else time_left(data.timeline, wanted=data.trials_wanted, now=now)


def _lost(data: SweepData) -> list[int]:
    settled = {trial.number for trial in data.trials}
    lost = set(data.timeline.lost_trials)
    if data.state == "stopped":
        lost |= set(data.timeline.open_trials)
    return sorted(lost - settled)


def _headline(shown: Status) -> Text:
    text = Text.assemble((shown.sweep, "bold"), f"  {shown.state}", f"  {shown.settled}")
    text.append(f" of {shown.wanted} trials settled" if shown.wanted is not None else " trials settled")
    counts = ", ".join(f"{count} {state}" for state, count in shown.trials.items())
    return text.append(f"  ({counts})" if counts else "")


def _times(shown: Status) -> Text:
    parts = [f"wall time {duration(shown.elapsed_seconds)}", f"compute {duration(sum(shown.compute_seconds.values()))}"]
    if shown.utilisation is not None:
        parts.append(f"utilisation {100 * shown.utilisation:.0f}% of {shown.slots} slots")
    if shown.state == "running":
        left = shown.time_left_seconds
        parts.append(f"about {duration(left)} left" if left is not None else "time left unknown before the first trial")
        if shown.last_event_seconds_ago is not None:
            parts.append(f"last event {duration(shown.last_event_seconds_ago)} ago")
    parts.append(f"hypervolume {shown.hypervolume:.4f}")
    return Text(", ".join(parts), style="dim")


def _running_table(shown: Status) -> Table:
    table = Table("running", "method", "stage", "for", "", box=None, pad_edge=False)
    for row in shown.running:
        seed = f", seed {row.seed}" if row.seed is not None else ""
        name = "preparation" if row.trial is None else f"trial {row.trial}{seed}"
        table.add_row(Text(name), Text(row.method or ""), Text(row.stage), duration(row.seconds), row.training or "")
    return table


def _front_table(shown: Status) -> Table:
    table = Table("front", "method", "UE", "UT", "Rob", box=None, pad_edge=False)
    for row in shown.front[:FRONT_ROWS]:
        values = ["\N{EN DASH}" if value is None else f"{value:.3f}" for value in (row.ue, row.ut, row.rob)]
        table.add_row(f"trial {row.trial}", Text(row.method), *values)
    if len(shown.front) > FRONT_ROWS:
        table.add_row(f"and {len(shown.front) - FRONT_ROWS} more", "", "", "", "")
    return table


def _infeasible_text(shown: Status) -> str:
    numbers = ", ".join(map(str, shown.infeasible[:FRONT_ROWS])) + (
        ", ..." if len(shown.infeasible) > FRONT_ROWS else ""
    )
    none = "" if shown.front else " No trial meets them, so there is no front."
    return f"infeasible by the sweep's constraints, and on no front: trials {numbers}.{none}"


def _failed_table(shown: Status) -> Table:
    table = Table("failed", "method", "stage", "reason", box=None, pad_edge=False)
    for row in shown.failed[:FAILED_ROWS]:
        reason = (row.reason or "no reason recorded").splitlines()[0][:160]
        table.add_row(f"trial {row.trial}", Text(row.method), Text(row.stage or ""), Text(reason))
    if len(shown.failed) > FAILED_ROWS:
        table.add_row(f"and {len(shown.failed) - FAILED_ROWS} more", "", "", "")
    return table
