"""The DeepSpeed step backend: a raw engine with ZeRO stage 0 to 3, on GPUs or, with gloo, on CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.optimizer import create_optimizer
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.zero.session import zero_session
from unlearn_sweep.engine.zero.shards import parameter_count, scatter, whole_shape
from unlearn_sweep.methods.moved_weights import perturbed, realised_squared

SAVED = "engine"
LARGEST_BUCKET = 200_000_000
LARGEST_PREFETCH = 50_000_000
LARGEST_LIVE = 1_000_000_000
LARGEST_PERSISTENT = 100_000


def engine_config(settings: TrainingSettings, *, bfloat16: bool, parameters: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration. The training loop, not DeepSpeed, counts micro-batches and ends a step.

    Buffers and what ZeRO stage 3 keeps gathered are scaled to the model: with DeepSpeed's own sizes, a model of less
    than a billion parameters would never be sharded while it computes.
    """
    # ZeRO stage 0 rejects this option: it cannot accumulate bfloat16 gradients in float32.
    accumulation = {"grad_accum_dtype": "fp32"} if settings.zero > 0 else {}
    bucket = min(LARGEST_BUCKET, max(1, parameters // 20))
    live = min(LARGEST_LIVE, parameters // 10)
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": settings.gradient_clip or 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bfloat16},
        "data_types": accumulation,
        "steps_per_print": None,
        "zero_optimization": {
            "stage": settings.zero,
            "overlap_comm": False,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": min(LARGEST_PREFETCH, parameters // 20),
            "stage3_max_live_parameters": live,
            "stage3_max_reuse_distance": live,
            # Smaller parameters are not sharded.
            "stage3_param_persistence_threshold": min(LARGEST_PERSISTENT, parameters // 1000),
            **_offloads(settings),
        },
    }


def _offloads(settings: TrainingSettings) -> dict[str, Any]:
    """Return DeepSpeed's settings for what the CPU's memory holds in place of the GPU's."""
    place = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    offloaded = {"none": (), "optimizer": ("optimizer",), "all": ("optimizer", "param")}[settings.offload]
    return {f"offload_{part}": dict(place) for part in offloaded}


class DeepSpeedBackend:
    """torch's AdamW under ZeRO. Weights are trained in float32, whatever the model's own number format."""

    def __init__(self, job: TrainJob, module: SupervisedLM, *, grouped: bool = False) -> None:
        self.grouped = grouped
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.shapes: list[torch.Size] = [whole_shape(parameter) for parameter in self.parameters]
        self.module, self.model = module, module.model
        self.zero_stage = job.training.zero
        config = engine_config(
            job.training,
            bfloat16=next(module.parameters()).dtype == torch.bfloat16,
            parameters=parameter_count(module),
        )
        with ExitStack() as lent:
            self.deepspeed = lent.enter_context(zero_session())
            self.engine: Any
            self.engine, *_ = self.deepspeed.initialize(
                model=module, optimizer=create_optimizer(job, module), config=config
            )
            self.lent = lent.pop_all()

    def micro_batch(self, *, last: bool) -> AbstractContextManager[object]:
        return nullcontext()

    def forward(self, packed: Packed) -> Outputs:
        # The engine's forward prepares the gradient reduction of a backward pass, which grouped gradients do not run.
        model = self.module if self.grouped else self.engine
        return self.module.named(model(*packed.inputs))

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss)

    def gradient(self, loss: Tensor) -> Sequence[Tensor | None]:
        found = torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
        if (
            self.zero_stage == 3
        ):  # as the engine's backward does; else a module whose input needs no gradient stays gathered
            self.engine.optimizer.parameter_offload.partition_all_parameters()
        return found

    def place(self, gradients: Sequence[Tensor]) -> None:
        """Run one backward pass of sum <weights, gradients>: its gradient is `gradients`."""
        with self._whole_weights():
            parts = [
                (parameter * gradient.to(parameter.dtype)).sum()
                for parameter, gradient in zip(self.parameters, gradients, strict=True)
            ]
            self.engine.backward(torch.stack(parts).sum())

    @contextmanager
    def moved(self, offsets: Sequence[Tensor]) -> Iterator[float]:
        masters = [self._master(parameter) for parameter in self.parameters]
        with self._whole_weights(write=True), torch.no_grad():
            before = [parameter.detach().clone() for parameter in self.parameters]
            for parameter, moved in zip(self.parameters, perturbed(masters, offsets), strict=True):
                parameter.copy_(moved)
            length = float(realised_squared(before, self.parameters).sqrt())
        try:
            yield length
        finally:
            with self._whole_weights(write=True), torch.no_grad():
                for parameter, old in zip(self.parameters, before, strict=True):
                    parameter.copy_(old)

    def _master(self, parameter: Tensor) -> Tensor:
        """Return the optimizer's unsharded float32 copy of a weight.

        An offset added to a bfloat16 weight would mostly be lost in rounding.
        """
        if parameter.dtype == torch.float32 and self.zero_stage < 3:
            return parameter.detach()
        return self.deepspeed.utils.safe_get_full_fp32_param(parameter)

    def _whole_weights(self, *, write: bool = False) -> AbstractContextManager[object]:
        """Gather every trained weight on every rank. With `write`, rank 0's values are sent to all ranks on exit."""
        if self.zero_stage < 3:
            return nullcontext()
        return self.deepspeed.zero.GatheredParameters(self.parameters, modifier_rank=0 if write else None)

    def step(self, learning_rate: float) -> None:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self.engine.step()

    def save(self, folder: Path) -> None:
        """Write a checkpoint in the engine's own format, one shard per rank. Only the same training may load it."""
        self.engine.save_checkpoint(str(folder), tag=SAVED)

    def load(self, folder: Path) -> None:
        path, _ = self.engine.load_checkpoint(str(folder), tag=SAVED)
        if path is None:
            raise RuntimeError(f"no DeepSpeed checkpoint in {folder}; delete that folder to restart the training")

    def finish(self) -> None:
        if self.zero_stage == 3:
            scatter(self.model.parameters())

    def close(self) -> None:
        self._destroy_engine()
        self.lent.close()

    def _destroy_engine(self) -> None:
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None
