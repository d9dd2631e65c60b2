"""The plain step backend: one process, or DistributedDataParallel over all ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from unlearn_sweep.engine.optimizers.catalog import OPTIMIZERS
from unlearn_sweep.engine.optimizers.sophia import Sophia
from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.optimizer import RuleOptimizer, create_optimizer
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.methods.moved_weights import perturbed, realised_squared

SAVED = "training.safetensors"


class TorchBackend:
    """An optimizer over float32 weights. Gradients are averaged over ranks once per step."""

    def __init__(self, job: TrainJob, module: SupervisedLM, ranks: Ranks, *, grouped: bool = False) -> None:
        self.clip = job.training.gradient_clip
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.parallel: DistributedDataParallel | None = None
        if ranks.world_size > 1 and not grouped:
            self.parallel = DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)
        self.module = module
        module.sparse_rows = ranks.world_size == 1
        self.ranks = ranks
        self.optimizer = create_optimizer(job, module) if OPTIMIZERS[job.training.optimizer].gradients else None

    def micro_batch(self, *, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last or self.parallel is None else self.parallel.no_sync()

    def forward(self, packed: Packed) -> Outputs:
        return self.module.named((self.parallel or self.module)(*packed.inputs))

    def look(self, packed: Packed) -> Tensor:
        with self.module.looked_at():
            return self.module(*packed.inputs)[0]

    def backward(self, loss: Tensor) -> None:
        loss.backward()
        for parameter in self.parameters:
            if parameter.grad is not None and parameter.grad.is_sparse:  # a loss that reads no logits
                parameter.grad = parameter.grad.to_dense()

    @property
    def shapes(self) -> Sequence[torch.Size]:
        return [parameter.shape for parameter in self.parameters]

    def zeros(self) -> list[Tensor]:
        return [torch.zeros(parameter.shape, device=parameter.device) for parameter in self.parameters]

    def add_gradient(self, loss: Tensor, total: Sequence[Tensor]) -> None:
        found = torch.autograd.grad(loss, self.parameters, retain_graph=True, allow_unused=True)
        for held, new in zip(total, found, strict=True):
            if new is not None:
                held += new

    def mean_over_ranks(self, total: Sequence[Tensor]) -> list[Tensor]:
        return [self.ranks.sum(gradient) / self.ranks.world_size for gradient in total]

    def sum_parts(self, values: Tensor) -> Tensor:
        return values  # every rank has whole weights

    def part(self, index: int, whole: Tensor) -> Tensor:
        return whole

    def place(self, gradients: Sequence[Tensor]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    @contextmanager
    def moved(self, offsets: Sequence[Tensor]) -> Iterator[float]:
        before = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            for parameter, moved in zip(self.parameters, perturbed(self.parameters, offsets), strict=True):
                parameter.copy_(moved)
        length = float(realised_squared(before, self.parameters).sqrt())
        try:
            yield length
        finally:
            with torch.no_grad():
                for parameter, old in zip(self.parameters, before, strict=True):
                    parameter.copy_(old)  # subtracting the offset would not restore the same bits

    def drop_gradients(self) -> bool:
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
        return self.optimizer is not None

    def wants_curvature(self, index: int) -> bool:
        """Return whether the optimizer wants `take_curvature` before step `index` (from 0)."""
        rule = self.optimizer.rule if isinstance(self.optimizer, RuleOptimizer) else None
        return isinstance(rule, Sophia) and rule.draws_at(index + 1)

    def take_curvature(self, curvature: Sequence[Tensor]) -> None:
        """Give the optimizer an estimate for each trained weight, in the form of `zeros`, for the next step."""
        if isinstance(self.optimizer, RuleOptimizer):
            self.optimizer.estimate(self.parameters, curvature)

    def step(self, learning_rate: float) -> None:
        if self.optimizer is None:
            raise RuntimeError("this backend takes its steps without an optimizer")
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def save(self, folder: Path) -> None:
        if dist.is_initialized() and dist.get_rank() > 0:
            return  # every rank has the same weights
        tensors = {f"weight.{number}": weight for number, weight in enumerate(self.parameters)}
        if self.optimizer is not None:
            for number, weight in enumerate(self.parameters):
                tensors |= {f"{name}.{number}": value for name, value in self.optimizer.state[weight].items()}
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / SAVED)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        tensors = load_file(folder / SAVED)
        for number, weight in enumerate(self.parameters):
            weight.copy_(tensors.pop(f"weight.{number}"))
        if self.optimizer is None:
            return
        for name, value in tensors.items():
            entry, _, number = name.rpartition(".")
            weight = self.parameters[int(number)]
            self.optimizer.state[weight][entry] = value.to(weight.device)

    def finish(self) -> None:
        """Do nothing: every rank has all weights already."""

    def close(self) -> None:
        if self.optimizer is not None:
            self.optimizer.state.clear()
        self.parallel = None
