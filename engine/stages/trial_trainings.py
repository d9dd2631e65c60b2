"""The trainings of one trial: its model's weights are found in the store, or trained now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import CHECKPOINT, at_share, share_of
from unlearn_sweep.engine.stages import training_requests
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.prepare import Preparation
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.runner import StageFailedError, StageRunner, TrainingStoppedError
from unlearn_sweep.engine.stages.shared_run import SharedRun
from unlearn_sweep.engine.stages.suppression import Suppression, suppression_of
from unlearn_sweep.engine.stages.training_requests import UnlearnLink
from unlearn_sweep.engine.stages.trial_task import TrialTask
from unlearn_sweep.engine.stopping.records import Probing
from unlearn_sweep.engine.store.outcomes import TrainOutcome
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.retention import Retention
from unlearn_sweep.engine.store.stages import ADAPTER_FILE, StageRequest
from unlearn_sweep.engine.training.job import KeptAdapter
from unlearn_sweep.engine.training_space import checkpoint_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTrainings:
    """Trains what a trial measures: its links, the teacher of its method, and the original where it is gone.

    `meanwhile` is called when a training begins: while the workers train, the process of the trial only waits.
    """

    task: TrialTask
    job: SweepJob
    prepared: Prepared
    executor: Executor
    runner: StageRunner
    meanwhile: Callable[[], None]

    def links(self, share: float | None = None) -> tuple[UnlearnLink, ...]:
        """Return the trainings of this trial; the last leaves its model, or that of another share of the training."""
        task, original = self.task, self.prepared.ids["original"]
        params = task.params if share is None or CHECKPOINT not in task.params else at_share(task.params, share)
        return training_requests.unlearn_links(self.job, task.method, params, task.seed, original, self.prepared.data)

    def earlier(self) -> tuple[UnlearnLink, ...]:
        """Return the links before the last: none without requests."""
        return () if self.job.requests is None else self.links()[:-1]

    def train(self, link: UnlearnLink) -> StageResult:
        """Train with the trial's method and put the weights in the store under the stage's key.

        A link starts from the model of the one before, which is trained again if its weights are gone. A training that
        is measured at several shares leaves the weights of all of them.

        The weights of a LoRA training are made from its kept adapter, if there is one.

        Raises:
            StageFailedError: the sweep trains nothing (`rescore`), or the stage failed.
            TrainingStoppedError: the training was stopped.
        """
        if self.runner.store.has_adapter(link.request.key) and self.restored(link):
            found = self.runner.recall(link.request)
            if found is not None:
                return found
        if not self.job.search.trains:
            raise StageFailedError(link.request.stage, "its model is not in the store, and this sweep trains none")
        task, store = self.task, self.runner.store
        self.need_original()
        suppression = self.suppression()
        start = self.prepared.paths["original"] if suppression is None else suppression.model(self.teacher)
        if link.before is not None:
            if store.find(link.before.request) is None:
                self.train(link.before)
            start = str(store.model_folder(link.before.request.key))
        teacher = self.teacher() if suppression is None else None
        in_sequence = self.job.requests is not None
        probing = self.probing(link.request)  # now: while a stage runs, its former result is gone
        run = SharedRun(
            runner=self.runner,
            request=lambda share: link.request if in_sequence else self.links(share)[-1].request,
            shares=checkpoint_shares(self.job.training, task.params),
            hold=Retention(store, self.job.directory).hold_share,
            work=lambda request, more: self.training_work(
                request, start, link.requests, {"teacher_model": teacher, "probing": probing, **more}
            ),
        )
        return run.weights_at(share_of(task.params), alone=in_sequence or task.finalist or task.weights_only)

    def restored(self, link: UnlearnLink) -> bool:
        """Make the weights of a link from its kept adapter and the original. Return whether they are in the store."""
        task = self.task
        method, params = training_requests.last_training(task.method, task.params)
        self.need_original()

        def make(adapter: Path, output: Path, outcome: TrainOutcome) -> None:
            start = self.prepared.paths["original"]
            job = training_requests.unlearn_job(self.job, method, params, task.seed, start, output)
            kept = KeptAdapter(path=str(adapter), outcome=outcome)
            self.executor.train(
                job.model_copy(update={"kept_adapter": kept}),
                name=f"{self.job.name}-{task.key}-restored-{self.runner.attempt}",
            )

        return self.runner.restore(link.request, make)

    def keeps_adapter(self, start: str) -> bool:
        """Whether a training from `start` leaves its adapter: one on the original whose weights are not sharded."""
        training = self.job.training
        return training.lora is not None and training.zero != 3 and start == self.prepared.paths["original"]

    def training_work(
        self, request: StageRequest[TrainOutcome], start: str, requests: Sequence[int], more: Mapping[str, object]
    ) -> Callable[[Path], TrainOutcome]:
        """Return what trains from the model `start` and keeps the weights; `more` are further fields of the job."""
        task, store = self.task, self.runner.store
        method, params = training_requests.last_training(task.method, task.params)

        def train(folder: Path) -> TrainOutcome:
            self.meanwhile()
            partial, output = store.partial_folder(request.key), folder / "model"
            adapter = {"adapter_file": str(folder / ADAPTER_FILE)} if self.keeps_adapter(start) else {}
            job = training_requests.unlearn_job(
                self.job, method, params, task.seed, start, output, partial, requests
            ).model_copy(update={**adapter, **more})
            outcome = self.executor.train(job, name=f"{self.job.name}-{task.key}-{self.runner.attempt}")
            if outcome.stopped_early == "beaten":
                raise TrainingStoppedError(outcome)
            store.keep_weights(request.key, output)
            return outcome

        return train

    def probing(self, request: StageRequest[TrainOutcome]) -> Probing | None:
        """Return how a training is probed, and by what it stops. One that was finished once runs to its end again."""
        probing = self.task.probing
        if probing is None or self.runner.store.recall(request) is None:
            return probing
        return probing.model_copy(update={"facts": None})

    def suppression(self) -> Suppression | None:
        """Return the first of two trainings in turn; None for a method that is one training."""
        task = self.task
        return suppression_of(
            self.job,
            self.prepared,
            self.executor,
            self.runner,
            (task.method, dict(task.params)),
            task.seed,
            task.holder,
        )

    def need_weights(self) -> None:
        """Train the unlearned model and the original again if their weights are gone."""
        last = self.links()[-1]
        if self.runner.store.find(last.request) is None:
            self.train(last)
        self.need_original()

    def need_original(self) -> None:
        """Train the original model again if it comes from a recipe and its weights are gone."""
        if self.job.original.path is not None or Path(self.prepared.paths["original"]).is_dir():
            return
        Preparation(self.job, self.runner, [self.executor], in_turn=True).have_weights("original")

    def teacher(self) -> str | None:
        """Return the folder of the method's teacher model, trained if needed; None if the method has no teacher.

        Raises:
            StageFailedError: the training of the teacher failed or diverged.
        """
        task, store = self.task, self.runner.store
        params = training_requests.teacher_params(task.method, task.params)
        if params is None:
            return None
        request = training_requests.teacher_stage(self.job, params, self.prepared.ids["original"], self.prepared.data)

        def train(folder: Path) -> TrainOutcome:
            original, partial = self.prepared.paths["original"], store.partial_folder(request.key)
            job = training_requests.teacher_job(self.job, params, original, folder / "model", partial)
            outcome = self.executor.train(job, name=f"{self.job.name}-teacher-{request.key}-{self.runner.attempt}")
            store.keep_weights(request.key, folder / "model")
            return outcome

        outcome = self.runner.run(request, train).outcome(TrainOutcome)
        if outcome.stopped_early is not None:
            raise StageFailedError(request.stage, f"the teacher's training stopped early: {outcome.stop_reason}")
        return str(store.model_folder(request.key))
