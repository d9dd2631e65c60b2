"""The first of two trainings in turn, as in `npo>undo`: the model that the second one starts from and learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import whole_run
from unlearn_sweep.engine.stages import training_requests
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.retention import Retention
from unlearn_sweep.engine.store.stages import StageRequest
from unlearn_sweep.methods.catalog import Training, in_two

DIVERGED = "SuppressionDiverged"
"""Begins the reason of a first training that diverged: the trial has collapsed, as one whose only training did."""


def suppression_of(
    job: SweepJob,
    prepared: Prepared,
    executor: Executor,
    runner: StageRunner,
    trial: Training,
    seed: int,
    holder: str,
) -> Suppression | None:
    """Return the first training of a trial of two in turn; None for a method that is one training."""
    if (trainings := in_two(*trial)) is None:
        return None
    first = trainings[0][0], whole_run(trainings[0][1])
    space = next((space for space in job.spaces if space.method == trial[0]), None)
    return Suppression(
        job=job,
        prepared=prepared,
        executor=executor,
        runner=runner,
        training=first,
        seed=seed,
        holder=holder,
        shared=space is not None and not set(first[1]) & set(space.searched()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """The first training of one trial.

    `shared`: its parameters are the same in all trials of the method. Then its model stays in the store, as that of a
    teacher does; else it goes with the trial.
    """

    job: SweepJob
    prepared: Prepared
    executor: Executor
    runner: StageRunner
    training: Training
    seed: int
    holder: str
    shared: bool

    @property
    def request(self) -> StageRequest[TrainOutcome]:
        prepared = self.prepared
        return training_requests.suppress_stage(
            self.job, *self.training, self.seed, prepared.ids["original"], prepared.data
        )

    def model(self, teacher: Callable[[], str | None]) -> str:
        """Return the folder of the model, trained now if it is not in the store. `teacher` gives its own teacher's.

        Raises:
            StageFailedError: the training failed or diverged.
        """
        request, store = self.request, self.runner.store
        self._retention.hold(self._mark, request.key)

        def train(folder: Path) -> TrainOutcome:
            start, partial = self.prepared.paths["original"], store.partial_folder(request.key)
            job = training_requests.unlearn_job(
                self.job, *self.training, self.seed, start, folder / "model", partial
            ).model_copy(update={"teacher_model": teacher()})
            outcome = self.executor.train(job, name=f"{self.job.name}-suppress-{request.key}-{self.runner.attempt}")
            store.keep_weights(request.key, folder / "model")
            return outcome

        outcome = self.runner.run(request, train).outcome(TrainOutcome)
        if outcome.stopped_early is not None:
            raise StageFailedError(request.stage, f"{DIVERGED}: {outcome.stop_reason or outcome.stopped_early}")
        return str(store.model_folder(request.key))

    def release(self) -> None:
        """Unmark the model, and delete its weights where no other trial will ask for them."""
        self._retention.drop(self._mark, self.request.key, keep=self.shared)

    @property
    def _retention(self) -> Retention:
        return Retention(self.runner.store, self.job.directory)

    @property
    def _mark(self) -> str:
        return f"{self.holder}-suppressed"
