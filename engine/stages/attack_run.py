"""Runs one attack on one model and measures each of its states.

It names no attack: which module an attack is in, the catalog says, so the code behind one attack leaves out the others.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.engine.resources.peak_memory import PeakMeter
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
    from unlearn_sweep.evaluators.rows import Row


class LastState(BaseModel):
    """What an attack's last state is besides its model, which lies in a folder: enough to go on from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strength: float
    unit: str
    scored_groups: list[str] | None
    notes: dict[str, float]


class AttackRequest(MeasureRequest):
    """Run one attack on one model and evaluate at each of its strengths; rows go to `rows_path`, strengths stacked.

    `keep`: a folder in which the last state is left as a model; with `measured` false that is all that is wanted.
    `done`: the first attacks of a chain ran before, each with this last state, and `model_path` is what they left.
    """

    attack: str
    params: dict[str, Any]
    seed: int
    keep: str | None = None
    measured: bool = True
    done: list[LastState] = Field(default_factory=list)


@runtime_checkable
class Resumable(Protocol):
    """An attack made of others (a chain), which goes on where the first of them are done."""

    def resume(self, target: Target, done: Sequence[Attacked]) -> Iterator[Attacked]: ...


def run_attack(bench: Bench, request: AttackRequest) -> dict[str, Any]:
    """The attack's strength curve: per-row metrics at each strength, and the attack's own notes."""
    import pandas as pd

    from unlearn_sweep.evaluators.external_judges import summed

    meter = PeakMeter()
    bench.set_threads(request.threads)
    target = _target(bench, request)
    tables: list[pd.DataFrame] = []
    judging: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    last: Attacked | None = None
    with closing(_states(request, target)) as states:
        for last in states:
            if request.measured:
                table, asked = _evaluate_state(bench, request, target, last)
                tables.append(table)
                judging.append(asked)
            points.append({"strength": last.strength, "unit": last.unit, "notes": last.notes or {}})
    if last is None:
        raise ValueError(f"attack {request.attack!r} with {request.params} has no strength to measure")
    if tables:
        pd.concat(tables, ignore_index=True).to_parquet(request.rows_path, index=False)
    kept = {} if request.keep is None else {"last": _keep(last, target, Path(request.keep))}
    return {"points": points, "judging": summed(judging), "peak_memory": meter.read().model_dump(), **kept}


def _target(bench: Bench, request: AttackRequest) -> Target:
    from unlearn_sweep.evaluators.attacks.attack import Target

    original = request.original_path
    return Target(
        model=bench.model(request.model_path, request),
        tokenizer=bench.tokenizer(request),
        benchmark=bench.fitted(request),
        seed=request.seed,
        original=(lambda: bench.model(original, request)) if original else None,
    )


def _evaluate_state(
    bench: Bench, request: AttackRequest, target: Target, state: Attacked
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows of one attacked state, and what was asked of judges.

    Utility is measured again only where the weights changed; prompts leave it.
    """
    from unlearn_sweep.evaluators.evaluate import evaluate_rows

    benchmark: Benchmark = target.benchmark
    changed = bool(request.done) or state.model is not target.model
    evaluation = evaluate_rows(
        state.model,
        target.tokenizer,
        list(_scored_rows(benchmark, state.scored_groups, with_utility=changed)),
        metrics=request.metrics,
        template=benchmark.template,
        max_new_tokens=benchmark.max_new_tokens,
        prompt_edit=state.prompt_edit,
        opponents=bench.original_answers(request, benchmark),
    )
    table = bench.with_tasks(evaluation.table, request, state.model)[0] if changed else evaluation.table
    return table.assign(strength=float(state.strength), unit=state.unit), evaluation.judging


def _states(request: AttackRequest, target: Target) -> Generator[Attacked]:
    """The attack's states, from a generator: `close` is promised also where an attack returns a plain iterator."""
    from unlearn_sweep.evaluators.attacks.catalog import build

    attack = build(request.attack, request.params)
    if not request.done:
        yield from attack.run(target)
        return
    if not isinstance(attack, Resumable):
        raise ValueError(f"only a chain goes on from attacks that are done; got {request.attack!r}")
    yield from attack.resume(target, [_state_of(done, target) for done in request.done])


def _state_of(done: LastState, target: Target) -> Attacked:
    """A state of before. Its model, where a later one lies between, is not needed any more: the target's stands in."""
    from unlearn_sweep.evaluators.attacks.attack import Attacked

    groups = None if done.scored_groups is None else frozenset(done.scored_groups)
    return Attacked(strength=done.strength, unit=done.unit, model=target.model, scored_groups=groups, notes=done.notes)


def _keep(last: Attacked, target: Target, folder: Path) -> dict[str, Any]:
    """Leave a state's model, an ordinary one, in `folder`; returns the rest of the state."""
    from unlearn_sweep.engine.models import save_model

    if last.prompt_edit is not None:
        raise ValueError("a state that changes prompts is more than its model and cannot be kept as one")
    save_model(last.model, target.tokenizer, folder)
    groups = None if last.scored_groups is None else sorted(last.scored_groups)
    state = LastState(strength=last.strength, unit=last.unit, scored_groups=groups, notes=last.notes or {})
    return state.model_dump()


def _scored_rows(benchmark: Benchmark, groups: frozenset[str] | None, *, with_utility: bool) -> Iterator[Row]:
    """Forget rows of the scored groups, held-out rows, and the utility rows where they are wanted."""
    yield from benchmark.evaluation.get("holdout", ())
    for row in benchmark.evaluation["forget"]:
        if groups is None or row.group_id in groups:
            yield row
    if with_utility:
        for split in benchmark.utility_splits:
            yield from benchmark.evaluation[split]
