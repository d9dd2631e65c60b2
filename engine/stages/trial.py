"""The life of one trial, on one screen: unlearn, gate, evaluate, attack from cheap to dear, score."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.resources.memory_shortage import Room
from unlearn_sweep.engine.stages import requests
from unlearn_sweep.engine.stages.attack_chain import AttackedModel, forget_links, hold_links, run_attack
from unlearn_sweep.engine.stages.attack_order import AttackOutlook, next_attack
from unlearn_sweep.engine.stages.gate import collapse_reason
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.requests import Executor
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner, reason_of
from unlearn_sweep.engine.stages.scoring import Scorer
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.engine.stages.unmoved import unmoved_reason
from unlearn_sweep.engine.store.code import version_of
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.records import (
    AttackScore,
    EvaluationScores,
    RobustnessScores,
    StageResult,
    TrialRecord,
    TrialState,
)
from unlearn_sweep.engine.store.retention import Retention
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.engine.training.job import TrainOutcome

if TYPE_CHECKING:
    import pandas as pd

BROKEN_MODEL = "NonFiniteLogits"  # evaluators.likelihood raises it; named here, since a trial's process loads no torch


BETWEEN_STAGES = "scoring"


class TrialTask(BaseModel):
    """One proposal with what it may know of the settled trials it may see.

    `rivals` are the (UE, UT, Rob) of those that no other of them beats; `outlook` is what to expect of each attack,
    empty while there is nothing to learn from. `finalist`: a front member with another seed; every attack is run.
    `weights_only`: a settled trial whose model is wanted again; nothing is measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    key: str
    method: str
    params: dict[str, Any]
    seed: int
    rivals: list[tuple[float, float, float]] = []
    outlook: dict[str, AttackOutlook] = {}
    finalist: bool = False
    weights_only: bool = False

    @property
    def holder(self) -> str:
        """The run's name inside its sweep: the trial's number, and the seed of a finalist."""
        if self.weights_only:
            return weights_holder(self.number)
        return holder_of(self.number, self.seed) if self.finalist else str(self.number)


def holder_of(number: int, seed: int) -> str:
    """The name of a finalist's run inside its sweep."""
    return f"{number}-seed-{seed}"


def weights_holder(number: int) -> str:
    """The name of the run that makes a front member's weights again."""
    return f"{number}-weights"


def run_trial(
    task: TrialTask,
    job: SweepJob,
    prepared: Prepared,
    executor: Executor,
    *,
    begin: Callable[[TrialTask, SweepJob, Prepared, Executor, StageRunner], Trial] | None = None,
) -> TrialRecord:
    """Run what is not yet finished of one trial and return its record. Every failure is a record too.

    `begin` makes the trial's life; left out, that of a search. An audit has one of its own.
    """
    events = EventLog(job.directory / "events.jsonl")
    attempt = count_attempt(job.directory / "attempts" / task.holder)
    mark = {"seed": task.seed} if task.finalist else {}
    room = Room(job.directory, executor.make_room)
    runner = StageRunner(StageStore(job.storage), events, trial=task.number, attempt=attempt, mark=mark, room=room)
    event = "note" if task.weights_only else "finalist_started" if task.finalist else "trial_started"
    why = f"trial {task.number} is on the front and its weights are gone: they are made again"
    mark_reason = {"reason": why} if task.weights_only else {}
    events.append(event, **mark_reason, trial=task.number, attempt=attempt, data={"method": task.method, **mark})
    life = (begin or Trial)(task, job, prepared, executor, runner)
    try:
        record = life.run()
    except StageFailedError as failure:
        # A model whose logits are no longer numbers is a finding about the method, not a fault of the machine.
        state = "collapsed" if failure.kind == BROKEN_MODEL else "failed"
        record = life.record(state=state, reason=failure.reason, failed_stage=failure.stage)
    except Exception as error:  # between stages, where scores are worked out: told like a stage's, and not tried again
        record = life.record(state="failed", reason=reason_of(error), failed_stage=BETWEEN_STAGES)
    life.forget_links()
    return record


def count_attempt(marks: Path) -> int:
    """Which attempt at this trial begins now, from 1: a byte a start, so that a killed process is counted too."""
    marks.parent.mkdir(parents=True, exist_ok=True)
    with marks.open("ab") as file:
        file.write(b".")
        return file.tell()


class Scores(Protocol):
    """What a trial asks of whoever scores it."""

    def evaluation(self, rows: pd.DataFrame) -> EvaluationScores: ...

    def attack(self, attack: AttackSettings, result: StageResult, *, utility: float | None) -> AttackScore: ...

    def robustness(self, attacks: Sequence[AttackScore]) -> RobustnessScores: ...

    def highest_robustness(self, scores: Mapping[str, float | None]) -> float | None: ...

    def read_ahead(self) -> None: ...


class Trial:
    """The stages of one trial, in order. Holds what is known so far, so that a failure keeps it."""

    def __init__(
        self, task: TrialTask, job: SweepJob, prepared: Prepared, executor: Executor, runner: StageRunner
    ) -> None:
        self.task, self.job, self.prepared = task, job, prepared
        self.executor, self.runner = executor, runner
        self.scorer: Scores = Scorer(job, prepared, runner.store)
        self.started, self.began = time.time(), time.monotonic()
        self.model = ""  # content name of the model that is measured and attacked
        self.model_path: str | None = None
        self.training: TrainOutcome | None = None
        self.evaluation = EvaluationScores()
        self.robustness = RobustnessScores()
        self.unmoved: str | None = None
        self.attacks: list[AttackScore] = []

    def run(self) -> TrialRecord:
        model_path, outcome = self.unlearn()
        if self.task.weights_only:
            self.need_weights()
            return self.record(state="complete")
        if outcome.stopped_early is not None:
            return self.record(state="collapsed", reason=outcome.stop_reason or outcome.stopped_early)
        rows = self.evaluate(model_path)
        self.evaluation = self.scorer.evaluation(rows)
        self.unmoved = unmoved_reason(self.evaluation.ue_detail, outcome.relative_change)
        if (reason := collapse_reason(self.evaluation.ut_detail)) is not None:
            return self.record(state="collapsed", reason=reason)
        self.attack_all(model_path)
        self.robustness = self.scorer.robustness(self.attacks)
        return self.record(state="complete")

    def unlearn(self) -> tuple[str, TrainOutcome]:
        """Where the unlearned model lies, and how its training went: as the store has it, else it is trained now.

        Weights that were evicted are made again by `need_weights`, once a stage that is missing asks for them.
        """
        request = self.unlearn_request()
        self.model = request.key
        Retention(self.runner.store, self.job.directory).hold(self.task.holder, request.key)
        found = self.runner.recall(request) or self.train(request)
        outcome = TrainOutcome.model_validate(found.data)
        model_path = str(self.runner.store.model_folder(request.key))
        self.model_path, self.training = model_path, outcome
        return model_path, outcome

    def unlearn_request(self) -> StageRequest:
        task, original = self.task, self.prepared.ids["original"]
        return requests.unlearn_stage(self.job, task.method, task.params, task.seed, original, self.prepared.data)

    def train(self, request: StageRequest) -> StageResult:
        """Train by the trial's method; the weights are in the store under the stage's key."""
        task, store = self.task, self.runner.store
        self.need_original()
        teacher = self.teacher()

        def train(folder: Path) -> dict[str, Any]:
            self.scorer.read_ahead()  # while the workers train, this process only waits
            original, partial = self.prepared.paths["original"], store.partial_folder(request.key)
            job = requests.unlearn_job(
                self.job, task.method, task.params, task.seed, original, folder / "model", partial
            )
            job = job.model_copy(update={"teacher_model": teacher})
            outcome = self.executor.train(job, name=f"{self.job.name}-{task.key}-{self.runner.attempt}")
            requests.keep_weights(store, request.key, folder / "model")
            return outcome.model_dump(mode="json")

        return self.runner.run(request, train)

    def need_weights(self) -> None:
        """Have the unlearned model and the original in the store: a stage that is missing works on them."""
        request = self.unlearn_request()
        if self.runner.store.find(request) is None:
            self.train(request)
        self.need_original()

    def need_original(self) -> None:
        """Train the original model again where it is trained by a recipe and its weights are gone."""
        if self.job.original.path is not None or Path(self.prepared.paths["original"]).is_dir():
            return
        Preparation(self.job, self.runner, [self.executor], in_turn=True).have_weights("original")

    def teacher(self) -> str | None:
        """The folder of the model that the method learns from, trained first where no trial has; None without one."""
        task, store = self.task, self.runner.store
        params = requests.teacher_params(task.method, task.params)
        if params is None:
            return None
        request = requests.teacher_stage(self.job, params, self.prepared.ids["original"], self.prepared.data)

        def train(folder: Path) -> dict[str, Any]:
            original, partial = self.prepared.paths["original"], store.partial_folder(request.key)
            job = requests.teacher_job(self.job, params, original, folder / "model", partial)
            outcome = self.executor.train(job, name=f"{self.job.name}-teacher-{request.key}-{self.runner.attempt}")
            requests.keep_weights(store, request.key, folder / "model")
            return outcome.model_dump(mode="json")

        outcome = TrainOutcome.model_validate(self.runner.run(request, train).data)
        if outcome.stopped_early is not None:
            raise StageFailedError(request.stage, f"no teacher came of it: {outcome.stop_reason}")
        return str(store.model_folder(request.key))

    def evaluate(self, model_path: str) -> pd.DataFrame:
        known, paths = self.prepared.ids, self.prepared.paths
        request = requests.evaluate_stage(self.job, self.model, self.prepared.data, known.get("original", ""))
        if self.runner.store.find(request) is None:
            self.need_weights()
        self.runner.run(
            request,
            lambda folder: self.executor.measure(
                requests.measure_request(self.job, model_path, folder, paths.get("original"))
            ),
        )
        return self.runner.store.rows(request.key)

    def attack(self, attack: AttackSettings, model_path: str) -> AttackScore:
        """One attack, measured and scored against the same attack on original and gold."""
        victim = self.victim(model_path)
        request = requests.attack_stage(self.job, attack, victim.model, victim.original, victim.data)
        if self.runner.store.find(request) is None:
            self.need_weights()
        result = run_attack(self.job, attack, victim, self.runner, self.executor)
        return self.scorer.attack(attack, result, utility=self.evaluation.ut)

    def attack_all(self, model_path: str) -> None:
        """Every attack, as long as the trial can still be on the front; first the one that may end it soonest."""
        hold_links(self.job, self.victim(model_path), self.runner.store, self.task.holder)
        waiting = list(self.job.attacks)
        while waiting:
            if self.job.search.prune and not self.task.finalist and self.is_beaten():
                self.skip(waiting)
                return
            attack = next_attack(waiting, self.attacks, self.task.outlook, self.would_be_beaten)
            self.attacks.append(self.attack(attack, model_path))
            waiting.remove(attack)

    def victim(self, model_path: str) -> AttackedModel:
        """The unlearned model, as attacks name it."""
        return AttackedModel(
            model=self.model,
            path=model_path,
            original=self.prepared.ids.get("original", ""),
            original_path=self.prepared.paths.get("original"),
            data=self.prepared.data,
        )

    def forget_links(self) -> None:
        """Drop what chains kept between their attacks; a trial that was killed keeps it until it has gone on."""
        if self.model_path is not None:
            forget_links(self.job, self.victim(self.model_path), self.runner.store, self.task.holder)

    # --- lossless pruning ---------------------------------------------------------------------------------------------

    def is_beaten(self) -> bool:
        """Whether a finished trial beats (UE, UT, highest Rob still possible): then no attack can save this one.

        At least as good everywhere and better somewhere: with the bound in place of Rob, the trial's true point is
        beaten too, so the front stays what it would have been.
        """
        return self.would_be_beaten({score.attack: score.value for score in self.attacks})

    def would_be_beaten(self, scores: Mapping[str, float | None]) -> bool:
        """The same with these attacks done; those that are not in `scores` count as the most they can become."""
        from unlearn_sweep.evaluators.front import is_dominated

        bound = self.scorer.highest_robustness(scores)
        mine = (self.evaluation.ue, self.evaluation.ut, bound if bound is not None else 1.0)
        return is_dominated(mine, self.task.rivals)

    def skip(self, attacks: Sequence[AttackSettings]) -> None:
        for attack in attacks:
            reason = "a finished trial is at least as good on UE, UT and the highest Rob still possible here"
            self.runner.events.append(
                "attack_skipped", trial=self.task.number, stage=f"attack:{attack.label}", reason=reason
            )
            self.attacks.append(
                AttackScore(attack=attack.label, family=attack.family, value=None, skipped=True, reason=reason)
            )

    def in_file_order(self) -> list[AttackScore]:
        """Tables list attacks as the sweep file does, however they were run."""
        place = {attack.label: position for position, attack in enumerate(self.job.attacks)}
        return sorted(self.attacks, key=lambda score: place[score.attack])

    # --- the record ---------------------------------------------------------------------------------------------------

    def record(self, *, state: TrialState, reason: str | None = None, failed_stage: str | None = None) -> TrialRecord:
        """Everything known of the trial now."""
        return TrialRecord(
            **self.task.model_dump(include={"number", "key", "method", "params", "seed"}),
            **dict(self.evaluation),
            **dict(self.robustness),
            state=state,
            reason=reason,
            failed_stage=failed_stage,
            unmoved=self.unmoved,
            model_path=self.model_path,
            training=self.training.model_dump(mode="json") if self.training is not None else {},
            attacks=self.in_file_order(),
            stage_keys=self.runner.keys,
            stage_seconds=self.runner.seconds,
            reused_stages=self.runner.reused,
            judging=self.runner.judging,
            started=self.started,
            finished=self.started + time.monotonic() - self.began,  # right also where somebody sets the clock
            attempts=self.runner.attempt,
            code=version_of(sweep_code(self.job)),
        )
