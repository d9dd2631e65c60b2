"""Define the stages that make models: the key of each, and the request that computes it. Scheduling is done elsewhere.

The stages are the start model, the original and gold models, the models of trials and the teachers of some methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import share_of, whole_run
from unlearn_sweep.engine.stages.model_identity import tokenizer_identity
from unlearn_sweep.engine.stages.view_reads import fixed, method_reads, read_inputs, with_reads
from unlearn_sweep.engine.stages.workbench import StartRequest
from unlearn_sweep.engine.store.code import code_version
from unlearn_sweep.engine.store.keys import named_files
from unlearn_sweep.engine.store.outcomes import StartOutcome, TrainOutcome
from unlearn_sweep.engine.store.stages import StageRequest
from unlearn_sweep.engine.training.job import Choice, TrainJob
from unlearn_sweep.engine.training.settings import LoraSettings, TrainingSettings
from unlearn_sweep.engine.training_space import own_params, trained_with, training_params
from unlearn_sweep.evaluators.benchmarks.requests import REQUESTS_KEY

TRAINING_CODE = "unlearn_sweep.engine.training.worker"
FINETUNE_CODE = "unlearn_sweep.methods.finetune"
MODEL_CODE = "unlearn_sweep.engine.models.start_model"
START_FIELDS = ("base", "config", "vocab_size", "seed")
PER_METHOD = ("learning_rate", "epochs")


def start_stage(recipe: Mapping[str, Any], data: str) -> StageRequest[StartOutcome]:
    """Return the stage of the untrained (or base) model that a recipe trains."""
    inputs = {"recipe": {name: recipe[name] for name in START_FIELDS}, "data": data, "code": code_version(MODEL_CODE)}
    return StageRequest(stage="prepare:start", inputs=inputs, outcome=StartOutcome, weights=True)


def start_request(job: SweepJob, recipe: Mapping[str, Any], output: Path) -> StartRequest:
    return StartRequest(benchmark=job.benchmark.model_dump(), recipe=dict(recipe), output=str(output))


def finetune_stage(
    job: SweepJob, which: str, start: str, recipe: Mapping[str, Any], data: str
) -> StageRequest[TrainOutcome]:
    """Return the stage that trains the original model (`which` "original") or the gold model ("gold").

    The key leaves out the backend, the number of workers and memory-saving options, since they change no result.
    """
    inputs = {
        "start": start,
        "views": finetune_views(which),
        "recipe": recipe,
        "gradient_clip": job.training.gradient_clip,
        "lora": lora.model_dump() if (lora := finetune_lora(job, recipe)) is not None else None,
        "dtype": job.dtype,
        "data": data,
        "code": code_version(TRAINING_CODE, FINETUNE_CODE),
    }
    return StageRequest(stage=f"prepare:{which}", inputs=inputs, outcome=TrainOutcome, weights=True)


def finetune_views(which: str) -> list[str]:
    """Return the views to train on. Gold is trained without the forget rows."""
    return ["forget", "retain"] if which == "original" else ["retain"]


def finetune_lora(job: SweepJob, recipe: Mapping[str, Any]) -> LoraSettings | None:
    """Return the sweep's LoRA settings if the recipe has a base model, else None.

    Adapters cannot train randomly initialised weights.
    """
    return job.training.lora if recipe.get("base") is not None else None


def finetune_job(
    job: SweepJob, which: str, start_path: str, recipe: Mapping[str, Any], output: Path, checkpoints: Path | None = None
) -> TrainJob:
    """Return the training job of `finetune_stage`. Length and rates come from the recipe, the rest from the sweep."""
    return TrainJob(
        start_model=start_path,
        output_dir=str(output),
        benchmark=Choice(name=job.benchmark.name, params=job.benchmark.params),
        method=Choice(name="finetune"),
        train_groups=tuple(finetune_views(which)),
        learning_rate=recipe["learning_rate"],
        training=_recipe_training(job, recipe),
        seed=recipe["seed"],
        dtype=job.dtype,
        attention=job.attention,
        threads=job.threads,
        checkpoint_dir=str(checkpoints) if checkpoints is not None else None,
    )


def _recipe_training(job: SweepJob, recipe: Mapping[str, Any]) -> TrainingSettings:
    """Combine a recipe's length and optimizer with the sweep's backend and memory options.

    Without training workers, the backend is torch.
    """
    sweep = job.training
    return TrainingSettings(
        epochs=recipe["epochs"],
        global_batch_size=recipe["batch_size"],
        micro_batch_size=sweep.micro_batch_size,
        warmup_share=recipe["warmup_share"],
        weight_decay=recipe["weight_decay"],
        gradient_clip=sweep.gradient_clip,
        activation_checkpointing=sweep.activation_checkpointing,
        lora=finetune_lora(job, recipe),
        backend=sweep.backend if sweep.workers else "torch",
        zero_stage=sweep.zero_stage if sweep.workers else None,
        offload=sweep.offload if sweep.workers else "none",
        checkpoint_every_s=sweep.checkpoint_every_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlearnLink:
    """One training of a trial: its stage, the requests it forgets, and the link whose model it starts from.

    `after` counts the requests that are forgotten by then (0: the benchmark has none). `before` None: the original.
    """

    request: StageRequest[TrainOutcome]
    requests: tuple[int, ...]
    after: int
    before: UnlearnLink | None


def unlearn_links(
    job: SweepJob, method: str, params: Mapping[str, Any], seed: int, original: str, data: str
) -> tuple[UnlearnLink, ...]:
    """Return the trainings of a trial, in order: one, or one after each request (`SweepJob.requests`).

    In sequence, each starts from the model before it and forgets its own request. Together, each starts from the
    original and forgets all requests up to its own. Equal beginnings have equal keys, whatever follows.
    """
    asked = job.requests
    if asked is None:
        request = _unlearn_stage(job, method, params, seed, original, data)
        return (UnlearnLink(request=request, requests=(), after=0, before=None),)
    links: list[UnlearnLink] = []
    numbers = asked.after if asked.mode == "together" else range(1, asked.after[-1] + 1)
    for number in numbers:
        before = links[-1] if links and asked.mode == "sequence" else None
        own = (number,) if asked.mode == "sequence" else tuple(range(1, number + 1))
        start = original if before is None else before.request.key
        made = _unlearn_stage(job, method, params, seed, start, data)
        name = "unlearn" if number == asked.after[-1] else f"unlearn:request-{number}"
        request = StageRequest(
            stage=name,
            inputs={**made.inputs, "requests": list(own)},
            outcome=TrainOutcome,
            weights=True,
            keyed_as="unlearn",
        )
        links.append(UnlearnLink(request=request, requests=own, after=number, before=before))
    return tuple(links)


def unlearn_stage(
    job: SweepJob, method: str, params: Mapping[str, Any], seed: int, original: str, data: str
) -> StageRequest[TrainOutcome]:
    """Return the stage that unlearns with one configuration and leaves the unlearned model: the last of the links."""
    return unlearn_links(job, method, params, seed, original, data)[-1].request


def _unlearn_stage(
    job: SweepJob, method: str, params: Mapping[str, Any], seed: int, original: str, data: str
) -> StageRequest[TrainOutcome]:
    """Return the stage of one training from the model `original`, which leaves the unlearned model.

    Weights at a share of the training depend on its whole schedule, so they have the same inputs and the share beside.

    Of two trainings in turn (`npo>undo`) it is the second, which starts from the model of `suppress_stage`.
    """
    from unlearn_sweep.methods.catalog import in_two, modules

    trained, own = last_training(method, params)
    own = own_params(own)
    trainings = in_two(method, params)
    start = original if trainings is None else suppress_stage(job, *trainings[0], seed, original, data).key
    learnt_from = teacher_params(trained, own)
    teacher = {} if learnt_from is None else {"teacher": teacher_stage(job, learnt_from, original, data).key}
    share = share_of(params)
    inputs = {
        "method": method,
        "params": own_params(params),
        **({} if share == 1 else {"share": share}),
        **named_files(own),
        **teacher,
        "seed": seed,
        "training": trained_with(job.training, params).identity(),
        "dtype": job.dtype,
        "original": start,
        **tokenizer_identity(job, ""),
        "data": data,
        **read_inputs(method_reads(job.views, trained, fixed(own))),
        "code": code_version(TRAINING_CODE, *modules(trained, own)),
    }
    return StageRequest(stage="unlearn", inputs=inputs, outcome=TrainOutcome, weights=True)


def suppress_stage(
    job: SweepJob, method: str, params: Mapping[str, Any], seed: int, original: str, data: str
) -> StageRequest[TrainOutcome]:
    """Return the stage of the first of two trainings in turn, whose model the second starts from."""
    inputs = _unlearn_stage(job, method, whole_run(params), seed, original, data).inputs
    return StageRequest(stage="suppress", inputs=inputs, outcome=TrainOutcome, weights=True)


def last_training(method: str, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what the stage "unlearn" trains: the method, or the second of two trainings in turn.

    Searched settings of the training hold for both.
    """
    from unlearn_sweep.methods.catalog import in_two

    trainings = in_two(method, params)
    if trainings is None:
        return method, dict(params)
    last, values = trainings[1]
    return last, {**values, **training_params(params)}


def unlearn_job(
    job: SweepJob,
    method: str,
    params: Mapping[str, Any],
    seed: int,
    original_path: str,
    output: Path,
    checkpoints: Path | None = None,
    requests: Sequence[int] = (),
) -> TrainJob:
    """Return the training job of `unlearn_stage`, of the forget rows of these requests (none: all).

    The learning rate is taken from `params`. So is the number of epochs if present, unless the sweep sets `max_steps`.
    """
    training, params = trained_with(job.training, params), own_params(params)
    own = training.max_steps is None and "epochs" in params
    reads = method_reads(job.views, method, fixed(params))
    return TrainJob(
        start_model=original_path,
        tokenizer=job.original.tokenizer,
        output_dir=str(output),
        benchmark=Choice(
            name=job.benchmark.name,
            params=with_reads(job.benchmark.params, reads) | ({REQUESTS_KEY: list(requests)} if requests else {}),
        ),
        method=Choice(name=method, params={name: value for name, value in params.items() if name not in PER_METHOD}),
        learning_rate=params["learning_rate"],
        training=training.lasting(params["epochs"]) if own else training,
        seed=seed,
        checkpoint_dir=str(checkpoints) if checkpoints is not None else None,
        dtype=job.dtype,
        attention=job.attention,
        threads=job.threads,
    )


def needs_teacher(method: str) -> bool:
    """Whether a method learns from a teacher model that must be trained first."""
    from unlearn_sweep.methods.catalog import card

    return "teacher:reinforced" in card(method).needs


def teacher_params(method: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return learning rate and epochs of the method's teacher; None if the method needs no teacher."""
    from unlearn_sweep.methods.catalog import defaults

    if not needs_teacher(method):
        return None
    found = {
        name.rpartition(".")[2].removeprefix("reinforce_"): value
        for name, value in (defaults(method) | own_params(params)).items()
        if "reinforce_" in name
    }
    return {name: found[name] for name in PER_METHOD}


def teacher_stage(job: SweepJob, params: Mapping[str, Any], original: str, data: str) -> StageRequest[TrainOutcome]:
    """Return the stage that trains the original further on the forget rows, with the sweep's seed.

    All trials with the same teacher `params` share it, whatever settings of the training they search.
    """
    request = _unlearn_stage(_teaching(job), "finetune", params, job.seed, original, data)
    inputs = {**request.inputs, "views": ["forget"]}
    return StageRequest(stage="reinforce", inputs=inputs, outcome=TrainOutcome, weights=True)


def teacher_job(
    job: SweepJob, params: Mapping[str, Any], original_path: str, output: Path, checkpoints: Path | None = None
) -> TrainJob:
    """Return the training job of `teacher_stage`."""
    training = unlearn_job(_teaching(job), "finetune", params, job.seed, original_path, output, checkpoints)
    length = training.training.lasting(params["epochs"])
    return training.model_copy(update={"train_groups": ("forget",), "training": length})


def _teaching(job: SweepJob) -> SweepJob:
    """Return the job with the optimizer that teachers are trained with: AdamW, as their learning rates are for it."""
    return job.model_copy(update={"training": job.training.model_copy(update={"optimizer": "adamw"})})
