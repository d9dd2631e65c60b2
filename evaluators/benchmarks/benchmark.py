"""A benchmark: rows a model is trained on, rows it is judged by, and how its original and gold models are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from unlearn_sweep.evaluators.rows import Row, Template
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """How original and gold models are trained when none is given: from a small configuration, or from a base model.

    `config` holds Llama configuration values (hidden_size, num_hidden_layers, ...) for a model built from nothing; then
    `tokenizer_texts` trains a byte-level BPE tokenizer of `vocab_size`. With `base`, both come from that folder or id.
    """

    base: str | None = None
    config: Mapping[str, int | float | bool] = field(default_factory=dict)
    vocab_size: int = 1024
    epochs: float = 10.0
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """The data of one benchmark, loaded and checked. Every part is a plain value, so it can be hashed and shipped.

    `train` maps a view name to question rows a training may read: "forget" and "retain" always, and what a benchmark
    offers besides ("related", ...). `evaluation` maps a split to the rows metrics are computed on: "forget" (UE) and
    one or more utility splits (UT), named in `utility_splits`. `thinking`: rows asked in a chat are measured behind the
    model's own thoughts; training does not read it.
    """

    name: str
    train: Mapping[str, Sequence[Row]]
    evaluation: Mapping[str, Sequence[Row]]
    utility_splits: tuple[str, ...]
    template: Template = field(default_factory=Template)
    tokenizer_texts: Sequence[str] = ()
    recipe: TrainRecipe | None = None
    max_new_tokens: int = 32
    sources: Mapping[str, str] = field(default_factory=dict)
    thinking: ThinkingSettings | None = None

    def digest(self) -> str:
        """Content hash over rows, template and recipe: two benchmarks with the same digest give the same trainings.

        How models think before they answer is not in it: that is an input of the stages that measure.
        """
        payload = {
            "name": self.name,
            "train": {view: [asdict(row) for row in rows] for view, rows in self.train.items()},
            "evaluation": {split: [asdict(row) for row in rows] for split, rows in self.evaluation.items()},
            "utility_splits": self.utility_splits,
            "template": asdict(self.template),
            "texts": list(self.tokenizer_texts),
            "recipe": asdict(self.recipe) if self.recipe else None,
            "max_new_tokens": self.max_new_tokens,
        }
        blob = json.dumps(payload, sort_keys=True, ensure_ascii=False, default=dict)
        return hashlib.sha256(blob.encode()).hexdigest()[:16]
