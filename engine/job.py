"""A sweep as the engine takes it: every default filled in, every name checked, every path absolute.

`sweeps.resolve` makes it from a file; a Python caller may make one directly. It is plain JSON, so it travels to other
processes and into `spec.lock.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from unlearn_sweep.engine.search_settings import SearchSettings
from unlearn_sweep.engine.search_space import MethodSpace
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.training.settings import TrainingSettings
from unlearn_sweep.evaluators.tasks.settings import AskedTask
from unlearn_sweep.plugins import PluginFile

Dtype = Literal["auto", "float32", "bfloat16"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


class _Part(BaseModel):
    # Built on first use: a file that is only checked makes no job.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def _space(value: Any) -> MethodSpace:
    return value if isinstance(value, MethodSpace) else MethodSpace.from_json(value)


Space = Annotated[
    MethodSpace, PlainValidator(_space), PlainSerializer(MethodSpace.to_json), WithJsonSchema({"type": "object"})
]


class ModelSource(_Part):
    """Where a model comes from: a folder (absolute) or hub id `owner/name[@revision]`, or a training.

    With `path` None it is trained by the benchmark's recipe, whose fields named in `recipe` are replaced. `floor`, for
    the gold model only: there is none, and metrics are taken at their chance values in its place.
    `tokenizer`: a folder or hub id, where a given model is not used with the tokenizer beside its weights. The
    original's is used for every model of the sweep; the gold model's, for that one.
    """

    path: str | None = None
    recipe: dict[str, Any] | None = None
    floor: Literal["chance"] | None = None
    tokenizer: str | None = None

    @model_validator(mode="after")
    def _check_one(self) -> ModelSource:
        if self.path is not None and self.recipe is not None:
            raise ValueError("a model has either a path or a training recipe, not both")
        return self


class BenchmarkSettings(_Part):
    """A benchmark of `evaluators.benchmarks.catalog` with every option filled in; file options are absolute.

    `params` hold the prompt format as well (`evaluators.benchmarks.prompt_format`).
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class AttackSettings(_Part):
    """One attack of the battery. `label` is unique in the sweep; `params` are complete."""

    label: str
    name: str
    family: str
    params: dict[str, Any] = Field(default_factory=dict)


NEUTRAL = frozenset(
    {
        "concurrent_trials",
        "evaluation_resources",
        "threads",
        "storage",
        "directory",
        "spec_path",
        "spec_text",
        "mlflow",
        "mirror",
        "plugins",
        "stage_timeout_s",
        "storage_limit_gib",
        "prompt_probe",
    }
)
NEUTRAL_IN_SEARCH = frozenset({"trials", "budget", "seeds_for_finalists", "first", "unmeasured"})


class SweepJob(_Part):
    """Everything the engine needs to run, or go on with, one sweep.

    `concurrent_trials` None: to be computed by `engine.resources.placement.concurrency` from the cluster's resources.
    `prompt_probe`: preparation stops where the original knows its rows better in another prompt format.
    `threads` are those of one training or measuring process. `mlflow` is "auto" (sqlite beside the runs), "off" or
    an address. `tasks` are lm-evaluation-harness's, for metric `lm_eval`.
    `plugins` are files that add to the catalogs; what they compute is in the keys of the stages that use it.
    `storage_limit_gib` bounds the models in the storage; None keeps those on a front and no others. `mirror` is the
    fsspec address of a copy of what is finished, without a login.
    """

    name: str
    seed: int
    benchmark: BenchmarkSettings
    prompt_probe: bool = True
    original: ModelSource
    gold: ModelSource
    dtype: Dtype = "auto"
    attention: Attention = "auto"
    trust_remote_code: bool = False
    spaces: list[Space]
    training: TrainingSettings
    ue_metrics: list[str]
    ut_metrics: list[str]
    tasks: list[AskedTask] = []
    plugins: list[PluginFile] = []
    attacks: list[AttackSettings]
    search: SearchSettings
    evaluation_resources: dict[str, float] = Field(default_factory=lambda: {"CPU": 1.0})
    concurrent_trials: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    stage_timeout_s: float | None = Field(default=None, gt=0)
    storage_limit_gib: float | None = Field(default=None, gt=0)
    mlflow: str = "auto"
    mirror: str | None = None
    storage: Path
    directory: Path
    spec_path: str | None = None
    spec_text: str = ""

    @field_validator("training")
    @classmethod
    def _resolve(cls, training: TrainingSettings) -> TrainingSettings:
        return training.resolved()

    @field_validator("storage", "directory")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise ValueError(f"must be absolute, got {path}")
        return path

    @property
    def beside(self) -> frozenset[str]:
        """Splits of the tasks that are measured and reported, and no part of UT."""
        return frozenset(task.split for task in self.tasks if not task.counts)

    def digest(self) -> str:
        """16 hex digits over all that decides what a trial is and which trials are proposed.

        The same for a sweep that is extended, moved, watched by another tracking server or run
        by more workers at once.
        """
        content = self.model_dump(mode="json", exclude=set(NEUTRAL))
        content["training"] = self.training.identity()
        content["search"] = {key: value for key, value in content["search"].items() if key not in NEUTRAL_IN_SEARCH}
        return digest(content)
