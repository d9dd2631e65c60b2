"""Measure models in one long-lived process that caches benchmarks, tokenizers and recently used models.

Requests and results are small and JSON-serialisable. Models are passed as paths and tables as parquet files, so the
same code runs in a Ray actor on another machine and in the process of a test.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.measuring.messages import StoredModel
from unlearn_sweep.engine.resources.peak_memory import PeakMeter
from unlearn_sweep.engine.stages.row_halves import with_halves
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.store.outcomes import JudgeCost, MeasureOutcome, ThoughtCounts
from unlearn_sweep.evaluators.tasks.settings import AskedTask

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.engine.stages.prompt_probe import ProbeResult
    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
    from unlearn_sweep.evaluators.judge.judge import Cost
    from unlearn_sweep.evaluators.thinking import ThoughtCount

Loaded = TypeVar("Loaded")
MODELS_KEPT = 3
BENCHMARKS_KEPT = 2


class MeasureRequest(BaseModel):
    """Evaluate one model on the benchmark's evaluation splits and write the rows to `rows_path`.

    Attributes:
        model_path: the model to evaluate.
        benchmark: name and params of the benchmark.
        metrics: names of the metrics.
        rows_path: parquet file for the per-row metrics.
        tasks: further tasks to score, whose rows are appended.
        original_path: the original model, for metrics and attacks that use it; None if there is none.
        tokenizer_path: folder of the tokenizer of every model; None to use the one in `model_path`.
        dtype: dtype of the loaded weights.
        attention: attention implementation of the loaded model.
        threads: number of torch threads of each process.
        workers: processes that share the rows, each with a copy of the model; None: as many as there are accelerators
            on which the model fits (`engine.resources.measuring`), and one on a CPU.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    model_path: str
    benchmark: dict[str, Any]
    metrics: list[str]
    rows_path: str
    tasks: list[AskedTask] = []
    original_path: str | None = None
    tokenizer_path: str | None = None
    dtype: str = "auto"
    attention: str = "auto"
    threads: int = 1
    workers: int | None = None


class Bench:
    """Measures models and caches what it loads. Not thread-safe: handle one request at a time."""

    def __init__(self) -> None:
        from unlearn_sweep.engine.measuring.shared_models import SharedModels

        self._models: OrderedDict[tuple[str, ...], PreTrainedModel] = OrderedDict()
        self._tokenizers: OrderedDict[tuple[str, str], PreTrainedTokenizerBase] = OrderedDict()
        self._benchmarks: OrderedDict[str, Benchmark] = OrderedDict()
        self._fits: OrderedDict[str, Benchmark] = OrderedDict()
        self._answers: dict[tuple[str, str, str], dict[str, str]] = {}
        self.shared_models = SharedModels()

    def measure(self, request: MeasureRequest) -> MeasureOutcome:
        """Write per-row metrics of one model on all splits to `rows_path` and return the rest."""
        from unlearn_sweep.evaluators.evaluate import evaluate_rows

        self.set_threads(request.threads)
        meter, counted = PeakMeter(self.shared_models.pids), self.shared_models.counted()
        benchmark = self.fitted(request)
        rows = [row for split in benchmark.evaluation.values() for row in split]
        itself = request.model_path == request.original_path
        opponents = None if itself else self.original_answers(request, benchmark)
        model = self.model(request.model_path, request)
        with self.shared_models.sharing(model, request.threads):
            evaluation = evaluate_rows(
                model,
                self.tokenizer(request),
                rows,
                metrics=request.metrics,
                template=benchmark.template,
                max_new_tokens=benchmark.max_new_tokens,
                opponents=opponents,
                thinking=benchmark.thinking,
            )
        table, passes = self.with_tasks(evaluation.table, request, model)
        with_halves(table, benchmark.evaluation).to_parquet(request.rows_path, index=False)
        return MeasureOutcome(
            rows=len(table),
            forward_passes=evaluation.forward_passes + passes,
            generated_tokens=evaluation.generated_tokens,
            dropped=evaluation.dropped,
            judging=judge_costs(evaluation.judging),
            thoughts=thought_counts(evaluation.thoughts),
            peak_memory=meter.read(),
            processes=1 + self.shared_models.helped_since(counted),
        )

    def probe(self, request: MeasureRequest) -> ProbeResult:
        """Score trained rows in the request's prompt format and in others. Nothing is written to `rows_path`."""
        from unlearn_sweep.engine.stages.prompt_probe import probe, settings_in
        from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY

        self.set_threads(request.threads)
        name, params = request.benchmark["name"], request.benchmark["params"]
        plain = {"name": name, "params": {key: value for key, value in params.items() if key != FORMAT_KEY}}
        return probe(
            self.model(request.model_path, request),
            self.tokenizer(request),
            name,
            settings_in(params).model_copy(update={"thinking": None}),  # trained rows have no thoughts
            self.benchmark(request.benchmark),
            self.benchmark(plain),
        )

    def make_room(self) -> None:
        """Unload all models and end the workers to free memory. The next request loads its model again."""
        import gc

        import torch

        self.close()
        self._models.clear()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """End the workers. A bench that is dropped without it ends them when its process ends."""
        self.shared_models.close()

    def original_answers(self, request: MeasureRequest, benchmark: Benchmark) -> dict[str, str]:
        """Return the original model's answers to utility rows by row_id, and to forget rows if a metric compares them.

        Empty if no metric compares with the original or if there is none.
        """
        from unlearn_sweep.evaluators.evaluate import evaluate_rows
        from unlearn_sweep.evaluators.external_judges import ASKED_ABOUT, compares, compares_forget

        path = request.original_path
        if path is None or not compares(request.metrics):
            return {}
        splits = (*(("forget",) if compares_forget(request.metrics) else ()), *benchmark.utility_splits)
        key = (path, request.dtype, f"{benchmark.digest()}:{benchmark.thinking}:{splits}")
        if key not in self._answers:
            rows = [row for split in splits for row in benchmark.evaluation[split]]
            model = self.model(path, request)
            with self.shared_models.sharing(model, request.threads):
                table = evaluate_rows(
                    model,
                    self.tokenizer(request),
                    [row for row in rows if row.kind in ASKED_ABOUT["comparison"]],
                    metrics=["ngram_entropy"],
                    template=benchmark.template,
                    max_new_tokens=benchmark.max_new_tokens,
                    thinking=benchmark.thinking,
                ).table
            known = table.loc[table["generation"].notna()]
            self._answers = {key: dict(zip(known["row_id"].tolist(), known["generation"].tolist(), strict=True))}
        return self._answers[key]

    def with_tasks(
        self, table: pd.DataFrame, request: MeasureRequest, model: PreTrainedModel
    ) -> tuple[pd.DataFrame, int]:
        """Return the table with the rows of the tasks appended, and the number of forward passes of the tasks."""
        if not request.tasks:
            return table, 0
        from unlearn_sweep.evaluators.tasks.scoring import add_task_rows, score_tasks

        scored = score_tasks(model, self.tokenizer(request), request.tasks)
        return add_task_rows(table, scored.table), scored.forward_passes

    def model(self, path: str, request: MeasureRequest) -> PreTrainedModel:
        def load() -> PreTrainedModel:
            return self.shared_models.load(
                StoredModel(path=path, dtype=request.dtype, attention=request.attention), request.workers
            )

        return _kept(self._models, (path, request.dtype, request.attention), load, MODELS_KEPT)

    def tokenizer(self, request: MeasureRequest) -> PreTrainedTokenizerBase:
        """Return the tokenizer that is used with all models of the request."""
        from unlearn_sweep.engine.models.loading import load_tokenizer

        path, model = request.tokenizer_path or request.model_path, request.model_path
        return _kept(self._tokenizers, (path, model), lambda: load_tokenizer(path, model=model), MODELS_KEPT)

    def fitted(self, request: MeasureRequest) -> Benchmark:
        """Return the benchmark with its texts split to fit the tokenizer and context length of the request's model."""
        from unlearn_sweep.evaluators.benchmarks.limits import fitted
        from unlearn_sweep.evaluators.inference import context_tokens

        benchmark, path = self.benchmark(request.benchmark), request.model_path
        tokenizer, context = self.tokenizer(request), context_tokens(self.model(path, request))
        key = f"{digest(request.benchmark)}:{request.tokenizer_path or path}:{context}"
        return _kept(self._fits, key, lambda: fitted(benchmark, tokenizer, context), BENCHMARKS_KEPT)

    def benchmark(self, source: dict[str, Any]) -> Benchmark:
        from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark

        load = lambda: load_benchmark(source["name"], source["params"])  # noqa: E731
        return _kept(self._benchmarks, digest(source), load, BENCHMARKS_KEPT)

    def set_threads(self, threads: int) -> None:
        import torch

        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _kept(cache: OrderedDict[Any, Loaded], key: Any, load: Callable[[], Loaded], limit: int) -> Loaded:
    """Return the cached value, loaded on a cache miss. Evict the least recently used value above `limit`."""
    if key not in cache:
        cache[key] = load()
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
    return cache[key]


def judge_costs(spent: Mapping[str, Cost]) -> dict[str, JudgeCost]:
    """Return the cost of each judge as it is recorded."""
    return {judge: JudgeCost(**asdict(cost)) for judge, cost in spent.items()}


def thought_counts(found: Mapping[str, ThoughtCount]) -> dict[str, ThoughtCounts]:
    """Return the counts of thoughts by split as they are recorded."""
    return {split: ThoughtCounts(**asdict(count)) for split, count in found.items()}
