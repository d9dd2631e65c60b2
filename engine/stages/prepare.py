"""Prepare a sweep: create the original and the gold model and measure them as controls for every trial.

All steps are stages in the shared store, so a second sweep with the same models and data reuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.stages import measuring_requests, model_identity, training_requests
from unlearn_sweep.engine.stages.attack_chain import AttackedModel, forget_links, hold_links, run_attack
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.prepared import Prepared
from unlearn_sweep.engine.stages.prompt_probe import ProbeResult, PromptFormatError
from unlearn_sweep.engine.stages.recipes import recipe_of
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.stages.spread import spread
from unlearn_sweep.engine.store import durable
from unlearn_sweep.engine.store.outcomes import StartOutcome, TrainOutcome
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.stages import StageRequest
from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

Given = TypeVar("Given")
Made = TypeVar("Made")
WHICH = ("original", "gold")


class Preparation:
    """Runs the stages of the preparation.

    Args:
        job: the sweep.
        runner: runs the stages and writes their events.
        executors: one for each stage that may run at the same time.
        in_turn: train models one after the other, because each training needs the whole machine.
        which: the available controls. A search needs both; an audit uses those it has.
        here: run in the calling thread, one item after the other, for an executor in this process.
        probe_refuses: raise if the original knows its rows better in another prompt format; otherwise only report it.
    """

    def __init__(
        self,
        job: SweepJob,
        runner: StageRunner,
        executors: list[Executor],
        *,
        in_turn: bool,
        which: Sequence[str] = WHICH,
        here: bool = False,
        probe_refuses: bool = True,
    ) -> None:
        self.job = job
        self.runner = runner
        self.executors = executors
        self.in_turn = in_turn
        self.store = runner.store
        self.which = tuple(which)
        self.probe_refuses = probe_refuses
        self.here = here

    def run(self) -> Prepared:
        """Create the models, then evaluate and attack each control.

        Raises:
            PromptFormatError: the original was probably trained in another prompt format than the sweep's.
        """
        data, recipe = _benchmark_facts(self.job)
        models = self._models(data, recipe)
        paths = {which: path for which, (_, path) in models.items()}
        self._check_tokenizer(paths)
        ids = {which: name for which, (name, _) in models.items()}
        prompt_note = self._probe(data, paths, ids)
        controls = self._controls(data, paths, ids)
        return Prepared(
            data=data,
            gold_at_chance=self.job.gold.floor is not None,
            prompt_note=prompt_note,
            paths=paths,
            ids=ids,
            evaluations={which: controls["evaluate", which] for which in self.which},
            attacks={
                attack.label: {which: controls[attack.label, which] for which in self.which}
                for attack in self.job.attacks
            },
        )

    # --- models -------------------------------------------------------------------------------------------------------

    def _models(self, data: str, recipe: TrainRecipe | None) -> dict[str, tuple[str, str]]:
        """Return content name and path of each control. A model without a given path is trained."""
        sources = {which: getattr(self.job, which) for which in self.which}

        def work(which: str, executor: Executor) -> tuple[str, str]:
            source = sources[which]
            if source.floor is not None:  # no gold model: use the original's rows, set to chance values on reading
                which, source = "original", self.job.original
            if source.path is not None:
                return model_identity.source_id(source), source.path
            whole = recipe_of(self.job, which, recipe)
            if whole is None:
                raise ValueError(f"{which}: benchmark {self.job.benchmark.name!r} has no training recipe: give a path")
            weights = which == "original" and self._tokenizer_is_read()
            return self._trained(which, whole, data, executor, weights=weights)

        return dict(zip(sources, self._spread(list(sources), work, in_turn=self.in_turn), strict=True))

    def _probe(self, data: str, paths: Mapping[str, str], ids: Mapping[str, str]) -> str:
        """Return the warning of the prompt-format probe; empty if there is none.

        Models trained here are not probed, since they are trained in the sweep's format.
        """
        if not self.job.prompt_probe or "original" not in paths or self.job.original.path is None:
            return ""
        request = measuring_requests.probe_stage(self.job, ids["original"], data)
        path = paths["original"]
        done = self.runner.run(
            request,
            lambda folder: self.executors[0].probe(measuring_requests.measure_request(self.job, path, folder, path)),
        )
        found = done.outcome(ProbeResult)
        durable.write_text(self.job.directory / "prompt.json", found.model_dump_json(indent=1) + "\n")
        note = found.sentence()
        if note and self.probe_refuses:
            raise PromptFormatError(note)
        return note

    def _check_tokenizer(self, paths: Mapping[str, str]) -> None:
        """Check that a gold model given by path works with the original's tokenizer.

        Raises:
            ValueError: the vocabularies differ.
        """
        from unlearn_sweep.engine.models.loading import refuse_other_vocabulary

        gold, used = self.job.gold, self.job.original.tokenizer or paths.get("original")
        if gold.path is not None and gold.tokenizer is None and "gold" in paths and used is not None:
            refuse_other_vocabulary(gold.path, used)

    def _tokenizer_is_read(self) -> bool:
        """Whether `_check_tokenizer` reads the original's tokenizer to check a gold model given by path."""
        return self.job.gold.path is not None and self.job.gold.tokenizer is None

    def have_weights(self, which: str, executor: Executor | None = None) -> None:
        """Train the original or the gold model if it has a recipe and its weights are not in the store.

        Finished measurements of the model are kept; they do not run again.
        """
        source = getattr(self.job, which)
        which, source = (which, source) if source.floor is None else ("original", self.job.original)
        if source.path is not None:
            return
        data, recipe = _benchmark_facts(self.job)
        whole = recipe_of(self.job, which, recipe)
        if whole is not None:
            self._trained(which, whole, data, executor or self.executors[0], weights=True)

    def _trained(
        self, which: str, recipe: Mapping[str, Any], data: str, executor: Executor, *, weights: bool
    ) -> tuple[str, str]:
        """Train a model by a recipe from its start model, unless it is in the store. Return content name and path.

        If `weights` is false, a finished training whose weights were evicted is not repeated.
        """
        request = training_requests.finetune_stage(
            self.job, which, training_requests.start_stage(recipe, data).key, recipe, data
        )
        named = request.key, str(self.store.model_folder(request.key))
        found = self.store.find(request) if weights else self.runner.recall(request)
        if found is not None:
            return named
        _, start_path = self._start(recipe, data, executor)

        def train(folder: Path) -> TrainOutcome:
            partial = self.store.partial_folder(request.key)
            job = training_requests.finetune_job(self.job, which, start_path, recipe, folder / "model", partial)
            outcome = executor.train(job, name=f"{self.job.name}-{which}-{request.key}")
            self.store.keep_weights(request.key, folder / "model")
            return outcome

        self.runner.run(request, train)
        return named

    def _start(self, recipe: Mapping[str, Any], data: str, executor: Executor) -> tuple[str, str]:
        """Create the start model of a recipe, unless it is in the store. Return content name and path.

        Original and gold usually share one. If both request it at the same time, the second waits for the first.
        """
        request = training_requests.start_stage(recipe, data)

        def create(folder: Path) -> StartOutcome:
            executor.start_model(training_requests.start_request(self.job, recipe, folder / "model"))
            self.store.keep_weights(request.key, folder / "model")
            return StartOutcome()

        self.runner.run(request, create)
        return request.key, str(self.store.model_folder(request.key))

    # --- controls -----------------------------------------------------------------------------------------------------

    def _controls(self, data: str, paths: Mapping[str, str], ids: Mapping[str, str]) -> dict[tuple[str, str], str]:
        """Measure all controls. Return stage keys by ("evaluate" or attack label, control)."""
        victims = {
            which: AttackedModel(
                model=ids[which],
                path=paths[which],
                original=ids.get("original", ""),
                original_path=paths.get("original"),
                data=data,
            )
            for which in self.which
        }
        for which, victim in victims.items():
            hold_links(self.job, victim, self.store, which)
        wanted: dict[tuple[str, str], Callable[[Executor], StageResult]] = {
            ("evaluate", which): partial(self._measure, victims[which]) for which in self.which
        }
        self._have_weights_of(victims)
        for attack in self.job.attacks:
            for which in self.which:
                wanted[attack.label, which] = partial(run_attack, self.job, attack, victims[which], self.runner)
        done = self._spread(list(wanted.values()), lambda work, executor: work(executor).key, in_turn=False)
        for which, victim in victims.items():
            forget_links(self.job, victim, self.store, which)
        return dict(zip(wanted, done, strict=True))

    def _have_weights_of(self, victims: Mapping[str, AttackedModel]) -> None:
        """Train again models that have no weights and are needed to measure a control.

        Every measurement may need the original, so its weights are restored if any control is not measured yet.
        """
        missing = {which for which, victim in victims.items() if not self._is_measured(victim)}
        if missing and "original" in victims:
            missing.add("original")
        gone = [which for which in self.which if which in missing and not Path(victims[which].path).is_dir()]
        self._spread(gone, self.have_weights, in_turn=self.in_turn)

    def _is_measured(self, victim: AttackedModel) -> bool:
        """Whether all measurements of a control are in the store."""
        named = victim.model, victim.original, victim.data
        evaluation = measuring_requests.evaluate_stage(self.job, victim.model, victim.data, victim.original)
        attacks = [measuring_requests.attack_stage(self.job, attack, *named) for attack in self.job.attacks]
        found = self.store.find(evaluation)
        return found is not None and all(self.store.find(request) is not None for request in attacks)

    def _measure(self, victim: AttackedModel, executor: Executor) -> StageResult:
        request = measuring_requests.evaluate_stage(self.job, victim.model, victim.data, victim.original)
        return self.runner.run(
            request,
            lambda folder: executor.measure(
                measuring_requests.measure_request(self.job, victim.path, folder, victim.original_path)
            ),
        )

    def _spread(self, items: list[Given], work: Callable[[Given, Executor], Made], *, in_turn: bool) -> list[Made]:
        """Apply `work` to every item and return results in item order. Each executor handles one item at a time."""
        hands = self.executors[:1] if in_turn else self.executors
        if self.here:
            return [work(item, hands[0]) for item in items]
        try:
            return spread(work, items, hands)
        except BaseException:  # also on a signal: running stages end with the process and no further stage starts
            self.runner.abandon()
            raise


def model_stages(job: SweepJob) -> list[StageRequest[Any]]:
    """Return the stages that create the start, original and gold models. Models given by path have none."""
    sources = [(which, getattr(job, which)) for which in WHICH]
    wanted = [(which, source) for which, source in sources if source.path is None and source.floor is None]
    data, recipe = _benchmark_facts(job) if wanted else ("", None)
    found: dict[str, StageRequest[Any]] = {}
    for which, _ in wanted:
        if (whole := recipe_of(job, which, recipe)) is None:
            continue
        start = training_requests.start_stage(whole, data)
        model = training_requests.finetune_stage(job, which, start.key, whole, data)
        found |= {start.key: start, model.key: model}
    return list(found.values())


def _load(job: SweepJob) -> Any:
    from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

    return load_benchmark(job.benchmark.name, job.benchmark.params)


def _benchmark_facts(job: SweepJob) -> tuple[str, TrainRecipe | None]:
    """Return the digest of the benchmark's data and the benchmark's training recipe."""
    benchmark = _load(job)
    return benchmark.digest(), benchmark.recipe
