"""Workbench actors: a warm measuring process for each trial that may run at once, and the executor that calls them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from unlearn_sweep.engine.on_ray.cluster import NAMESPACE
from unlearn_sweep.engine.on_ray.training import fit
from unlearn_sweep.engine.on_ray.worker_exit import ended_for_memory
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.runner import ProcessLostError
from unlearn_sweep.engine.stages.time_limit import over_time_reason
from unlearn_sweep.engine.stages.workbench import StartRequest, Workbench
from unlearn_sweep.engine.training.job import TrainJob, TrainOutcome
from unlearn_sweep.engine.training.settings import Workers

RESTARTS = -1
"""A long sweep loses processes for reasons of the machine; what is bounded is how often one stage is tried."""
UNTIL_THERE = -1
"""Retries of the call that waits for a workbench to be back. Calls that work are not repeated by Ray: the stage is, by
its runner, with a fresh folder and an event."""
PREFIX = "workbench"
ROOM_MADE_S = 60.0
REPLACED_S = 3600.0
"""How long a lost workbench may take to come back: on a cluster, until its machine is replaced."""


class WorkbenchActor:
    """A `Workbench` in a process of its own. Every call is a function of its request: a lost one is run again."""

    def __init__(self) -> None:
        self._workbench = Workbench()
        self._trial_processes: dict[str, Any] = {}

    def ready(self) -> bool:
        """Import what every later call needs, so that the first one is not the slow one."""
        import unlearn_sweep.engine.training.worker
        import unlearn_sweep.evaluators.evaluate  # noqa: F401

        return True

    def worker_id(self) -> str:
        """Ray's name of this process. After a restart it is another."""
        return ray.get_runtime_context().get_worker_id()

    def make_room(self) -> None:
        self._workbench.make_room()

    def serve(self, trial_process: list[Any]) -> None:
        """Remember who calls, so that it can be ended at the end. In a list: a bare handle would be waited for."""
        self._trial_processes[str(trial_process[0])] = trial_process[0]

    def served(self) -> list[Any]:
        """The trial processes that called."""
        return list(self._trial_processes.values())

    def start_model(self, request: dict[str, Any]) -> dict[str, Any]:
        self._workbench.start_model(StartRequest.model_validate(request))
        return {}

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._workbench.measure(MeasureRequest.model_validate(request))

    def attack(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._workbench.attack(AttackRequest.model_validate(request))

    def train(self, job: dict[str, Any], name: str, storage: str) -> dict[str, Any]:
        """Ray Train's local mode, here: the process that trains is the one that has data and libraries loaded."""
        outcome = fit(TrainJob.from_json(job), name=name, storage=Path(storage), workers=Workers())
        return outcome.model_dump(mode="json")


class Pool:
    """The workbenches of a sweep. They live as long as this object: Ray ends an actor that nobody holds.

    `kind` is what a workbench is: one with the methods of `WorkbenchActor`. Names are this pool's alone: on a shared
    cluster there may be other sweeps, and the workbenches of a driver that was killed a moment ago.
    """

    def __init__(self, count: int, *, resources: Mapping[str, float], kind: type[Any] = WorkbenchActor) -> None:
        run = secrets.token_hex(4)
        self.names = [f"{PREFIX}-{run}-{index}" for index in range(count)]
        self._actors = [_start(kind, name, resources) for name in self.names]
        self._warming = [actor.ready.remote() for actor in self._actors]

    def shrink(self, count: int) -> None:
        """End all but the first `count` workbenches."""
        for actor in self._actors[count:]:
            ray.kill(actor)
        self.names, self._actors = self.names[:count], self._actors[:count]

    def trial_processes(self) -> int:
        """How many processes ran trials so far; a workbench that was lost has forgotten those it served."""
        return len({str(process) for actor in self._actors for process in ray.get(actor.served.remote())})

    def end_trial_processes(self) -> None:
        """End Tune's actors, kept for reuse: it would wait 10 s for each to end by itself."""
        for actor in self._actors:
            with contextlib.suppress(RayError):
                for process in ray.get(actor.served.remote(), timeout=5):
                    ray.kill(process)


def _start(kind: type[Any], name: str, resources: Mapping[str, float]) -> Any:
    """One actor. It holds no CPU: it serves one trial, whose driver only waits for it."""
    custom = {kind: amount for kind, amount in resources.items() if kind not in ("CPU", "GPU", "memory")}
    options = ray.remote(kind).options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=0,
        num_gpus=resources.get("GPU", 0.0),
        memory=resources.get("memory"),
        resources=custom or None,
        max_restarts=RESTARTS,
        max_task_retries=0,
    )
    return options.remote()


class RayExecutor:
    """Trains through Ray Train, measures on one workbench. For a trial, and for the preparation's controls."""

    def __init__(self, workbench: str, *, workers: Workers, storage: Path, timeout_s: float | None = None) -> None:
        self._name = workbench
        self._actor = ray.get_actor(workbench, namespace=NAMESPACE)
        self._worker_id: Any = self._actor.worker_id.remote()  # read only where the process is lost
        self._workers = workers
        self._storage = storage
        self._timeout_s = timeout_s

    def announce(self) -> None:
        """Make this trial's process known to its workbench."""
        self._actor.serve.remote([ray.get_runtime_context().current_actor])

    def start_model(self, request: StartRequest) -> None:
        self._call("start_model", request.model_dump(mode="json"))

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        if self._workers.count > 0:
            return fit(job, name=name, storage=self._storage, workers=self._workers, limit_s=self._timeout_s)
        payload = self._call("train", job.model_dump(mode="json"), name, str(self._storage))
        return TrainOutcome.model_validate(payload)

    def measure(self, request: MeasureRequest) -> dict[str, Any]:
        return self._call("measure", request.model_dump(mode="json"))

    def attack(self, request: AttackRequest) -> dict[str, Any]:
        return self._call("attack", request.model_dump(mode="json"))

    def make_room(self) -> None:
        """Have every workbench of the pool let go of its models. One that does not answer is about to lose them."""
        pool = self._name.rpartition("-")[0]
        names = [name for name in ray.util.list_named_actors() if name.startswith(f"{pool}-")]
        asked: list[Any] = [ray.get_actor(name, namespace=NAMESPACE).make_room.remote() for name in names]
        ray.wait(asked, num_returns=len(asked), timeout=ROOM_MADE_S)

    def _call(self, method: str, *arguments: Any) -> dict[str, Any]:
        """The result, within the stage's time. A stage over its time is ended with its process, which starts afresh.

        Raises ProcessLostError where the process or its machine died under the call; by then there is another.
        """
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=self._timeout_s)
        except GetTimeoutError:
            ray.kill(self._actor, no_restart=False)
            self._wait_until_there()
            raise TimeoutError(over_time_reason(self._timeout_s)) from None
        except RayActorError as error:
            reason = self._memory_shortage() or _first_line(error)
            self._wait_until_there()
            raise ProcessLostError(f"the measuring process was lost: {reason}") from None

    def _memory_shortage(self) -> str | None:
        """What Ray says where it ended the workbench for its machine's memory."""
        with contextlib.suppress(RayError):  # it did not live to say its name
            return ended_for_memory(ray.get(self._worker_id, timeout=1))
        return None

    def _wait_until_there(self) -> None:
        """Until the workbench has been started again, where its resources are to be had."""
        ready = self._actor.ready.options(max_task_retries=UNTIL_THERE)
        try:
            ray.get(ready.remote(), timeout=REPLACED_S)
        except GetTimeoutError:
            raise TimeoutError(f"no machine took the lost measuring process in {REPLACED_S:g} s") from None
        self._worker_id = self._actor.worker_id.remote()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
