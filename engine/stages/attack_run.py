"""Run one attack on one model and measure each of its states.

This module imports no attack; the catalog maps an attack's name to its module. The code version of one attack therefore
does not depend on the code of the others.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import Field

from unlearn_sweep.engine.measuring.messages import NUMBERS, StoredModel
from unlearn_sweep.engine.resources.peak_memory import PeakMeter
from unlearn_sweep.engine.stages.measurement import Bench, MeasureRequest, judge_costs
from unlearn_sweep.engine.store.outcomes import AttackOutcome, AttackState, LastState
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_sweep.evaluators.attacks.attack import Attacked, Target, TrainedState, TrainedTokens
    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
    from unlearn_sweep.evaluators.evaluate import Evaluation
    from unlearn_sweep.evaluators.judge.judge import Cost
    from unlearn_sweep.evaluators.rows import Row


class AttackRequest(MeasureRequest):
    """Run one attack on one model and evaluate it at each strength. Rows of all strengths are written to `rows_path`.

    Attributes:
        attack: name of the attack in the catalog.
        params: parameters of the attack.
        seed: seed of the attack.
        keep: folder to save the model of the last state in; None to discard it.
        measured: whether to evaluate the states; false if only the saved model is needed.
        trained: folder of the states that the attack's training has left; None if it trains in this process.
        done: last states of a chain's first attacks, which already ran; `model_path` is then the model they produced.
    """

    attack: str
    params: dict[str, Any]
    seed: int
    keep: str | None = None
    measured: bool = True
    trained: str | None = None
    done: list[LastState] = Field(default_factory=list)


@runtime_checkable
class Resumable(Protocol):
    """An attack composed of other attacks (a chain) that can resume after the first of them are done."""

    def resume(self, target: Target, done: Sequence[Attacked]) -> Iterator[Attacked]: ...


def run_attack(bench: Bench, request: AttackRequest) -> AttackOutcome:
    """Run the attack and write the per-row metrics at each strength to `rows_path`.

    Raises:
        ValueError: the attack yields no state, or its last state cannot be saved as a model.
    """
    import pandas as pd

    from unlearn_sweep.evaluators.external_judges import summed

    meter, counted = PeakMeter(bench.shared_models.pids), bench.shared_models.counted()
    bench.set_threads(request.threads)
    target = _target(bench, request)
    tables: list[pd.DataFrame] = []
    judging: list[dict[str, Cost]] = []
    points: list[AttackState] = []
    last: Attacked | None = None
    with bench.shared_models.sharing(target.model, request.threads), closing(_states(request, target)) as states:
        for last in states:
            thoughts: dict[str, float] = {}
            if request.measured:
                table, evaluation = _evaluate_state(bench, request, target, last)
                tables.append(table)
                judging.append(evaluation.judging)
                thoughts = _thought_notes(evaluation)
            points.append(AttackState(strength=last.strength, unit=last.unit, notes={**thoughts, **(last.notes or {})}))
    if last is None:
        raise ValueError(f"attack {request.attack!r} with {request.params} has no strength to measure")
    if tables:
        pd.concat(tables, ignore_index=True).to_parquet(request.rows_path, index=False)
    return AttackOutcome(
        points=points,
        judging=judge_costs(summed(judging)),
        peak_memory=meter.read(),
        processes=1 + bench.shared_models.helped_since(counted),
        last=None if request.keep is None else _keep(last, target, Path(request.keep)),
    )


def _target(bench: Bench, request: AttackRequest) -> Target:
    from unlearn_sweep.evaluators.attacks.attack import Target

    original = request.original_path
    return Target(
        model=bench.model(request.model_path, request),
        tokenizer=bench.tokenizer(request),
        benchmark=bench.fitted(request),
        seed=request.seed,
        original=(lambda: bench.model(original, request)) if original else None,
        trained=None if request.trained is None else partial(_trained_states, bench, request),
        trained_tokens=None if request.trained is None else partial(_trained_tokens, Path(request.trained)),
    )


def _trained_states(bench: Bench, request: AttackRequest) -> Iterator[TrainedState]:
    """Load the states of a training that has run on workers, one at a time."""
    from unlearn_sweep.engine.training.attack_states import read_states
    from unlearn_sweep.evaluators.attacks.attack import TrainedState

    for state in read_states(Path(request.trained or "")):
        source = StoredModel(
            path=str(state.folder), dtype=request.dtype, attention=request.attention, number=next(NUMBERS)
        )
        model = bench.shared_models.load(source, request.workers)
        yield TrainedState(step=state.step, model=model, loss=state.loss, first_loss=state.first_loss)


def _trained_tokens(folder: Path) -> Iterator[TrainedTokens]:
    """Load the soft tokens of a training that has run on workers, one state at a time."""
    from safetensors.torch import load_file

    from unlearn_sweep.engine.training.attack_states import SOFT_TOKENS, read_states
    from unlearn_sweep.evaluators.attacks.attack import TrainedTokens

    for state in read_states(folder):
        (embeddings,) = load_file(state.folder / SOFT_TOKENS).values()
        yield TrainedTokens(step=state.step, embeddings=embeddings)


def _evaluate_state(
    bench: Bench, request: AttackRequest, target: Target, state: Attacked
) -> tuple[pd.DataFrame, Evaluation]:
    """Return the rows of one attacked state, tasks included, and its evaluation.

    Utility is measured again only if the weights changed; attacks on prompts do not affect it.
    """
    from unlearn_sweep.evaluators.evaluate import evaluate_rows

    benchmark: Benchmark = target.benchmark
    changed = bool(request.done) or state.model is not target.model
    opponents = bench.original_answers(request, benchmark)
    with bench.shared_models.sharing(state.model, request.threads, Path(request.rows_path).parent):
        evaluation = evaluate_rows(
            state.model,
            target.tokenizer,
            list(_scored_rows(benchmark, state.scored_groups, with_utility=changed)),
            metrics=request.metrics,
            template=benchmark.template,
            max_new_tokens=benchmark.max_new_tokens,
            prompt_edit=state.prompt_edit,
            sampling=state.sampling,
            opponents=opponents,
            thinking=benchmark.thinking,
        )
    table = bench.with_tasks(evaluation.table, request, state.model)[0] if changed else evaluation.table
    return table.assign(strength=float(state.strength), unit=state.unit), evaluation


def _thought_notes(evaluation: Evaluation) -> dict[str, float]:
    """Return the notes on the thoughts of the forget rows; empty if none was asked to think."""
    found = evaluation.thoughts.get(FORGET_SPLIT)
    return {} if found is None else found.notes()


def _states(request: AttackRequest, target: Target) -> Generator[Attacked]:
    """Yield the attack's states. A generator always has `close`, even if the attack returns a plain iterator."""
    from unlearn_sweep.evaluators.attacks.catalog import build

    attack = build(request.attack, request.params)
    if not request.done:
        yield from attack.run(target)
        return
    if not isinstance(attack, Resumable):
        raise ValueError(f"only a chain goes on from attacks that are done; got {request.attack!r}")
    yield from attack.resume(target, [_state_of(done, target) for done in request.done])


def _state_of(done: LastState, target: Target) -> Attacked:
    """Rebuild the last state of a finished link. Its own model is no longer needed, so the target's model is used."""
    from unlearn_sweep.evaluators.attacks.attack import Attacked

    groups = None if done.scored_groups is None else frozenset(done.scored_groups)
    return Attacked(strength=done.strength, unit=done.unit, model=target.model, scored_groups=groups, notes=done.notes)


def _keep(last: Attacked, target: Target, folder: Path) -> LastState:
    """Save the model of a state in `folder` and return the rest of the state.

    Raises:
        ValueError: the state edits prompts or draws answers, so its model alone does not represent it.
    """
    from unlearn_sweep.engine.models.loading import save_model

    if last.prompt_edit is not None or last.sampling is not None:
        raise ValueError(
            "a state that changes prompts or draws answers is more than its model and cannot be kept as one"
        )
    save_model(last.model, target.tokenizer, folder)
    groups = None if last.scored_groups is None else sorted(last.scored_groups)
    return LastState(strength=last.strength, unit=last.unit, scored_groups=groups, notes=last.notes or {})


def _scored_rows(benchmark: Benchmark, groups: frozenset[str] | None, *, with_utility: bool) -> Iterator[Row]:
    """Yield the held-out rows, the forget rows of the scored groups (None: all), and utility rows if requested."""
    yield from benchmark.evaluation.get("holdout", ())
    for row in benchmark.evaluation["forget"]:
        if groups is None or row.group_id in groups:
            yield row
    if with_utility:
        for split in benchmark.utility_splits:
            yield from benchmark.evaluation[split]
