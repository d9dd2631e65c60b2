"""Run one trial: unlearn, evaluate, stop if the model collapsed, attack while that can matter, score.

The most promising attack runs first. None runs once a constraint is missed or a finished trial dominates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.resources.memory_shortage import ExclusiveStageLock
from unlearn_sweep.engine.stages import measuring_requests
from unlearn_sweep.engine.stages.attack_chain import AttackedModel, forget_links, hold_links, run_attack
from unlearn_sweep.engine.stages.attack_order import next_attack
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.gate import collapse_reason, missed_constraints
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner, TrainingStoppedError, reason_of
from unlearn_sweep.engine.stages.scoring import Scorer, setting_of
from unlearn_sweep.engine.stages.suppression import DIVERGED
from unlearn_sweep.engine.stages.sweep_code import sweep_code
from unlearn_sweep.engine.stages.training_requests import UnlearnLink
from unlearn_sweep.engine.stages.trial_task import TrialTask, count_attempt
from unlearn_sweep.engine.stages.trial_trainings import TrialTrainings
from unlearn_sweep.engine.stages.unmoved import unmoved_reason
from unlearn_sweep.engine.store.code import version_of
from unlearn_sweep.engine.store.events import EventLog
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import (
    AttackScore,
    EvaluationScores,
    RequestScore,
    RobustnessScores,
    StageResult,
    StopDecision,
    TrialRecord,
    TrialState,
)
from unlearn_sweep.engine.store.retention import Retention
from unlearn_sweep.engine.store.stages import StageStore

if TYPE_CHECKING:
    import pandas as pd

BROKEN_MODEL = "NonFiniteLogits"  # raised by evaluators.likelihood; by name, since a trial's process imports no torch


ATTACK_DIVERGED = "AttackDivergedError"  # of evaluators.attacks.attack

BETWEEN_STAGES = "scoring"
BEATEN = "a finished trial is at least as good on UE, UT and the highest Rob still possible here"


def run_trial(
    task: TrialTask,
    job: SweepJob,
    prepared: Prepared,
    executor: Executor,
    *,
    begin: Callable[[TrialTask, SweepJob, Prepared, Executor, StageRunner], Trial] | None = None,
) -> TrialRecord:
    """Run the unfinished stages of one trial and return its record. Failures are returned as records too.

    `begin` creates the `Trial`; the default is that of a search. An audit passes its own.
    """
    events = EventLog(job.directory / "events.jsonl")
    attempt = count_attempt(job.directory / "attempts" / task.holder)
    mark = {"seed": task.seed} if task.finalist else {}
    stage_lock = ExclusiveStageLock(job.directory, executor.make_room)
    runner = StageRunner(
        StageStore(job.storage),
        events,
        trial=task.number,
        attempt=attempt,
        mark=mark,
        title=f"trial {task.number} {task.method}",
        stage_lock=stage_lock,
    )
    event = "note" if task.weights_only else "finalist_started" if task.finalist else "trial_started"
    why = f"trial {task.number} is on the front, but its weights are not stored: training it again"
    mark_reason = {"reason": why} if task.weights_only else {}
    events.append(event, **mark_reason, trial=task.number, attempt=attempt, data={"method": task.method, **mark})
    life = (begin or Trial)(task, job, prepared, executor, runner)
    try:
        record = life.run()
    except StageFailedError as failure:
        # A model with non-finite logits is a result of the method, not a fault of the machine.
        state = "collapsed" if failure.kind in (BROKEN_MODEL, DIVERGED) else "failed"
        record = life.record(state=state, reason=failure.reason, failed_stage=failure.stage)
    except Exception as error:  # an error between stages, such as in scoring: recorded like a stage's and not retried
        record = life.record(state="failed", reason=reason_of(error), failed_stage=BETWEEN_STAGES)
    life.forget_links()
    if (suppression := life.trainings.suppression()) is not None:
        suppression.release()
    return record


class Scores(Protocol):
    """Interface of the scorers of a trial. `draws` are those of what was scored so far, as in `TrialRecord`."""

    draws: dict[str, str]

    def evaluation(self, rows: pd.DataFrame) -> EvaluationScores: ...

    def after(self, rows: pd.DataFrame, request: int) -> RequestScore: ...

    def attack(self, attack: AttackSettings, result: StageResult, *, before: EvaluationScores) -> AttackScore: ...

    def without_model(self, attack: AttackSettings, reason: str, *, before: EvaluationScores) -> AttackScore: ...

    def robustness(self, attacks: Sequence[AttackScore]) -> RobustnessScores: ...

    def highest_robustness(self, scores: Mapping[str, float | None]) -> float | None: ...

    def read_ahead(self) -> None: ...


class Trial:
    """Runs the stages of one trial in order. Keeps partial results, so that the record of a failure has them."""

    def __init__(
        self, task: TrialTask, job: SweepJob, prepared: Prepared, executor: Executor, runner: StageRunner
    ) -> None:
        self.task, self.job, self.prepared = task, job, prepared
        self.executor, self.runner = executor, runner
        self.scorer: Scores = Scorer(job, prepared, runner.store)
        self.trainings = TrialTrainings(
            task=task,
            job=job,
            prepared=prepared,
            executor=executor,
            runner=runner,
            meanwhile=lambda: self.scorer.read_ahead(),
        )
        self.started, self.began = time.time(), time.monotonic()
        self.model = ""  # content name of the model that is measured and attacked
        self.model_path: str | None = None
        self.training: TrainOutcome | None = None
        self.stopping: StopDecision | None = None
        self.evaluation = EvaluationScores()
        self.robustness = RobustnessScores()
        self.unmoved: str | None = None
        self.attacks: list[AttackScore] = []
        self.requests: list[RequestScore] = []

    def run(self) -> TrialRecord:
        try:
            model_path, outcome = self.unlearn()
        except TrainingStoppedError as stop:
            self.training = stop.outcome
            self.stopping = self.stop_decision(stop.outcome, ran_anyway=False)
            return self.record(state="stopped", reason=stop.outcome.stop_reason)
        if self.task.probing is not None and self.task.probing.finish_anyway:
            self.stopping = self.stop_decision(outcome, ran_anyway=True)
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
        """Return path and training outcome of the unlearned model, from the store if finished, else train it now.

        Evicted weights are not restored here; `need_weights` does that if a missing stage needs them.
        """
        *earlier, last = self.trainings.links()
        Retention(self.runner.store, self.job.directory).hold(self.task.holder, last.request.key)
        if self.job.search.trains and not self.task.weights_only:
            for link in earlier:
                outcome = self.forget_first(link)
                if outcome.stopped_early is not None:
                    self.training = outcome
                    return str(self.runner.store.model_folder(link.request.key)), outcome
        self.model = last.request.key
        found = self.runner.recall(last.request) or self.trainings.train(last)
        outcome = found.outcome(TrainOutcome)
        model_path = str(self.runner.store.model_folder(last.request.key))
        self.model_path, self.training = model_path, outcome
        return model_path, outcome

    def stop_decision(self, outcome: TrainOutcome, *, ran_anyway: bool) -> StopDecision | None:
        """Return at which share of its steps a training stops by what this trial knows; None if it does not stop."""
        from unlearn_sweep.engine.stopping.decision import are_probes_of, stopping_rung

        probing = self.task.probing
        if probing is None or probing.facts is None:
            return None
        if not are_probes_of(outcome.probes, probing.rungs, probing.rows):
            return None  # a stored training, probed for another sweep
        place = stopping_rung(outcome.probes, probing.facts, len(probing.rungs))
        return None if place is None else StopDecision(share=probing.rungs[place], ran_anyway=ran_anyway)

    def forget_first(self, link: UnlearnLink) -> TrainOutcome:
        """Unlearn the requests of an earlier link, and score its model where the sweep asks for that."""
        found = self.runner.recall(link.request) or self.trainings.train(link)
        outcome = found.outcome(TrainOutcome)
        if self.job.requests is not None and link.after in self.job.requests.after and outcome.stopped_early is None:
            rows = self.evaluate(str(self.runner.store.model_folder(link.request.key)), link)
            self.requests.append(self.scorer.after(rows, link.after))
        return outcome

    def need_weights(self) -> None:
        """Restore evicted weights of the measured model and the original. Call before a stage that is not cached."""
        self.trainings.need_weights()

    def evaluate(self, model_path: str, link: UnlearnLink | None = None) -> pd.DataFrame:
        """Return the rows of the trial's model, or of an earlier link's."""
        known, paths = self.prepared.ids, self.prepared.paths
        model, after = (self.model, 0) if link is None else (link.request.key, link.after)
        request = measuring_requests.evaluate_stage(
            self.job, model, self.prepared.data, known.get("original", ""), after=after
        )
        if self.runner.store.find(request) is None:
            if link is None:
                self.need_weights()
            elif self.runner.store.find(link.request) is None:
                self.trainings.train(link)
        self.runner.run(
            request,
            lambda folder: self.executor.measure(
                measuring_requests.measure_request(self.job, model_path, folder, paths.get("original"))
            ),
        )
        return self.runner.store.rows(request.key)

    def attack(self, attack: AttackSettings, model_path: str) -> AttackScore:
        """Run one attack, measure it, and score it against the same attack on original and gold.

        Raises:
            StageFailedError: the attack failed. A setting of a searched attacker that left no model is no failure.
        """
        victim = self.victim(model_path)
        request = measuring_requests.attack_stage(self.job, attack, victim.model, victim.original, victim.data)
        if self.runner.store.find(request) is None:
            self.need_weights()
        try:
            result = run_attack(self.job, attack, victim, self.runner, self.executor)
        except StageFailedError as failure:
            if attack.searched is None or not any(kind in failure.reason for kind in (BROKEN_MODEL, ATTACK_DIVERGED)):
                raise
            return self.scorer.without_model(attack, failure.reason, before=self.evaluation)
        return self.scorer.attack(attack, result, before=self.evaluation)

    def attack_all(self, model_path: str) -> None:
        """Run the attacks while the trial can still reach the front. `next_attack` chooses the order."""
        hold_links(self.job, self.victim(model_path), self.runner.store, self.task.holder)
        waiting = list(self.job.attacks)
        while waiting:
            scores = {score.attack: score.value for score in self.attacks}
            if (reason := self.skip_reason(scores)) is not None:
                self.skip(waiting, reason)
                return
            attack = next_attack(
                waiting,
                self.attacks,
                self.task.outlook,
                lambda then: self.skip_reason(then) is not None,
                tried_first=self.task.tried_first,
            )
            self.attacks.append(self.attack(attack, model_path))
            waiting.remove(attack)

    def victim(self, model_path: str) -> AttackedModel:
        """Return the unlearned model in the form that attacks use."""
        return AttackedModel(
            model=self.model,
            path=model_path,
            original=self.prepared.ids.get("original", ""),
            original_path=self.prepared.paths.get("original"),
            data=self.prepared.data,
        )

    def forget_links(self) -> None:
        """Delete the links of this trial's chains, and the models after its earlier requests.

        A killed trial keeps them until it is resumed and ends.
        """
        for link in self.trainings.earlier():
            self.runner.store.evict_model(link.request.key)
        if self.model_path is not None:
            forget_links(self.job, self.victim(self.model_path), self.runner.store, self.task.holder)

    # --- lossless pruning ---------------------------------------------------------------------------------------------

    def skip_reason(self, scores: Mapping[str, float | None]) -> str | None:
        """Return why the attacks that are not in `scores` cannot change the front, or None if they can.

        Skipping them leaves the front as it is in both cases: the trial misses a constraint whatever they find, or a
        finished trial dominates (UE, UT, upper bound of Rob) of this one and so its final point. To dominate is to be
        at least as good in all objectives and better in one. The bound counts attacks that are not in `scores` as 1.
        """
        from unlearn_sweep.evaluators.front import is_dominated

        if not self.job.search.prune or self.task.finalist:
            return None
        bound = self.scorer.highest_robustness(scores)
        ue, ut, rob = self.evaluation.ue, self.evaluation.ut, bound if bound is not None else 1.0
        if (missed := missed_constraints({"ue": ue, "ut": ut, "rob": rob}, self.job.search.minimum)) is not None:
            return f"the trial misses the sweep's constraints: {missed}"
        return BEATEN if is_dominated((ue, ut, rob), self.task.rivals) else None

    def skip(self, attacks: Sequence[AttackSettings], reason: str) -> None:
        for attack in attacks:
            self.runner.events.append(
                "attack_skipped", trial=self.task.number, stage=f"attack:{attack.label}", reason=reason
            )
            self.attacks.append(
                AttackScore(
                    attack=attack.label,
                    family=attack.family,
                    **setting_of(attack),
                    value=None,
                    skipped=True,
                    reason=reason,
                )
            )

    def in_file_order(self) -> list[AttackScore]:
        """Return the attack scores in the order of the sweep file, which may differ from the order of execution."""
        place = {attack.label: position for position, attack in enumerate(self.job.attacks)}
        return sorted(self.attacks, key=lambda score: place[score.attack])

    # --- the record ---------------------------------------------------------------------------------------------------

    def record(self, *, state: TrialState, reason: str | None = None, failed_stage: str | None = None) -> TrialRecord:
        """Return a record of everything known about the trial so far."""
        return TrialRecord(
            **self.task.model_dump(include={"number", "key", "method", "params", "seed"}),
            **dict(self.evaluation),
            **dict(self.robustness),
            state=state,
            reason=reason,
            failed_stage=failed_stage,
            unmoved=self.unmoved,
            model_path=self.model_path,
            training=self.training,
            stopping=self.stopping,
            attacks=self.in_file_order(),
            requests=self.requests,
            stage_keys=self.runner.keys,
            stage_seconds=self.runner.seconds,
            reused_stages=self.runner.reused,
            judging=self.runner.judging,
            started=self.started,
            finished=self.started + time.monotonic() - self.began,  # correct even if the system clock changes
            attempts=self.runner.attempt,
            code=version_of(sweep_code(self.job)),
            draws=self.scorer.draws,
        )
