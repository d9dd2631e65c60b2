"""The process of a measuring worker: it computes batches on copies of models until its measuring process ends.

Started as `python -m unlearn_sweep.engine.measuring.worker SOCKET LIFELINE DEVICE...` with two open file descriptors.
Nothing is ever written to the lifeline; it closes when the measuring process ends, however it ends, and ends this one.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from unlearn_sweep.engine.measuring.messages import ModelSource, Reply, StoredModel, Task, WrittenModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STORED_KEPT = 3
"""Models from folders that a worker keeps, as the measuring process does."""


def main(arguments: Sequence[str]) -> None:
    socket, lifeline, *devices = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the measuring one decides
    threading.Thread(target=_end_with, args=(int(lifeline),), daemon=True).start()
    with Connection(int(socket)) as connection:
        serve(connection, Models(devices))


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(0)


def serve(connection: Connection, models: Models) -> None:
    """Answer each task with a reply until the other end closes."""
    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_done(task, models))
        except Exception as error:  # a result that cannot be sent is an error of its batch
            connection.send(Reply(error=_sendable(error)))


def _done(task: Task, models: Models) -> Reply:
    import torch

    from unlearn_sweep.evaluators.inference import measuring

    if torch.get_num_threads() != task.threads:
        torch.set_num_threads(task.threads)
    try:
        model = models.get(task.source)
    except UnusableSourceError as error:
        return Reply(unusable=str(error))
    except Exception as error:
        return Reply(error=_sendable(error))
    if task.batch is None:
        return Reply()
    try:
        with measuring(model):
            return Reply(value=task.batch.run(model))
    except Exception as error:  # raised again where the batch came from
        return Reply(error=_sendable(error))


def _sendable(error: Exception) -> Exception:
    """Return the error if it survives pickling, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever an error's own code raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class UnusableSourceError(RuntimeError):
    """A written model cannot be read in another process: its file is gone, or it is made of code that is not there."""


class Models:
    """The models of a worker on its devices: the latest from folders, and one from a file.

    `devices`: one or more accelerators, over which a model is spread; none: the CPU.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._devices = tuple(devices)
        self._stored: OrderedDict[StoredModel, PreTrainedModel] = OrderedDict()
        self._written: tuple[WrittenModel, PreTrainedModel] | None = None
        if self._devices:
            import torch

            torch.cuda.set_device(self._devices[0])

    def get(self, source: ModelSource) -> PreTrainedModel:
        """Return a model, loaded if it is not here.

        Raises:
            UnusableSourceError: a written model cannot be read here.
        """
        if isinstance(source, WrittenModel):
            if self._written is None or self._written[0] != source:
                self._written = None  # before the next one is loaded: there may be no room for two
                self._written = source, self._read(source)
            return self._written[1]
        if source not in self._stored:
            self._stored[source] = self._load(source)
        self._stored.move_to_end(source)
        while len(self._stored) > STORED_KEPT:
            self._stored.popitem(last=False)
        return self._stored[source]

    def _load(self, source: StoredModel) -> PreTrainedModel:
        from unlearn_sweep.engine.measuring.placing import load_on

        return load_on(self._devices, source.path, dtype=source.dtype, attention=source.attention)

    def _read(self, source: WrittenModel) -> PreTrainedModel:
        """Read a model that the measuring process has just written into its own scratch folder."""
        import torch

        place = self._devices[0] if self._devices else "cpu"
        try:
            return torch.load(source.path, map_location=place, weights_only=False)
        except (OSError, ImportError, AttributeError, pickle.UnpicklingError) as error:
            raise UnusableSourceError(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
