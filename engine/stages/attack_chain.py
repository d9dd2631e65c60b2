"""Run the attacks on one model as stages. Each attack of a chain is a stage of its own, so it never runs twice.

A *link* is an attack at the beginning of a chain that leaves an ordinary model; its stage keeps the weights of its last
state. Chains with the same beginning share its links. A killed chain resumes after its last finished link. An attack
that also runs on its own saves its link. Only attacks on the same model need the links, so the links are deleted once
these attacks are done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unlearn_sweep.engine.job import AttackSettings, SweepJob
from unlearn_sweep.engine.stages import measuring_requests
from unlearn_sweep.engine.stages.attack_run import AttackRequest
from unlearn_sweep.engine.stages.attack_training import carry_out
from unlearn_sweep.engine.stages.executor import Executor
from unlearn_sweep.engine.stages.runner import StageRunner
from unlearn_sweep.engine.store.outcomes import AttackOutcome, LastState, LinkOutcome
from unlearn_sweep.engine.store.records import StageResult
from unlearn_sweep.engine.store.retention import Retention, links_holder
from unlearn_sweep.engine.store.stages import StageRequest, StageStore
from unlearn_sweep.evaluators.attacks.catalog import CHAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackedModel:
    """The attacked model and the original model, each by content name and path, and the digest of the data.

    If there is no original model, `original` is empty and `original_path` is None. Attacks that need the original then
    fail with an error that states this.
    """

    model: str
    path: str
    original: str
    original_path: str | None
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One attack at the beginning of a chain, and the stage that keeps the weights it produces."""

    attack: AttackSettings
    request: StageRequest[LinkOutcome]


def run_attack(
    job: SweepJob, attack: AttackSettings, victim: AttackedModel, runner: StageRunner, executor: Executor
) -> StageResult:
    """Run one attack and measure it at each strength. For a chain, run only the parts that are not in the store.

    Raises:
        StageFailedError: the attack or one of its links failed.
    """
    request = measuring_requests.attack_stage(job, attack, victim.model, victim.original, victim.data)
    path, done = victim.path, []
    if attack.name == CHAIN and runner.store.find(request) is None:
        path, done = _run_links(job, links(job, attack, victim), victim, runner, executor)
    wanted = _link_left_behind(job, attack, victim, runner.store)

    def compute(folder: Path) -> AttackOutcome:
        call = measuring_requests.attack_request(job, attack, path, victim.original_path, folder).model_copy(
            update={"done": done}
        )
        if wanted is None:
            return carry_out(job, attack, call, folder, executor)
        return _leave_link(job, attack, call, wanted, folder, runner, executor)

    return runner.run(request, compute)


def links(job: SweepJob, chain: AttackSettings, victim: AttackedModel) -> list[Link]:
    """Return the attacks of a chain that are stages of their own, in order. The last attack never is one."""
    from unlearn_sweep.evaluators.attacks.catalog import ChainParams

    params = ChainParams.model_validate(chain.params)
    model, before, found = victim.model, "", []
    for name, values in params.links()[: min(params.plain_links(), len(params.steps) - 1)]:
        label = f"{before}-{name}" if before else name
        attack = AttackSettings(label=label, name=name, family=chain.family, params=dict(values))
        request = measuring_requests.link_stage(job, attack, model, victim.original, victim.data)
        found.append(Link(attack=attack, request=request))
        model, before = request.key, label
    return found


def hold_links(job: SweepJob, victim: AttackedModel, store: StageStore, run: str) -> None:
    """Record that `run` attacks a model with chains, so that no other run on the storage deletes their links."""
    if any(attack.name == CHAIN for attack in job.attacks):
        Retention(store, job.directory).hold(links_holder(run), victim.model)


def forget_links(job: SweepJob, victim: AttackedModel, store: StageStore, run: str) -> None:
    """Delete the weights of all chain links of this model once no run uses them. Call when `run` is done with it."""
    links = [link.request.key for link in _all_links(job, victim)]
    if links:
        Retention(store, job.directory).drop_links(run, victim.model, links)


def _run_links(
    job: SweepJob, links: list[Link], victim: AttackedModel, runner: StageRunner, executor: Executor
) -> tuple[str, list[LastState]]:
    """Return the path of the model that the links produce, and the last state of each link.

    Links that are not in the store are run.
    """
    path, done = victim.path, []
    for link in links:
        result = runner.run(link.request, _link_work(job, link, path, victim.original_path, runner.store, executor))
        done.append(result.outcome(LinkOutcome).last)
        path = str(runner.store.model_folder(link.request.key))
    return path, done


def _link_work(
    job: SweepJob, link: Link, path: str, original_path: str | None, store: StageStore, executor: Executor
) -> Callable[[Path], LinkOutcome]:
    def compute(folder: Path) -> LinkOutcome:
        made = folder / "model"
        request = measuring_requests.attack_request(job, link.attack, path, original_path, folder)
        call = request.model_copy(update={"measured": False, "keep": str(made)})
        answer = carry_out(job, link.attack, call, folder, executor)
        return _kept(link, answer, made, store)

    return compute


def _kept(link: Link, answer: AttackOutcome, made: Path, store: StageStore) -> LinkOutcome:
    """Move the saved model of an attack's last state to the store as a link.

    Raises:
        ValueError: the attack did not save its last state.
    """
    if answer.last is None:
        raise ValueError(f"{link.request.stage}: the attack did not save its last state")
    store.keep_weights(link.request.key, made)
    return LinkOutcome(last=answer.last)


def _leave_link(
    job: SweepJob,
    attack: AttackSettings,
    request: AttackRequest,
    link: Link,
    folder: Path,
    runner: StageRunner,
    executor: Executor,
) -> AttackOutcome:
    """Run an attack on its own, save its last state as the link of a chain, and return the attack's result."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, "model")
        answer = carry_out(job, attack, request.model_copy(update={"keep": str(made)}), folder, executor)
        runner.run(link.request, lambda _: _kept(link, answer, made, runner.store))
    return answer.model_copy(update={"last": None})


def _link_left_behind(job: SweepJob, attack: AttackSettings, victim: AttackedModel, store: StageStore) -> Link | None:
    """Return the chain link that this attack also produces; None if no chain needs it or the store already has it."""
    if attack.name == CHAIN:
        return None
    alone = attack.model_copy(update={"label": attack.name})
    key = measuring_requests.link_stage(job, alone, victim.model, victim.original, victim.data).key
    same = (link for link in _all_links(job, victim) if link.request.key == key)
    return next((link for link in same if store.find(link.request) is None), None)


def _all_links(job: SweepJob, victim: AttackedModel) -> Iterator[Link]:
    for attack in job.attacks:
        if attack.name == CHAIN:
            yield from links(job, attack, victim)
