"""Define the stages of a sweep: the key of each, and the request that computes it. Scheduling is done elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from unlearn_sweep.engine.job import AttackSettings, ModelSource, SweepJob
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.workbench import StartRequest
from unlearn_sweep.engine.store.code import code_version
from unlearn_sweep.engine.store.keys import digest, named_files
from unlearn_sweep.engine.store.stages import ROWS_FILE, StageRequest, StageStore
from unlearn_sweep.engine.training.job import Choice, TrainJob, TrainOutcome
from unlearn_sweep.engine.training.settings import LoraSettings, TrainingSettings
from unlearn_sweep.evaluators.catalog import measuring_facts, metric_modules
from unlearn_sweep.evaluators.external_judges import compares, verdict_identity
from unlearn_sweep.evaluators.tasks.definitions import task_identity

TRAINING_CODE = "unlearn_sweep.engine.training.worker"
FINETUNE_CODE = "unlearn_sweep.methods.finetune"
PROBE_CODE = "unlearn_sweep.engine.stages.prompt_probe"
EVALUATION_CODE = "unlearn_sweep.engine.stages.measurement"
ATTACK_CODE = "unlearn_sweep.engine.stages.attack_run"
MODEL_CODE = "unlearn_sweep.engine.models"
START_FIELDS = ("base", "config", "vocab_size", "seed")
PER_METHOD = ("learning_rate", "epochs")


class Executor(Protocol):
    """Runs the work of stages, in this process or on Ray."""

    def start_model(self, request: StartRequest) -> None: ...

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome: ...

    def measure(self, request: MeasureRequest) -> dict[str, Any]: ...

    def attack(self, request: AttackRequest) -> dict[str, Any]: ...

    def make_room(self) -> None:
        """Free the memory that processes of this sweep hold between stages. Called while no stage runs."""
        ...


# --- start, original and gold model ---------------------------------------------------------------------------------


def start_stage(recipe: Mapping[str, Any], data: str) -> StageRequest:
    """Return the stage of the untrained (or base) model that a recipe trains."""
    inputs = {"recipe": {name: recipe[name] for name in START_FIELDS}, "data": data, "code": code_version(MODEL_CODE)}
    return StageRequest(stage="prepare:start", inputs=inputs, weights=True)


def start_request(job: SweepJob, recipe: Mapping[str, Any], output: Path) -> StartRequest:
    return StartRequest(benchmark=job.benchmark.model_dump(), recipe=dict(recipe), output=str(output))


def finetune_stage(job: SweepJob, which: str, start: str, recipe: Mapping[str, Any], data: str) -> StageRequest:
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
    return StageRequest(stage=f"prepare:{which}", inputs=inputs, weights=True)


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
        checkpoint_every_s=sweep.checkpoint_every_s,
    )


def tokenizer_of(job: SweepJob, model_path: str, original_path: str | None) -> str | None:
    """Return the path of a model's tokenizer; None to use the one in the model's own folder.

    All models use the original's tokenizer, unless the sweep file names one for the original or for the gold model.
    """
    if job.gold.tokenizer is not None and model_path == job.gold.path:
        return job.gold.tokenizer
    return job.original.tokenizer or original_path


def tokenizer_identity(job: SweepJob, original: str) -> dict[str, str]:
    """Return key inputs for the tokenizers of a measurement: the original's, or those named in the sweep file.

    `original` is a content name, which covers the tokenizer in the original's folder.
    """
    sources = {"tokenizer": job.original.tokenizer, "gold_tokenizer": job.gold.tokenizer}
    named = {name: _tokenizer_digest(path) for name, path in sources.items() if path is not None}
    return ({"tokenizer": original} if original else {}) | named


def _tokenizer_digest(path: str) -> str:
    from unlearn_sweep.engine.models import tokenizer_digest

    return tokenizer_digest(path)


def source_id(source: ModelSource) -> str:
    """Return the content name of a model given by path. A changed folder has another name.

    Raises:
        ValueError: the model has no path.
    """
    from unlearn_sweep.engine.models import model_digest

    if source.path is None:
        raise ValueError("only a model given by path has a content name before it is made")
    return model_digest(source.path)


# --- one trial --------------------------------------------------------------------------------------------------------


def unlearn_stage(
    job: SweepJob, method: str, params: Mapping[str, Any], seed: int, original: str, data: str
) -> StageRequest:
    """Return the stage that unlearns with one configuration and leaves the unlearned model."""
    from unlearn_sweep.methods.catalog import modules

    learnt_from = teacher_params(method, params)
    teacher = {} if learnt_from is None else {"teacher": teacher_stage(job, learnt_from, original, data).key}
    inputs = {
        "method": method,
        "params": params,
        **named_files(params),
        **teacher,
        "seed": seed,
        "training": job.training.identity(),
        "dtype": job.dtype,
        "original": original,
        **tokenizer_identity(job, ""),
        "data": data,
        "code": code_version(TRAINING_CODE, *modules(method, params)),
    }
    return StageRequest(stage="unlearn", inputs=inputs, weights=True)


def unlearn_job(
    job: SweepJob,
    method: str,
    params: Mapping[str, Any],
    seed: int,
    original_path: str,
    output: Path,
    checkpoints: Path | None = None,
) -> TrainJob:
    """Return the training job of `unlearn_stage`.

    The learning rate is taken from `params`. So is the number of epochs if present, unless the sweep sets `max_steps`.
    """
    own = job.training.max_steps is None and "epochs" in params
    return TrainJob(
        start_model=original_path,
        tokenizer=job.original.tokenizer,
        output_dir=str(output),
        benchmark=Choice(name=job.benchmark.name, params=job.benchmark.params),
        method=Choice(name=method, params={name: value for name, value in params.items() if name not in PER_METHOD}),
        learning_rate=params["learning_rate"],
        training=job.training.lasting(params["epochs"]) if own else job.training,
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
        for name, value in (defaults(method) | dict(params)).items()
        if "reinforce_" in name
    }
    return {name: found[name] for name in PER_METHOD}


def teacher_stage(job: SweepJob, params: Mapping[str, Any], original: str, data: str) -> StageRequest:
    """Return the stage that trains the original further on the forget rows, with the sweep's seed.

    All trials with the same teacher `params` share it.
    """
    request = unlearn_stage(job, "finetune", params, job.seed, original, data)
    return StageRequest(stage="reinforce", inputs={**request.inputs, "views": ["forget"]}, weights=True)


def teacher_job(
    job: SweepJob, params: Mapping[str, Any], original_path: str, output: Path, checkpoints: Path | None = None
) -> TrainJob:
    """Return the training job of `teacher_stage`."""
    training = unlearn_job(job, "finetune", params, job.seed, original_path, output, checkpoints)
    length = training.training.lasting(params["epochs"])
    return training.model_copy(update={"train_groups": ("forget",), "training": length})


def evaluate_stage(job: SweepJob, model: str, data: str, original: str = "") -> StageRequest:
    """Return the stage that computes all metrics of one model on the benchmark's evaluation splits.

    `model` and `original` are content names. `original` is part of the key if a metric compares with the original
    model's answers, and for its tokenizer.
    """
    inputs = {
        "model": model,
        "data": data,
        "metrics": metrics_of(job),
        "cards": measuring_facts(metrics_of(job)),
        **verdict_identity(metrics_of(job)),
        **task_identity(job.tasks),
        **({"original": original} if compares(metrics_of(job)) else {}),
        **tokenizer_identity(job, original),
        "dtype": job.dtype,
        "code": code_version(EVALUATION_CODE, *metric_modules(metrics_of(job))),
    }
    return StageRequest(stage="evaluate", inputs=inputs)


def probe_stage(job: SweepJob, model: str, data: str) -> StageRequest:
    """Return the stage that scores a few trained rows in several prompt formats. `data` covers the sweep's format."""
    inputs = {
        "model": model,
        "data": data,
        **tokenizer_identity(job, model),
        "dtype": job.dtype,
        "code": code_version(PROBE_CODE),
    }
    return StageRequest(stage="prepare:prompt", inputs=inputs)


def attack_stage(job: SweepJob, attack: AttackSettings, model: str, original: str, data: str) -> StageRequest:
    """Return the stage that runs one attack on one model and measures it at each strength."""
    inputs = {
        "attack": attack.name,
        "params": attack.params,
        **named_files(attack.params),
        "seed": job.seed,
        "model": model,
        "original": original,
        "data": data,
        "metrics": metrics_of(job),
        "cards": measuring_facts(metrics_of(job)),
        **verdict_identity(metrics_of(job)),
        **task_identity(job.tasks),
        "dtype": job.dtype,
        **tokenizer_identity(job, original),
        "code": code_version(
            ATTACK_CODE, *attack_modules(attack.name, attack.params), *metric_modules(metrics_of(job))
        ),
    }
    return StageRequest(stage=f"attack:{attack.label}", inputs=inputs)


def link_stage(job: SweepJob, attack: AttackSettings, model: str, original: str, data: str) -> StageRequest:
    """Return the stage that runs an attack and keeps the weights for the next attack of a chain, without measuring.

    `model` is the content name of the attacked model, or the key of the previous link.
    """
    inputs = {
        "attack": attack.name,
        "params": attack.params,
        **named_files(attack.params),
        "seed": job.seed,
        "model": model,
        "original": original,
        "data": data,
        "dtype": job.dtype,
        **tokenizer_identity(job, original),
        "code": code_version(ATTACK_CODE, *attack_modules(attack.name, attack.params)),
    }
    return StageRequest(stage=f"link:{attack.label}", inputs=inputs, weights=True)


def attack_modules(name: str, params: Mapping[str, Any]) -> list[str]:
    """Return the modules that implement an attack. Those of a chain include the modules of all its links."""
    from unlearn_sweep.evaluators.attacks.catalog import card

    modules = {card(name).target.partition(":")[0]}
    for link in params.get("steps", []) if name == "chain" else []:
        for link_name, link_params in link.items():
            modules.update(attack_modules(link_name, link_params or {}))
    return sorted(modules)


def metrics_of(job: SweepJob) -> list[str]:
    """Return all metrics of the sweep without duplicates, those of UE first."""
    return list(dict.fromkeys([*job.ue_metrics, *job.ut_metrics]))


def measure_request(job: SweepJob, model_path: str, folder: Path, original_path: str | None = None) -> MeasureRequest:
    return MeasureRequest(
        model_path=model_path,
        benchmark=job.benchmark.model_dump(),
        metrics=metrics_of(job),
        rows_path=str(folder / ROWS_FILE),
        tasks=job.tasks,
        original_path=original_path,
        tokenizer_path=tokenizer_of(job, model_path, original_path),
        dtype=job.dtype,
        attention=job.attention,
        threads=job.threads,
    )


def probe_request(job: SweepJob, model_path: str, folder: Path) -> MeasureRequest:
    return measure_request(job, model_path, folder, model_path).model_copy(update={"probe": True})


def attack_request(
    job: SweepJob, attack: AttackSettings, model_path: str, original_path: str | None, folder: Path
) -> AttackRequest:
    return AttackRequest(
        **measure_request(job, model_path, folder, original_path).model_dump(),
        attack=attack.name,
        params=attack.params,
        seed=job.seed,
    )


def keep_weights(store: StageStore, key: str, made: Path) -> None:
    """Move a trained model from a stage's scratch folder to its folder in the store, by one rename."""
    import shutil

    target = store.model_folder(key)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # left by a crash after the rename and before the stage's record was written
        shutil.rmtree(target)
    made.rename(target)


def trial_identity(job: SweepJob, original: str, data: str) -> dict[str, Any]:
    """Return the inputs shared by all trials of a study. With method, parameters and seed they form the trial key."""
    return {
        "original": original,
        "data": data,
        "training": digest(job.training.identity()),
    }
