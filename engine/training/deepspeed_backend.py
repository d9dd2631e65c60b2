"""The DeepSpeed step backend: a raw engine with ZeRO stage 0 to 3, on GPUs or, with gloo, on CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.optimizer import create_optimizer
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.engine.training.zero_sizes import engine_sizes
from unlearn_sweep.engine.zero.parts import Parts
from unlearn_sweep.engine.zero.session import zero_session
from unlearn_sweep.engine.zero.shards import gathered, own_part, parameter_count, scatter, whole_shape
from unlearn_sweep.methods.moved_weights import perturbed, realised_squared

SAVED = "engine"


def engine_config(settings: TrainingSettings, *, bfloat16: bool, parameters: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration. The training loop, not DeepSpeed, counts micro-batches and ends a step."""
    # ZeRO stage 0 rejects this option: it cannot accumulate bfloat16 gradients in float32.
    accumulation = {"grad_accum_dtype": "fp32"} if settings.zero > 0 else {}
    sizes = engine_sizes(parameters)
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
            "reduce_bucket_size": sizes.bucket,
            "allgather_bucket_size": sizes.bucket,
            "stage3_prefetch_bucket_size": sizes.prefetch,
            "sub_group_size": sizes.stepped,
            "stage3_max_live_parameters": sizes.live,
            "stage3_max_reuse_distance": sizes.live,
            "stage3_param_persistence_threshold": sizes.persistent,
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
        self.parts = Parts([whole_shape(parameter) for parameter in self.parameters])
        self._total: Sequence[Tensor] | None = None
        if grouped:
            for index, parameter in enumerate(self.parameters):
                parameter.register_hook(partial(self._take, index))

    def micro_batch(self, *, last: bool) -> AbstractContextManager[object]:
        return nullcontext()

    def forward(self, packed: Packed) -> Outputs:
        # The engine's forward prepares the gradient reduction of a backward pass, which grouped gradients do not run.
        model = self.module if self.grouped else self.engine
        return self.module.named(model(*packed.inputs))

    def look(self, packed: Packed) -> Tensor:
        with self.module.looked_at():
            logits = self.module(*packed.inputs)[0]
        self._release()
        return logits

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss)

    @property
    def shapes(self) -> Sequence[torch.Size]:
        return self.parts.shapes

    def zeros(self) -> list[Tensor]:
        return self.parts.zeros(self.parameters[0].device)

    def add_gradient(self, loss: Tensor, total: Sequence[Tensor]) -> None:
        self._total = total
        try:
            torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
        finally:
            self._total = None
        self._release()

    def mean_over_ranks(self, total: Sequence[Tensor]) -> list[Tensor]:
        return list(total)  # `_take` has added means

    def sum_parts(self, values: Tensor) -> Tensor:
        return self.parts.sum(values)

    def part(self, index: int, whole: Tensor) -> Tensor:
        return self.parts.padded(index, self.parts.own(index, whole))

    def place(self, gradients: Sequence[Tensor]) -> None:
        """Run one backward pass in which each weight's gradient is gathered when it is due."""
        with ExitStack() as due:

            def gradient(index: int) -> Tensor:
                due.close()  # autograd is done with the weight before
                due.enter_context(gathered([self.parameters[index]]))
                return self.parts.whole(index, gradients[index].to(self.parameters[index].dtype))

            handed = []
            for index, parameter in enumerate(self.parameters):
                with gathered([parameter]):  # autograd compares the shapes of weight and gradient
                    handed.append(_Given.apply(parameter, partial(gradient, index)))
            self.engine.backward(torch.stack(handed).sum())

    @contextmanager
    def moved(self, offsets: Sequence[Tensor]) -> Iterator[float]:
        self._release()
        before = [self._held(index).clone() for index in range(len(self.parameters))]
        moved = torch.zeros((), device=self.parameters[0].device)
        with torch.no_grad():
            for index, offset in enumerate(offsets):
                master, old = self._master(index), before[index]
                (new,) = perturbed([master], [offset[: master.numel()].to(master.device)])
                new = new.to(old.dtype)
                self._write(index, new)
                moved += realised_squared([old], [new]).to(moved.device)
        try:
            yield float(self.parts.sum(moved).sqrt())
        finally:
            self._release()
            for index, old in enumerate(before):
                self._write(index, old)

    def _take(self, index: int, gradient: Tensor) -> Tensor | None:
        """Add this rank's part of a weight's gradient to the running total, as soon as the gradient is there.

        What goes on to the caller of the backward pass has the gradient's shape and takes no memory.
        """
        if self._total is None:
            return None
        self._total[index].add_(self.parts.mean_over_ranks(index, gradient))
        return torch.zeros((), dtype=gradient.dtype, device=gradient.device).expand(gradient.shape)

    def _release(self) -> None:
        """Free gathered weights, as the engine's backward does: modules whose input needs no gradient keep theirs."""
        if self.zero_stage == 3:
            self.engine.optimizer.parameter_offload.partition_all_parameters()

    def _held(self, index: int) -> Tensor:
        """Return this rank's part of a weight, without padding."""
        parameter = self.parameters[index]
        return own_part(parameter) if self.zero_stage == 3 else self.parts.own(index, parameter)

    def _master(self, index: int) -> Tensor:
        """Return this rank's part of the optimizer's float32 copy of a weight.

        An offset added to a bfloat16 weight would mostly be lost in rounding.
        """
        parameter, held = self.parameters[index], self._held(index)
        if self.zero_stage == 3:
            return self.deepspeed.utils.safe_get_local_fp32_param(parameter)[: held.numel()]
        if parameter.dtype == torch.float32:
            return held
        return self.parts.own(index, self.deepspeed.utils.safe_get_full_fp32_param(parameter))

    @torch.no_grad()
    def _write(self, index: int, part: Tensor) -> None:
        """Set a weight from all ranks' parts."""
        if self.zero_stage == 3:
            self._held(index).copy_(part)
            return
        missing = self.parts.length(index) - part.numel()
        padded = torch.nn.functional.pad(part, (0, missing))
        self.parameters[index].copy_(self.parts.whole(index, padded))

    def drop_gradients(self) -> bool:
        return False  # its buckets and counters would keep what an unfinished backward left in them

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


class _Given(torch.autograd.Function):
    """Zero, with a gradient with respect to `weight` that is made when the backward pass asks for it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, make: Callable[[], Tensor]) -> Tensor:
        ctx.make = make
        return torch.zeros((), device=weight.device)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:
        gradient: Tensor = ctx.make()
        return gradient.mul_(outer[0].to(gradient.dtype)), None
