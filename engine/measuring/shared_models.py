"""The models of a measuring process that its workers can have too, and the devices that each process computes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from unlearn_sweep.engine.measuring.messages import ModelSource, StoredModel
from unlearn_sweep.engine.measuring.placing import load_on
from unlearn_sweep.engine.measuring.workers import MeasuringWorkers
from unlearn_sweep.engine.measuring.written import written
from unlearn_sweep.engine.models.loading import choose_dtype, model_folder
from unlearn_sweep.engine.models.model_shape import shape_of, stored_parameters
from unlearn_sweep.engine.models.spread import accelerators_here
from unlearn_sweep.engine.resources.measuring import GIB, MeasuringMemory, device_groups, measuring_memory, processes_on

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

Groups = tuple[tuple[str, ...], ...]


class SharedModels:
    """The models of one process, and its measuring workers, which start with the first model to share."""

    def __init__(self) -> None:
        self._workers = MeasuringWorkers(())
        self._sources: WeakKeyDictionary[nn.Module, StoredModel] = WeakKeyDictionary()
        self._groups: Groups = ()

    def load(self, source: StoredModel, workers: int | None) -> PreTrainedModel:
        """Load a model on the devices of this process, and remember where workers can load it from.

        `workers`: processes that share rows, as in the sweep file; None: as many as there are devices for. The devices
        of each follow the model that was loaded last.
        """
        groups = device_groups(*_divided(source, workers))
        if groups != self._groups:
            self.close()
            self._groups, self._workers = groups, MeasuringWorkers(groups)
        model = load_on(groups[0], source.path, dtype=source.dtype, attention=source.attention)
        self._sources[model] = source
        return model

    @contextmanager
    def sharing(self, model: PreTrainedModel, threads: int, scratch: Path | None = None) -> Iterator[None]:
        """Let the workers compute batches of `model` within the block, if they can have it.

        They load one that `load` has loaded. Any other is written into a file in the folder `scratch`, unless it is
        spread over devices or cannot be pickled: this process then measures it alone.
        """
        with ExitStack() as stack:
            source: ModelSource | None = self._sources.get(model)
            if source is None and scratch is not None and len(self._groups) > 1 and len(self._groups[0]) < 2:
                source = stack.enter_context(written(model, scratch))
            if source is not None and len(self._groups) > 1:
                stack.enter_context(self._workers.sharing(model, source, threads))
            yield

    def pids(self) -> Sequence[int]:
        return self._workers.pids

    def counted(self) -> dict[int, int]:
        """Return the batches that each worker has computed, by its process id."""
        return dict(zip(self._workers.pids, self._workers.batches, strict=True))

    def helped_since(self, before: dict[int, int]) -> int:
        """Return how many workers have computed batches since `counted` gave `before`."""
        return sum(batches > before.get(pid, 0) for pid, batches in self.counted().items())

    def ready(self) -> None:
        """Wait until the workers have started and loaded what they were asked to load."""
        self._workers.ready()

    def close(self) -> None:
        self._workers.close()


def _divided(source: StoredModel, workers: int | None) -> tuple[list[str], int]:
    """Return the devices of this process, and how many processes share them."""
    devices = accelerators_here()
    if not devices or workers is not None:
        return devices, processes_on(len(devices), workers, None, None)
    return devices, processes_on(len(devices), None, _memory(source, devices[0]), _device_gib(devices[0]))


def _memory(source: StoredModel, device: str) -> MeasuringMemory | None:
    """Return what measuring a model holds; None if its files do not tell its size."""
    import torch

    folder = model_folder(source.path)
    parameters = stored_parameters(folder)
    if parameters is None:
        return None
    numbers = choose_dtype(source.dtype, torch.device(device))
    size = torch.float32.itemsize if numbers == "auto" else numbers.itemsize
    return measuring_memory(shape_of(parameters, str(folder)), size)


def _device_gib(device: str) -> float:
    import torch

    return torch.cuda.get_device_properties(device).total_memory / GIB
