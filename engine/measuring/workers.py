"""Start measuring workers, give them models and batches, and notice when one is lost.

A worker is a child of the measuring process, which owns the devices of all of them: it sees those that Ray gave its
parent, and ends with it. Batches go to whoever is free, the largest first, and the measuring process computes some
itself; a worker that still starts or loads takes none, and nobody waits for it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from unlearn_sweep.engine.measuring.messages import ModelSource, Reply, Task
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.evaluators.model_batches import ModelBatch, Result, copied

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MODULE = "unlearn_sweep.engine.measuring.worker"


class _Worker:
    """One process and the thread that talks to it, which does one task at a time."""

    def __init__(self, devices: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        end, self._lifeline = os.pipe()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno()), str(end), *devices],
                pass_fds=(theirs.fileno(), end),
                stdin=subprocess.DEVNULL,
            )
        os.close(end)
        self._connection = Connection(ours.detach())
        self.hand = ThreadPoolExecutor(max_workers=1, thread_name_prefix="measuring-worker")
        self.batches = 0

    def do(self, task: Task) -> Reply:
        """Return what came of a task.

        Raises:
            ProcessLostError: the process ended.
        """
        try:
            self._connection.send(task)
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise ProcessLostError(f"a measuring worker was lost: {self._how_it_ended()}") from error

    def _how_it_ended(self) -> str:
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        return f"ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hand.shutdown(wait=False, cancel_futures=True)  # a task under way fails now
        os.close(self._lifeline)


@dataclass
class _Work:
    """Batches that are still to be computed, by number, and what came of the others."""

    source: ModelSource
    threads: int
    batches: Sequence[ModelBatch[Any]]
    waiting: deque[int]
    done: dict[int, Any] = field(default_factory=dict)

    def take(self) -> int | None:
        try:
            return self.waiting.popleft()
        except IndexError:
            return None


class MeasuringWorkers:
    """The workers of a measuring process: one for each group of devices but the first, which is its own.

    Not thread-safe. They start with the first model and end with `close`, with an error, with this object, and with
    this process.
    """

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        self._groups = [tuple(group) for group in groups[1:]]
        self._workers: list[_Worker] = []
        weakref.finalize(self, _end, self._workers)

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    @property
    def batches(self) -> list[int]:
        """How many batches each worker has computed since it started."""
        return [worker.batches for worker in self._workers]

    @contextmanager
    def sharing(self, model: PreTrainedModel, source: ModelSource, threads: int) -> Iterator[None]:
        """Let the workers compute batches of `model`, which `source` gives them, within the block."""
        if not self._workers:
            self._workers.extend(_Worker(group) for group in self._groups)
        load = Task(source=source, batch=None, threads=threads)
        early = [worker.hand.submit(worker.do, load) for worker in self._workers]
        try:
            with copied(model, _Shared(self, source, threads)):
                yield
        except (KeyboardInterrupt, SystemExit):
            self.close()  # this process ends, and would wait for what they still load
            raise
        finally:
            for future in early:
                future.cancel()

    def ready(self) -> None:
        """Wait until every worker has done what it was given so far."""
        for future in [worker.hand.submit(lambda: None) for worker in self._workers]:
            future.result()

    def run(
        self, source: ModelSource, threads: int, model: PreTrainedModel, batches: Sequence[ModelBatch[Result]]
    ) -> list[Result]:
        """Return the results in the order of the batches.

        Raises:
            ProcessLostError: a worker ended; the others are ended too, and start again with the next model.
        """
        order = sorted(range(len(batches)), key=lambda place: -batches[place].size)
        work = _Work(source=source, threads=threads, batches=batches, waiting=deque(order))
        try:
            helping = [worker.hand.submit(_help, worker, work) for worker in self._workers]
            _compute(work, model, helping)
            for future in helping:
                if not future.cancel():
                    future.result()
            _compute(work, model, ())  # what a worker could not compute
        except BaseException:
            self.close()  # what they still compute is of no use, and one may be gone
            raise
        return [work.done[place] for place in range(len(batches))]

    def close(self) -> None:
        """End all workers. The next model starts them again."""
        _end(self._workers)


def _end(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().end()


@dataclass(frozen=True)
class _Shared:
    """One model's copies, as `evaluators.model_batches` asks for them."""

    workers: MeasuringWorkers
    source: ModelSource
    threads: int

    def run(self, model: PreTrainedModel, batches: Sequence[ModelBatch[Result]]) -> list[Result]:
        return self.workers.run(self.source, self.threads, model, batches)


def _compute(work: _Work, model: PreTrainedModel, helping: Sequence[Future[None]]) -> None:
    """Compute batches in this process until there are none, or a worker has failed."""
    while not _failed(helping) and (place := work.take()) is not None:
        work.done[place] = work.batches[place].run(model)


def _failed(helping: Sequence[Future[None]]) -> bool:
    return any(future.done() and not future.cancelled() and future.exception() is not None for future in helping)


def _help(worker: _Worker, work: _Work) -> None:
    """Let a worker compute batches until there are none. It loads the model first, and takes none while it does.

    Raises:
        ProcessLostError: the process ended.
        Exception: what a batch or loading the model raised.
    """
    reply = _without_error(worker.do(Task(source=work.source, batch=None, threads=work.threads)))
    while reply.unusable is None and (place := work.take()) is not None:
        reply = _without_error(worker.do(Task(source=work.source, batch=work.batches[place], threads=work.threads)))
        if reply.unusable is None:
            work.done[place] = reply.value
            worker.batches += 1
        else:
            work.waiting.append(place)


def _without_error(reply: Reply) -> Reply:
    if reply.error is not None:
        raise reply.error
    return reply
