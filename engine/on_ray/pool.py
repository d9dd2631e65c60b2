"""Workbench actors: one warm measuring process per concurrent trial, and the executor that calls them.

A workbench holds the accelerators of its trial. Training workers need them too and never compute at the same time, so
the executor ends the workbench for a training in worker processes and starts it again afterwards. A workbench without
accelerators, and one that trains itself, stays warm for the whole sweep.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, Self

import ray
from ray.exceptions import ActorAlreadyExistsError, GetTimeoutError, RayActorError, RayError

from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.on_ray.cluster import NAMESPACE, driver_resources
from unlearn_sweep.engine.on_ray.training import fit
from unlearn_sweep.engine.on_ray.worker_exit import ended_for_memory
from unlearn_sweep.engine.privacy.error_text import first_line
from unlearn_sweep.engine.process_lost import ProcessLostError
from unlearn_sweep.engine.resources.placement import accelerators, workbench
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.measurement import MeasureRequest
from unlearn_sweep.engine.stages.prompt_probe import ProbeResult
from unlearn_sweep.engine.stages.runner import running_stage
from unlearn_sweep.engine.stages.time_limit import over_time_reason
from unlearn_sweep.engine.stages.workbench import StartRequest, Workbench
from unlearn_sweep.engine.store.outcomes import AttackOutcome, MeasureOutcome, TrainOutcome
from unlearn_sweep.engine.training.job import TrainJob
from unlearn_sweep.engine.training.restart import trained_where_it_fits
from unlearn_sweep.engine.training.settings import Workers

RESTARTS = -1
"""Unlimited: a long sweep loses processes to machine failures. The attempts per stage are limited instead."""
UNTIL_THERE = -1
"""Retries (unlimited) of the call that waits for a workbench to restart. Ray does not retry other calls: the runner
retries the stage with a fresh folder and logs an event."""
PREFIX = "workbench"
ROOM_MADE_S = 60.0
WARM_S = 60.0
NAME_FREE_S = 60.0
REPLACED_S = 3600.0
"""How long a lost workbench may take to restart. On a cluster this includes replacing its machine."""


class WorkbenchActor:
    """A `Workbench` in its own process. Each call depends only on its request, so a lost call can be repeated."""

    def __init__(self) -> None:
        self._workbench = Workbench()
        self._trial_processes: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Return what Ray's views show for this process."""
        return str(ray.get_runtime_context().get_actor_name() or PREFIX)

    def ready(self) -> bool:
        """Import what later calls need, so that the first call is not slow."""
        import unlearn_sweep.engine.training.worker
        import unlearn_sweep.evaluators.evaluate  # noqa: F401

        return True

    def load_models(self) -> None:
        """Import the classes of models. They take seconds, and the first stage leaves all workbenches but one idle."""
        import transformers.generation
        import transformers.modeling_utils  # noqa: F401

    def worker_id(self) -> str:
        """Return Ray's ID of this process. It changes at a restart."""
        return ray.get_runtime_context().get_worker_id()

    def make_room(self) -> None:
        self._workbench.make_room()

    def serve(self, trial_process: list[Any]) -> None:
        """Remember the calling trial process, to end it with the pool.

        The handle is passed in a list: Ray would wait for a bare one.
        """
        self._trial_processes[str(trial_process[0])] = trial_process[0]

    def served(self) -> list[Any]:
        """Return the trial processes that called `serve`."""
        return list(self._trial_processes.values())

    def start_model(self, request: dict[str, Any]) -> dict[str, Any]:
        self._workbench.start_model(StartRequest.model_validate(request))
        return {}

    def measure(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._workbench.measure(MeasureRequest.model_validate(request)).model_dump(mode="json")

    def probe(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._workbench.probe(MeasureRequest.model_validate(request)).model_dump(mode="json")

    def attack(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._workbench.attack(AttackRequest.model_validate(request)).model_dump(mode="json")

    def train(self, job: dict[str, Any], name: str, storage: str) -> dict[str, Any]:
        """Train in this process (Ray Train's local mode), which already has data and libraries loaded."""
        outcome = fit(TrainJob.from_json(job), name=name, storage=Path(storage), workers=Workers())
        return outcome.model_dump(mode="json")


class Pool:
    """The workbenches of a sweep. They live as long as this object: Ray ends an actor without handles.

    `kind` is the actor class, with the methods of `WorkbenchActor`. Actor names are unique to the pool: a shared
    cluster may also have workbenches of other sweeps, or of a driver that was just killed.
    """

    def __init__(
        self, count: int, *, resources: Mapping[str, float], sweep: str = "", kind: type[Any] = WorkbenchActor
    ) -> None:
        """Start `count` workbenches that reserve `resources` each. `sweep` is shown with their names in Ray's views."""
        run = secrets.token_hex(4)
        title = f"{sweep} {PREFIX}".strip()
        self.names = [f"{title} {run}-{index}" for index in range(count)]
        self._actors = [_start(kind, name, resources) for name in self.names]
        warming = [actor.ready.remote() for actor in self._actors]
        warming += [actor.load_models.remote() for actor in self._actors[1:]]
        self._warm: list[Future[object]] = [call.future() for call in warming]

    @classmethod
    def of(cls, job: SweepJob, count: int) -> Self:
        """Start the workbenches of a job, whose resources must be settled (`SweepJob.on_capacity`)."""
        return cls(count, resources=_reserved(job), sweep=job.name)

    def await_warm(self, timeout_s: float = WARM_S) -> None:
        """Wait until all workbenches have loaded their libraries or ended. It calls nothing of Ray: any thread may."""
        wait(self._warm, timeout_s)

    def shrink(self, count: int) -> None:
        """End all but the first `count` workbenches."""
        for actor in _running(self.names[count:]):
            ray.kill(actor)
        self.names, self._actors = self.names[:count], self._actors[:count]

    def trial_processes(self) -> int:
        """Return how many processes have run trials. Processes known only to a lost workbench are not counted."""
        return len({str(process) for actor in _running(self.names) for process in ray.get(actor.served.remote())})

    def end_trial_processes(self) -> None:
        """Kill Tune's reusable actors. Tune would wait 10 s for each to exit by itself."""
        for actor in _running(self.names):
            with contextlib.suppress(RayError):
                for process in ray.get(actor.served.remote(), timeout=5):
                    ray.kill(process)


def _running(names: Iterable[str]) -> list[Any]:
    """Return the actors of these names that exist now. An executor may have replaced the one that the pool started."""
    found = []
    for name in names:
        with contextlib.suppress(ValueError):  # ended for a training at this moment
            found.append(ray.get_actor(name, namespace=NAMESPACE))
    return found


def _reserved(job: SweepJob) -> dict[str, float]:
    return workbench(job.training.worker_group, job.measuring, driver_resources())


def _start(kind: type[Any], name: str, resources: Mapping[str, float]) -> Any:
    """Start one actor that reserves `resources`, and return its handle."""
    custom = {kind: amount for kind, amount in resources.items() if kind not in ("CPU", "GPU", "memory")}
    options = ray.remote(kind).options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=resources.get("CPU", 0.0),
        num_gpus=resources.get("GPU", 0.0),
        memory=resources.get("memory"),
        resources=custom or None,
        max_restarts=RESTARTS,
        max_task_retries=0,
        scheduling_strategy="DEFAULT",  # not inside the placement group of the trial that starts it
    )
    return options.remote()


STARTED: dict[str, Any] = {}
"""Handles of the workbenches that this process started in place of the pool's. Ray ends an actor without handles."""


class RayExecutor:
    """Trains through Ray Train and measures on one workbench. Used by trials and by the preparation's controls."""

    def __init__(
        self,
        workbench: str,
        *,
        workers: Workers,
        storage: Path,
        timeout_s: float | None = None,
        resources: Mapping[str, float] | None = None,
        kind: type[Any] = WorkbenchActor,
    ) -> None:
        """Connect to a workbench of a pool, and start it if the process that had replaced it is gone.

        Args:
            workbench: name of the actor.
            workers: training processes of a trial.
            storage: folder for Ray Train's files.
            timeout_s: time limit of each stage in seconds.
            resources: resources of the workbench, to start it again.
            kind: actor class of the workbench, to start it again.
        """
        self._name = workbench
        self._workers = workers
        self._storage = storage
        self._timeout_s = timeout_s
        self._resources = dict(resources or {})
        self._kind = kind
        self._announced = False
        try:
            self._connect(ray.get_actor(workbench, namespace=NAMESPACE))
        except ValueError:
            self._start_again()

    @classmethod
    def of(cls, job: SweepJob, workbench: str) -> Self:
        """Connect to a workbench of a job's pool. The job's resources must be settled (`SweepJob.on_capacity`)."""
        return cls(
            workbench,
            workers=job.training.worker_group,
            storage=job.directory / "ray" / "train",
            timeout_s=job.stage_timeout_s,
            resources=_reserved(job),
        )

    def announce(self) -> None:
        """Register this trial's process with its workbench."""
        self._announced = True
        self._actor.serve.remote([ray.get_runtime_context().current_actor])

    def _connect(self, actor: Any) -> None:
        self._actor = actor
        self._worker_id: Any = actor.worker_id.remote()  # read only if the process is lost
        if self._announced:
            self.announce()

    def _start_again(self) -> None:
        """Start the workbench anew under its name, owned by this process.

        Raises:
            TimeoutError: the ended workbench keeps its name for longer than `NAME_FREE_S` seconds.
        """
        limit = time.monotonic() + NAME_FREE_S
        while True:
            try:
                STARTED[self._name] = _start(self._kind, self._name, self._resources)
            except ActorAlreadyExistsError:
                if time.monotonic() > limit:
                    raise TimeoutError(f"the ended workbench {self._name} still has its name") from None
                time.sleep(0.1)
            else:
                break
        self._connect(STARTED[self._name])

    @contextlib.contextmanager
    def _accelerators_lent(self) -> Iterator[None]:
        """End the workbench for the block if it has accelerators, so that the training workers can have them."""
        if not accelerators(self._resources):
            yield
            return
        ray.kill(self._actor)
        STARTED.pop(self._name, None)
        try:
            yield
        finally:
            self._start_again()

    def start_model(self, request: StartRequest) -> None:
        self._call("start_model", request.model_dump(mode="json"))

    def train(self, job: TrainJob, *, name: str) -> TrainOutcome:
        return trained_where_it_fits(job, lambda one: self._train_once(one, name=name))

    def _train_once(self, job: TrainJob, *, name: str) -> TrainOutcome:
        if self._workers.count > 0:
            with self._accelerators_lent():
                return fit(job, name=name, storage=self._storage, workers=self._workers, limit_s=self._timeout_s)
        payload = self._call("train", job.model_dump(mode="json"), name, str(self._storage))
        return TrainOutcome.model_validate(payload)

    def measure(self, request: MeasureRequest) -> MeasureOutcome:
        return MeasureOutcome.model_validate(self._call("measure", request.model_dump(mode="json")))

    def probe(self, request: MeasureRequest) -> ProbeResult:
        return ProbeResult.model_validate(self._call("probe", request.model_dump(mode="json")))

    def attack(self, request: AttackRequest) -> AttackOutcome:
        return AttackOutcome.model_validate(self._call("attack", request.model_dump(mode="json")))

    def make_room(self) -> None:
        """Free the models of every workbench in the pool. Wait at most `ROOM_MADE_S` seconds for them."""
        pool = self._name.rpartition("-")[0]
        names = [name for name in ray.util.list_named_actors() if name.startswith(f"{pool}-")]
        pending: list[Any] = [actor.make_room.remote() for actor in _running(names)]
        if pending:
            ray.wait(pending, num_returns=len(pending), timeout=ROOM_MADE_S)

    def _call(self, method: str, *arguments: Any) -> dict[str, Any]:
        """Call a method of the workbench and return its result.

        Raises:
            TimeoutError: if the stage exceeds its time limit; its process has been killed and restarted. Also if a lost
                process is not restarted in time.
            ProcessLostError: if the process or its machine died during the call; the process has been restarted.
        """
        try:
            call = getattr(self._actor, method).options(name=running_stage() or method)
            return ray.get(call.remote(*arguments), timeout=self._timeout_s)
        except GetTimeoutError:
            ray.kill(self._actor, no_restart=False)
            self._wait_until_there()
            raise TimeoutError(over_time_reason(self._timeout_s)) from None
        except RayActorError as error:
            reason = self._memory_shortage() or first_line(error)
            self._wait_until_there()
            raise ProcessLostError(f"the measuring process was lost: {reason}") from None

    def _memory_shortage(self) -> str | None:
        """Return Ray's message if it killed the workbench because its machine ran low on memory, else None."""
        with contextlib.suppress(RayError):  # the process died before it returned its ID
            return ended_for_memory(ray.get(self._worker_id, timeout=1))
        return None

    def _wait_until_there(self) -> None:
        """Wait until the workbench has restarted. Raise TimeoutError if no machine has its resources in time.

        A workbench whose owner, another trial's process, has died does not restart: it is started anew.
        """
        try:
            self._await_ready()
        except RayActorError:
            self._start_again()
            self._await_ready()
        self._worker_id = self._actor.worker_id.remote()

    def _await_ready(self) -> None:
        ready = self._actor.ready.options(max_task_retries=UNTIL_THERE)
        try:
            ray.get(ready.remote(), timeout=REPLACED_S)
        except GetTimeoutError:
            raise TimeoutError(f"no machine could restart the lost measuring process within {REPLACED_S:g} s") from None
