"""Measures and attacks models in one process, warm: benchmarks, tokenised rows and recently used models stay loaded.

Requests and answers are small and JSON-able; models travel as paths and tables as parquet files, so the same code runs
in a Ray actor on another machine and in a test's own process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.resources.peak_memory import PeakMeter
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.evaluators.tasks.settings import AskedTask

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.attacks.attack import Attacked, Target
    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
    from unlearn_sweep.evaluators.rows import Row

Loaded = TypeVar("Loaded")
MODELS_KEPT = 3
BENCHMARKS_KEPT = 2


class StartRequest(BaseModel):
    """Make the model a recipe starts from, in folder `output`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: dict[str, Any]
    recipe: dict[str, Any]
    output: str


class MeasureRequest(BaseModel):
    """Evaluate one model on the benchmark's evaluation splits; rows go to `rows_path`.

    `original_path`: the original model, for metrics and attacks that look at it; None where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_path: str
    benchmark: dict[str, Any]
    metrics: list[str]
    rows_path: str
    tasks: list[AskedTask] = []
    original_path: str | None = None
    dtype: str = "auto"
    attention: str = "auto"
    threads: int = 1


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
    done: list[LastState] = []


class Workbench:
    """One process that measures. Not thread-safe: one request at a time, which is what an actor does anyway."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, ...], PreTrainedModel] = OrderedDict()
        self._tokenizers: OrderedDict[str, PreTrainedTokenizerBase] = OrderedDict()
        self._benchmarks: OrderedDict[str, Benchmark] = OrderedDict()
        self._answers: dict[tuple[str, str, str], dict[str, str]] = {}

    def start_model(self, request: StartRequest) -> None:
        """A new small model and its tokenizer, or a copy of the base model."""
        from unlearn_sweep.engine.models import create_start_model
        from unlearn_sweep.evaluators.benchmarks.benchmark import TrainRecipe

        create_start_model(self._benchmark(request.benchmark), TrainRecipe(**request.recipe), Path(request.output))

    def measure(self, request: MeasureRequest) -> dict[str, Any]:
        """Per-row metrics of one model over all splits; returns counts of passes, tokens, dropped rows, and memory."""
        from unlearn_sweep.evaluators.evaluate import evaluate_rows

        meter = PeakMeter()
        self._set_threads(request.threads)
        benchmark = self._benchmark(request.benchmark)
        rows = [row for split in benchmark.evaluation.values() for row in split]
        itself = request.model_path == request.original_path
        evaluation = evaluate_rows(
            self._model(request.model_path, request),
            self._tokenizer(request.model_path),
            rows,
            metrics=request.metrics,
            template=benchmark.template,
            max_new_tokens=benchmark.max_new_tokens,
            opponents=None if itself else self._original_answers(request, benchmark),
        )
        table, passes = self._with_tasks(evaluation.table, request, self._model(request.model_path, request))
        table.to_parquet(request.rows_path, index=False)
        return {
            "rows": len(table),
            "forward_passes": evaluation.forward_passes + passes,
            "generated_tokens": evaluation.generated_tokens,
            "dropped": evaluation.dropped,
            "judging": evaluation.judging,
            "peak_memory": meter.read().model_dump(),
        }

    def attack(self, request: AttackRequest) -> dict[str, Any]:
        """The attack's strength curve: per-row metrics at each strength, and the attack's own notes."""
        import pandas as pd

        from unlearn_sweep.evaluators.external_judges import summed

        meter = PeakMeter()
        self._set_threads(request.threads)
        target = self._target(request)
        tables: list[pd.DataFrame] = []
        judging: list[dict[str, Any]] = []
        points: list[dict[str, Any]] = []
        last: Attacked | None = None
        with closing(_states(request, target)) as states:
            for last in states:
                if request.measured:
                    table, asked = self._evaluate_state(request, target, last)
                    tables.append(table)
                    judging.append(asked)
                points.append({"strength": last.strength, "unit": last.unit, "notes": last.notes or {}})
        if last is None:
            raise ValueError(f"attack {request.attack!r} with {request.params} has no strength to measure")
        if tables:
            pd.concat(tables, ignore_index=True).to_parquet(request.rows_path, index=False)
        kept = {} if request.keep is None else {"last": _keep(last, target, Path(request.keep))}
        return {"points": points, "judging": summed(judging), "peak_memory": meter.read().model_dump(), **kept}

    def make_room(self) -> None:
        """Let go of every model; the next request loads its own again."""
        import gc

        import torch

        self._models.clear()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _target(self, request: AttackRequest) -> Target:
        from unlearn_sweep.evaluators.attacks.attack import Target

        original = request.original_path
        return Target(
            model=self._model(request.model_path, request),
            tokenizer=self._tokenizer(request.model_path),
            benchmark=self._benchmark(request.benchmark),
            seed=request.seed,
            original=(lambda: self._model(original, request)) if original else None,
        )

    def _evaluate_state(
        self, request: AttackRequest, target: Target, state: Attacked
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
            opponents=self._original_answers(request, benchmark),
        )
        table = self._with_tasks(evaluation.table, request, state.model)[0] if changed else evaluation.table
        return table.assign(strength=float(state.strength), unit=state.unit), evaluation.judging

    def _original_answers(self, request: MeasureRequest, benchmark: Benchmark) -> dict[str, str]:
        """What the original answers to utility rows, by row_id; empty where no metric asks, or there is no original."""
        from unlearn_sweep.evaluators.evaluate import evaluate_rows
        from unlearn_sweep.evaluators.external_judges import ASKED_ABOUT, compares

        path = request.original_path
        if path is None or not compares(request.metrics):
            return {}
        key = (path, request.dtype, benchmark.digest())
        if key not in self._answers:
            rows = [row for split in benchmark.utility_splits for row in benchmark.evaluation[split]]
            table = evaluate_rows(
                self._model(path, request),
                self._tokenizer(path),
                [row for row in rows if row.kind in ASKED_ABOUT["comparison"]],
                metrics=["ngram_entropy"],
                template=benchmark.template,
                max_new_tokens=benchmark.max_new_tokens,
            ).table
            known = table.loc[table["generation"].notna()]
            self._answers = {key: dict(zip(known["row_id"].tolist(), known["generation"].tolist(), strict=True))}
        return self._answers[key]

    def _with_tasks(
        self, table: pd.DataFrame, request: MeasureRequest, model: PreTrainedModel
    ) -> tuple[pd.DataFrame, int]:
        """The rows with those of the tasks behind them, and the forward passes these took."""
        if not request.tasks:
            return table, 0
        from unlearn_sweep.evaluators.tasks.scoring import add_task_rows, score_tasks

        scored = score_tasks(model, self._tokenizer(request.model_path), request.tasks)
        return add_task_rows(table, scored.table), scored.forward_passes

    def _model(self, path: str, request: MeasureRequest) -> PreTrainedModel:
        from unlearn_sweep.engine.models import load_model

        load = lambda: load_model(path, dtype=request.dtype, attention=request.attention).eval()  # noqa: E731
        return _kept(self._models, (path, request.dtype, request.attention), load, MODELS_KEPT)

    def _tokenizer(self, path: str) -> PreTrainedTokenizerBase:
        from unlearn_sweep.engine.models import load_tokenizer

        return _kept(self._tokenizers, path, lambda: load_tokenizer(path), MODELS_KEPT)

    def _benchmark(self, source: dict[str, Any]) -> Benchmark:
        from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

        load = lambda: load_benchmark(source["name"], source["params"])  # noqa: E731
        return _kept(self._benchmarks, digest(source), load, BENCHMARKS_KEPT)

    def _set_threads(self, threads: int) -> None:
        import torch

        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _states(request: AttackRequest, target: Target) -> Generator[Attacked]:
    """The attack's states, from a generator: `close` is promised also where an attack returns a plain iterator."""
    from unlearn_sweep.evaluators.attacks.catalog import build

    attack = build(request.attack, request.params)
    if not request.done:
        yield from attack.run(target)
        return
    from unlearn_sweep.evaluators.attacks.chain import Chain

    if not isinstance(attack, Chain):
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


def _kept(cache: OrderedDict[Any, Loaded], key: Any, load: Callable[[], Loaded], limit: int) -> Loaded:
    """The cached value, loaded on first use; the least recently used goes first."""
    if key not in cache:
        cache[key] = load()
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
    return cache[key]


def rows_file(folder: Path) -> str:
    """Where a stage keeps its rows."""
    from unlearn_sweep.engine.store.stages import ROWS_FILE

    return str(folder / ROWS_FILE)
