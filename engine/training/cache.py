"""Cache benchmarks and their tokenised rows between trainings of one process; LRU, keyed by content."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from unlearn_sweep.engine.training.job import Choice
from unlearn_sweep.engine.training.training_views import Encoder
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.catalog import load_benchmark
from unlearn_sweep.evaluators.benchmarks.limits import fitted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BENCHMARKS_KEPT = 2
ENCODERS_KEPT = 4


class DataCache:
    """LRU cache of benchmarks (by name and options) and encoders (by benchmark, tokenizer and length limit).

    One instance per process is enough.
    """

    def __init__(self) -> None:
        self._benchmarks: OrderedDict[str, Benchmark] = OrderedDict()
        self._fitted: OrderedDict[str, Benchmark] = OrderedDict()
        self._encoders: OrderedDict[str, Encoder] = OrderedDict()

    def benchmark(self, choice: Choice) -> Benchmark:
        key = json.dumps(choice.model_dump(), sort_keys=True)
        if key not in self._benchmarks:
            self._benchmarks[key] = load_benchmark(choice.name, choice.params)
        keep_latest(self._benchmarks, key, BENCHMARKS_KEPT)
        return self._benchmarks[key]

    def fitted(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, context: int | None) -> Benchmark:
        """Return the benchmark, fitted to this tokenizer and a model of `context` positions (`benchmarks.limits`)."""
        key = f"{benchmark.digest()}:{tokenizer_digest(tokenizer)}:{context}"
        if key not in self._fitted:
            self._fitted[key] = fitted(benchmark, tokenizer, context)
        keep_latest(self._fitted, key, BENCHMARKS_KEPT)
        return self._fitted[key]

    def encoder(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Encoder:
        """Return the encoder for this data, including the rows it has already tokenised."""
        key = f"{benchmark.digest()}:{tokenizer_digest(tokenizer)}:{max_tokens}"
        if key not in self._encoders:
            self._encoders[key] = Encoder(tokenizer, benchmark.template, max_tokens)
        keep_latest(self._encoders, key, ENCODERS_KEPT)
        return self._encoders[key]


def keep_latest(kept: OrderedDict[str, Any], key: str, limit: int) -> None:
    """Mark `key` as most recently used and evict the oldest entries beyond `limit`."""
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash everything that affects tokenisation: vocabulary, merges, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    parts = (type(tokenizer).__name__, rules, str(tokenizer.special_tokens_map), str(tokenizer.chat_template))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
