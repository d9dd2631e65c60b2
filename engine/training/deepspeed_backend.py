"""The DeepSpeed step backend: a raw engine with ZeRO stage 0 to 3, on GPUs or, with gloo, on CPUs.

DeepSpeed is imported when the first backend is created: without a GPU, DS_ACCELERATOR must be set before the import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.optimizer import create_optimizer
from unlearn_sweep.methods.moved_weights import perturbed, realised_squared

SAVED = "engine"
BUILDABLE = "__compatible_ops__"
LARGEST_BUCKET = 200_000_000
LARGEST_PERSISTENT = 100_000


def import_deepspeed() -> ModuleType:
    """Import DeepSpeed without its start-up log lines and without the C++ build it runs at first use on a CPU.

    On a CPU its communication layer compiles a shared-memory operator. That takes a minute and a compiler, and an
    interrupted build hangs the next start. Only inference uses the operator, so it is declared incompatible here.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if not torch.cuda.is_available():
        setattr(deepspeed.ops, BUILDABLE, {})
    return deepspeed


@contextmanager
def local_rank() -> Iterator[None]:
    """Set LOCAL_RANK inside the context if no launcher has set it; DeepSpeed reads it repeatedly."""
    if "LOCAL_RANK" in os.environ:
        yield
        return
    os.environ["LOCAL_RANK"] = str(torch.cuda.current_device() if torch.cuda.is_available() else 0)
    try:
        yield
    finally:
        del os.environ["LOCAL_RANK"]


@contextmanager
def process_group(deepspeed: ModuleType) -> Iterator[None]:
    """Create a process group of this process alone if there is none; DeepSpeed always requires one."""
    if dist.is_initialized():
        yield
        return
    store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage] -- documented as torch.distributed's own
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        if deepspeed.comm.is_initialized():
            deepspeed.comm.destroy_process_group()  # also clears the groups that DeepSpeed derived from this one
        else:
            dist.destroy_process_group()


def engine_config(job: TrainJob, *, bfloat16: bool, parameters: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration. The training loop, not DeepSpeed, counts micro-batches and ends a step."""
    # ZeRO stage 0 rejects this option: it cannot accumulate bfloat16 gradients in float32.
    accumulation = {"grad_accum_dtype": "fp32"} if job.training.zero > 0 else {}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": job.training.gradient_clip or 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bfloat16},
        "data_types": accumulation,
        "steps_per_print": None,
        "zero_optimization": {
            "stage": job.training.zero,
            "overlap_comm": False,
            "reduce_bucket_size": min(LARGEST_BUCKET, parameters),
            "allgather_bucket_size": min(LARGEST_BUCKET, parameters),
            # Smaller parameters are not sharded. Scale the limit to the model, so that stage 3 shards small models too.
            "stage3_param_persistence_threshold": min(LARGEST_PERSISTENT, parameters // 1000),
        },
    }


class DeepSpeedBackend:
    """torch's AdamW under ZeRO. Weights are trained in float32, whatever the model's own number format."""

    def __init__(self, job: TrainJob, module: SupervisedLM, *, grouped: bool = False) -> None:
        self.deepspeed = import_deepspeed()
        self.grouped = grouped
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.shapes: list[torch.Size] = [parameter.shape for parameter in self.parameters]
        self.module, self.model = module, module.model
        self.zero_stage = job.training.zero
        config = engine_config(
            job,
            bfloat16=next(module.parameters()).dtype == torch.bfloat16,
            parameters=sum(parameter.numel() for parameter in module.parameters()),
        )
        with ExitStack() as lent:
            lent.enter_context(local_rank())
            lent.enter_context(process_group(self.deepspeed))
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

    def whole(self) -> AbstractContextManager[object]:
        return self._whole_weights()

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
        """Gather the weights on rank 0. Does nothing below ZeRO stage 3, which alone shards them."""
        if self.zero_stage < 3:
            return
        whole = self._gathered()
        self._destroy_engine()
        for name, parameter in self.model.named_parameters():
            if name in whole:
                parameter.data = whole[name]

    def close(self) -> None:
        self._destroy_engine()
        self.lent.close()

    def _destroy_engine(self) -> None:
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None

    def _gathered(self) -> dict[str, Tensor]:
        """Gather the weights in CPU memory on rank 0, one parameter at a time; return {} on the other ranks."""
        whole: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            with self.deepspeed.zero.GatheredParameters([parameter]):
                if dist.get_rank() == 0:
                    whole[name] = parameter.detach().cpu().clone()
        return whole
