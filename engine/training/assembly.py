"""Build a training from a job: load and connect method, data, model, frozen start model and backend."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer, model_context
from unlearn_sweep.engine.training.adversary import Adversary
from unlearn_sweep.engine.training.backend import StepBackend
from unlearn_sweep.engine.training.batches import BatchPlan, shuffled
from unlearn_sweep.engine.training.cache import DataCache
from unlearn_sweep.engine.training.checkpoint import Checkpoints
from unlearn_sweep.engine.training.collapse import Collapse
from unlearn_sweep.engine.training.continuations import write_continuations
from unlearn_sweep.engine.training.first_rows import first_rows
from unlearn_sweep.engine.training.forward import SupervisedLM, layer_indices
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.lora import AdaptersOff, add_adapters
from unlearn_sweep.engine.training.noise import put_noise
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.reference import Frozen, FrozenModel, ShardedModel, sequence_nlls
from unlearn_sweep.engine.training.schedule import step_count
from unlearn_sweep.engine.training.state import Training
from unlearn_sweep.engine.training.steps import Run
from unlearn_sweep.engine.training.trained_weights import freeze_rest
from unlearn_sweep.engine.training.training_views import CONTINUATION, Key, Views
from unlearn_sweep.engine.training.weight_average import RunningAverage
from unlearn_sweep.engine.zero.loading import load_sharded
from unlearn_sweep.engine.zero.shards import parameter_count
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.model_parts import decoder_layers
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.interface import Method, Needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A training that is ready to run, plus what exporting it and reporting its outcome require.

    Attributes:
        training: The training to run.
        model: The model under training, as transformers loads it; under ZeRO stage 3 each rank has its shards.
        tokenizer: Its tokenizer, saved with the trained model.
        dtype: Number format in which the start model was loaded and the trained model is saved.
        parameters: Number of the start model's parameters.
        reference_seconds: Time spent preparing the frozen start model's outputs, before the first step.
        checkpoints: None if the job has no `checkpoint_dir`.
    """

    training: Training
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    parameters: int
    reference_seconds: float
    checkpoints: Checkpoints | None = None

    def load_again(self) -> PreTrainedModel:
        """Load the start model once more, in the way `model` was loaded."""
        return Models(self.training.job).load(self.training.job.start_model)


def assemble(job: TrainJob, benchmark: Benchmark, cache: DataCache, *, method: Method | None = None) -> Loaded:
    """Load everything a job needs. The caller must close `training.backend`, and hold a `zero_session` for DeepSpeed.

    Raises:
        ValueError: unknown view, method or parameter; a method this trainer does not support; unusable rows.
    """
    method, ranks = method or build(job.method.name, job.method.params), Ranks.current()
    check_needs(job.method.name, method)
    check_optimizer(job, method)
    check_collapse(job, method.needs())
    tokenizer = load_tokenizer(job.tokenizer or job.start_model, model=job.start_model)
    benchmark = cache.fitted(benchmark, tokenizer, model_context(job.start_model))
    encoder = cache.encoder(benchmark, tokenizer, job.max_tokens)
    needs = method.needs()
    views = Views(
        with_retain_rows(benchmark, job),
        encoder,
        needs.views,
        train_groups=job.train_groups,
        seed=job.seed,
        prefixes=needs.prefixes,
        rows_a_step=needs.rows_a_step,
        subject_change=needs.subject_change,
    )
    plan = views.plan(job.training.global_batch_size)
    steps = step_count(job, plan.steps_per_epoch)
    models = Models(job)
    model = models.load(job.start_model)
    dtype, parameters, began = model.dtype, parameter_count(model), time.perf_counter()
    layers = layer_indices(needs.layers, len(decoder_layers(model))) if needs.layers else ()
    adapters_off = job.training.lora is not None and needs.noise is None
    frozen = None if adapters_off else frozen_model(needs, models, model, layers)
    continue_rows(models, views, model, tokenizer)
    if needs.noise is not None:
        put_noise(model, needs.noise, job.seed)
    collapse = None if needs.collapse is None else Collapse.of(needs.collapse, model, steps)
    module = trainable(job, model, needs, layers)
    module.by_length = collapse is None  # its hooks read [B, T]
    if adapters_off and needs.reference in ("logits", "hidden"):
        frozen = AdaptersOff(module)
    backend = create_backend(job, module, ranks, grouped=needs.gradients == "grouped")
    nlls = reference_nlls(method, module, views, plan, steps, ranks)
    reference_seconds = time.perf_counter() - began
    run = Run(
        needs=needs,
        steps=steps,
        seed=job.seed,
        device=model.device,
        tokenizer=tokenizer,
        forward=backend.forward,
        layers=layers,
        frozen=frozen,
        teacher=teacher_model(job, needs, models),
        reference_nlls=nlls,
        collapse=collapse,
    )
    run.adversary = Adversary(needs.adversary, module) if needs.adversary is not None else None
    loss_cap = job.loss_cap or 2 * math.log(model.config.get_text_config().vocab_size)
    return Loaded(
        training=Training(
            job=job,
            method=method,
            active=method,
            views=views,
            plan=plan,
            run=run,
            backend=backend,
            ranks=ranks,
            loss_cap=loss_cap,
            average=RunningAverage(needs.average, module) if needs.average is not None else None,
            micro_rows=first_rows(job, model, run, views, plan, ranks),
        ),
        checkpoints=Checkpoints(Path(job.checkpoint_dir), job) if job.checkpoint_dir is not None else None,
        model=model,
        tokenizer=tokenizer,
        dtype=dtype,
        parameters=parameters,
        reference_seconds=reference_seconds,
    )


def with_retain_rows(benchmark: Benchmark, job: TrainJob) -> Benchmark:
    """Return the benchmark with `training.retain_rows` rows of view "retain", drawn by the seed; or all."""
    wanted, rows = job.training.retain_rows, benchmark.train.get("retain", ())
    if wanted is None or wanted >= len(rows):
        return benchmark
    kept = sorted(shuffled(job.seed, "retain rows", 0, len(rows))[:wanted])
    return replace(benchmark, train={**benchmark.train, "retain": [rows[row] for row in kept]})


def create_backend(job: TrainJob, module: SupervisedLM, ranks: Ranks, *, grouped: bool = False) -> StepBackend:
    """Create the job's backend for training the weights of `module`.

    `grouped`: the caller uses `gradient` and `place`, never `backward`.
    """
    if job.training.backend == "deepspeed":
        from unlearn_sweep.engine.training.deepspeed_backend import DeepSpeedBackend

        return DeepSpeedBackend(job, module, grouped=grouped)
    from unlearn_sweep.engine.training.torch_backend import TorchBackend

    if job.training.optimizer == "zeroth_order":
        from unlearn_sweep.engine.training.zeroth_backend import ZerothOrderBackend

        return ZerothOrderBackend(job, module, ranks)
    return TorchBackend(job, module, ranks, grouped=grouped)


def check_needs(name: str, method: Method) -> None:
    """Raise ValueError if a method's needs contradict each other; called before the model is loaded."""
    needs = method.needs()
    strangers = sorted(set(needs.reference_views) - {*needs.views, *(view for view, _ in needs.prefixes)})
    if strangers:
        raise ValueError(f"method {name!r} consults the start model on views it does not read: {', '.join(strangers)}")
    if not needs.layers and (needs.reference == "hidden" or not needs.logits or needs.trainable != "all"):
        raise ValueError(f"method {name!r} works on hidden states but declares no layers")


def check_optimizer(job: TrainJob, method: Method) -> None:
    """Raise ValueError if the optimizer cannot train this method; called before the model is loaded."""
    needs, training, name = method.needs(), job.training, job.method.name
    if training.optimizer == "zeroth_order" and (needs.gradients == "grouped" or needs.adversary is not None):
        raise ValueError(f"method {name!r} works with gradients, and optimizer zeroth_order makes none")
    if training.optimizer == "sophia" and training.sophia.curvature == "gauss_newton" and not needs.logits:
        raise ValueError(f"method {name!r} reads no logits for sophia to draw targets from; use curvature: gradient")


def check_collapse(job: TrainJob, needs: Needs) -> None:
    """Raise ValueError if common parts cannot be taken out of the gradients with these settings."""
    if needs.collapse is None:
        return
    if job.training.lora is not None:
        raise ValueError(f"method {job.method.name!r}: cir works on whole weights; train without lora")
    if job.training.activation_checkpointing:
        raise ValueError(f"method {job.method.name!r}: cir reads gradients on the way; no activation_checkpointing")
    if job.training.optimizer == "sophia":
        raise ValueError(f"method {job.method.name!r}: cir would take sophia's drawn answers for forget rows")


@dataclass(frozen=True, slots=True)
class Models:
    """Load the models of a job: whole, or sharded over the ranks under ZeRO stage 3."""

    job: TrainJob

    @property
    def sharded(self) -> bool:
        return self.job.training.zero == 3

    def load(self, path: str) -> PreTrainedModel:
        """Load the model of a folder or hub id. Every rank must call this."""
        if self.sharded:
            return load_sharded(path, self._config, dtype=self.job.dtype, attention=self.job.attention)
        return load_model(path, dtype=self.job.dtype, attention=self.job.attention)

    def frozen(self, model: PreTrainedModel, *, layers: Sequence[int] = (), head: bool = True) -> Frozen:
        """Make a model that `load` returned one that is not trained."""
        if self.sharded:
            return ShardedModel(model, self._config(model), layers=layers, head=head, logits=self.job.training.logits)
        return FrozenModel(model, layers=layers, head=head, copied=False, logits=self.job.training.logits)

    def _config(self, model: PreTrainedModel) -> dict[str, Any]:
        from unlearn_sweep.engine.training.deepspeed_backend import engine_config

        bfloat16 = model.dtype == torch.bfloat16
        return engine_config(self.job.training, bfloat16=bfloat16, parameters=parameter_count(model))


def frozen_model(needs: Needs, models: Models, model: PreTrainedModel, layers: Sequence[int]) -> Frozen | None:
    """Copy the start model for a method that reads its logits or hidden states; otherwise return None."""
    if needs.reference not in ("logits", "hidden"):
        return None
    own = models.load(models.job.start_model) if models.sharded else copy.deepcopy(model)
    return models.frozen(own, layers=layers, head=needs.reference == "logits")


def continue_rows(models: Models, views: Views, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Generate the continuations that a method reads, with the start model `model` or a sharded one loaded for it."""
    if not models.sharded or CONTINUATION not in views.names:
        write_continuations(views, model, tokenizer)
        return
    own = models.load(models.job.start_model)
    frozen = models.frozen(own)
    write_continuations(views, own, tokenizer)
    frozen.close()


def teacher_model(job: TrainJob, needs: Needs, models: Models) -> Frozen | None:
    """Load the method's teacher; return None if the method needs none.

    Raises:
        ValueError: the method needs a teacher, but the job has no `teacher_model`.
    """
    if needs.teacher == "none":
        return None
    if job.teacher_model is None:
        raise ValueError(f"method {job.method.name!r} needs a {needs.teacher} model, and the job has no teacher_model")
    return models.frozen(models.load(job.teacher_model))


def trainable(job: TrainJob, model: PreTrainedModel, needs: Needs, layers: Sequence[int]) -> SupervisedLM:
    """Prepare the model for the backend: training mode, with all weights frozen that are not trained.

    Steps on bfloat16 weights lose most small updates, so weights are trained in float32: the master copy of ZeRO, or
    float32 weights under autocast with the torch backend.
    """
    if job.training.activation_checkpointing:
        model.activation_checkpointing_enable()
    autocast = None
    if job.training.backend == "torch" and model.dtype != torch.float32:
        autocast = model.dtype
        model.float()
    if job.training.lora is not None:
        add_adapters(model, job.training.lora, needs, layers)
    else:
        freeze_rest(model, needs, layers)
    return SupervisedLM(model, autocast=autocast, layers=layers, head=needs.logits, logits=job.training.logits).train()


def reference_nlls(
    method: Method, module: SupervisedLM, views: Views, plan: BatchPlan, steps: int, ranks: Ranks
) -> dict[Key, float]:
    """Compute the start model's NLL of every row of the training, if the method's reference is "sequence_nll".

    Return {} for any other reference.
    """
    needs = method.needs()
    if needs.reference != "sequence_nll":
        return {}
    seen = (views.batch(plan, step) for step in range(steps))
    items = {item.key: item for batch in seen for view in needs.reference_views for item in batch[view]}
    return sequence_nlls(module, items.values(), ranks, next(module.parameters()).device)
