"""What the tool says of its metrics, attacks and benchmarks. Plain values: reading them imports no model library."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from unlearn_sweep.evaluators.rows import Kind

Needs = Literal[
    "likelihood",
    "moments",
    "alternatives",
    "choices",
    "gradient",
    "generation",
    "judge",
    "original",
    "comparison",
    "entailment",
    "gibberish",
    "tasks",
]
"""What a metric is computed from: a teacher-forced pass (with moments of the distribution, wrong answers, letters), a
backward pass a row, generated answers, the original's answers as well, what others say of these (a judge, a judge who
has the original's answers before him as well, an entailment model, a classifier of gibberish), and rows that a harness
asks itself."""
GENERATED: frozenset[Needs] = frozenset({"generation", "original", "judge", "comparison", "entailment", "gibberish"})
"""What wants generated answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCard:
    """One metric: what it answers, its range, and which way is better on the forget set and on utility data.

    `group` is the UE group it belongs to (a harmonic mean runs over groups, a plain mean inside one). `kinds` of row it
    has a value for. `range` has None where there is no bound. `chance` is the value of a model that knows nothing,
    for utility normalisation and, where `has_floor`, in place of a gold model that does not exist; with `chance_by_row`
    each row has its own (one in the number of its choices), and `chance` is only the usual one. `target`, for a metric
    from outside: its function, "module:name", from `row_metrics.Measured` to the row's value, NaN where it has none.
    """

    name: str
    summary: str
    group: Literal["memorisation", "generation", "truth", "choice", "privacy", "fluency", "task"]
    serves: tuple[Literal["ue", "ut"], ...]
    needs: Needs
    source: str
    unit: str
    range: tuple[float | None, float | None] = (0.0, 1.0)
    better_on_forget: Literal["lower", "higher", "gold"] = "lower"
    better_on_retain: Literal["lower", "higher"] = "higher"
    chance: float = 0.0
    kinds: tuple[Kind, ...] = ("question", "continuation", "text")
    has_floor: bool = True
    chance_by_row: bool = False
    target: str = ""

    def load(self) -> Callable[[Any], float]:
        """The function behind `target`, imported on first use."""
        return load_target(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackCard:
    """One attack: threat model, family (Rob is a minimum over families), parameters and where the class is."""

    name: str
    summary: str
    family: Literal["relearn", "finetune", "quantize", "prompt", "internal", "chain"]
    threat: str
    params: type[BaseModel]
    target: str
    source: str
    cost: str

    def load(self) -> type[Any]:
        """The attack class, imported on first use."""
        return load_target(self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkCard:
    """One benchmark: what it is, its options, and the function that loads it.

    `hub` names the data sets there, "" where the benchmark is made of local data only; then
    `local_option` is the option that names a local copy, and with it left out the rows are on the hub. `access` says
    under which terms the rows are had, `gold` where a model is that never saw the forget rows ("" : there is none).
    `sizes` is a function like the loader whose made-up rows have the published number and lengths ("": not known).
    `metrics` are the default of both objectives, as far as each serves it; `ut_metrics` stand for UT where given.
    """

    name: str
    summary: str
    params: type[BaseModel]
    target: str
    metrics: tuple[str, ...]
    licence: str
    source: str
    splits: str
    access: str = "open"
    hub: str = ""
    local_option: str = ""
    original: str = ""
    gold: str = ""
    sizes: str = ""
    ut_metrics: tuple[str, ...] = ()

    def remote(self, params: Mapping[str, Any]) -> bool:
        """Whether the rows of these options have to come from the hub."""
        return bool(self.hub) and params.get(self.local_option) is None

    def unpinned(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        """The options that would fix a revision of the hub's rows and are left out."""
        if not self.remote(params):
            return ()
        named = [name for name in self.params.model_fields if name.rpartition("_")[2] == "revision"]
        return tuple(name for name in named if params.get(name) is None)

    def load(self) -> Any:
        """The loader function `load(params) -> Benchmark`, imported on first use."""
        return load_target(self.target)


def load_target(target: str) -> Any:
    """The object behind "module:name"."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
