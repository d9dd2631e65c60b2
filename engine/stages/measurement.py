"""Measures models in one process, warm: benchmarks, tokenised rows and recently used models stay loaded.

Requests and answers are small and JSON-able; models travel as paths and tables as parquet files, so the same code runs
in a Ray actor on another machine and in a test's own process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from unlearn_sweep.engine.resources.peak_memory import PeakMeter
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.evaluators.tasks.settings import AskedTask

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

Loaded = TypeVar("Loaded")
MODELS_KEPT = 3
BENCHMARKS_KEPT = 2


class MeasureRequest(BaseModel):
    """Evaluate one model on the benchmark's evaluation splits; rows go to `rows_path`.

    `original_path`: the original model, for metrics and attacks that look at it; None where there is none.
    `probe`: a few trained rows in several prompt formats, in place of all that.
    `tokenizer_path`: where every model's tokenizer is; None: beside the weights of `model_path`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    probe: bool = False


class Bench:
    """What a process keeps loaded to measure models. Not thread-safe: one request at a time."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, ...], PreTrainedModel] = OrderedDict()
        self._tokenizers: OrderedDict[tuple[str, str], PreTrainedTokenizerBase] = OrderedDict()
        self._benchmarks: OrderedDict[str, Benchmark] = OrderedDict()
        self._fits: OrderedDict[str, Benchmark] = OrderedDict()
        self._answers: dict[tuple[str, str, str], dict[str, str]] = {}

    def measure(self, request: MeasureRequest) -> dict[str, Any]:
        """Per-row metrics of one model over all splits; returns counts of passes, tokens, dropped rows, and memory."""
        from unlearn_sweep.evaluators.evaluate import evaluate_rows

        self.set_threads(request.threads)
        if request.probe:
            return self.probed(request)
        meter = PeakMeter()
        benchmark = self.fitted(request)
        rows = [row for split in benchmark.evaluation.values() for row in split]
        itself = request.model_path == request.original_path
        evaluation = evaluate_rows(
            self.model(request.model_path, request),
            self.tokenizer(request),
            rows,
            metrics=request.metrics,
            template=benchmark.template,
            max_new_tokens=benchmark.max_new_tokens,
            opponents=None if itself else self.original_answers(request, benchmark),
        )
        table, passes = self.with_tasks(evaluation.table, request, self.model(request.model_path, request))
        table.to_parquet(request.rows_path, index=False)
        return {
            "rows": len(table),
            "forward_passes": evaluation.forward_passes + passes,
            "generated_tokens": evaluation.generated_tokens,
            "dropped": evaluation.dropped,
            "judging": evaluation.judging,
            "peak_memory": meter.read().model_dump(),
        }

    def probed(self, request: MeasureRequest) -> dict[str, Any]:
        """How likely trained rows are in the request's prompt format and in others: a `ProbeResult` as JSON."""
        from unlearn_sweep.engine.stages.prompt_probe import probe, settings_in
        from unlearn_sweep.evaluators.benchmarks.prompt_format import FORMAT_KEY

        name, params = request.benchmark["name"], request.benchmark["params"]
        plain = {"name": name, "params": {key: value for key, value in params.items() if key != FORMAT_KEY}}
        found = probe(
            self.model(request.model_path, request),
            self.tokenizer(request),
            name,
            settings_in(params),
            self.benchmark(request.benchmark),
            self.benchmark(plain),
        )
        return found.model_dump(mode="json")

    def make_room(self) -> None:
        """Let go of every model; the next request loads its own again."""
        import gc

        import torch

        self._models.clear()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def original_answers(self, request: MeasureRequest, benchmark: Benchmark) -> dict[str, str]:
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
                self.model(path, request),
                self.tokenizer(request),
                [row for row in rows if row.kind in ASKED_ABOUT["comparison"]],
                metrics=["ngram_entropy"],
                template=benchmark.template,
                max_new_tokens=benchmark.max_new_tokens,
            ).table
            known = table.loc[table["generation"].notna()]
            self._answers = {key: dict(zip(known["row_id"].tolist(), known["generation"].tolist(), strict=True))}
        return self._answers[key]

    def with_tasks(
        self, table: pd.DataFrame, request: MeasureRequest, model: PreTrainedModel
    ) -> tuple[pd.DataFrame, int]:
        """The rows with those of the tasks behind them, and the forward passes these took."""
        if not request.tasks:
            return table, 0
        from unlearn_sweep.evaluators.tasks.scoring import add_task_rows, score_tasks

        scored = score_tasks(model, self.tokenizer(request), request.tasks)
        return add_task_rows(table, scored.table), scored.forward_passes

    def model(self, path: str, request: MeasureRequest) -> PreTrainedModel:
        from unlearn_sweep.engine.models import load_model

        load = lambda: load_model(path, dtype=request.dtype, attention=request.attention).eval()  # noqa: E731
        return _kept(self._models, (path, request.dtype, request.attention), load, MODELS_KEPT)

    def tokenizer(self, request: MeasureRequest) -> PreTrainedTokenizerBase:
        """The tokenizer that all models of the request are used with."""
        from unlearn_sweep.engine.models import load_tokenizer

        path, model = request.tokenizer_path or request.model_path, request.model_path
        return _kept(self._tokenizers, (path, model), lambda: load_tokenizer(path, model=model), MODELS_KEPT)

    def fitted(self, request: MeasureRequest) -> Benchmark:
        """The benchmark as the tokenizer and the context of the request's model read it."""
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
    """The cached value, loaded on first use; the least recently used goes first."""
    if key not in cache:
        cache[key] = load()
    cache.move_to_end(key)
    while len(cache) > limit:
        cache.popitem(last=False)
    return cache[key]
