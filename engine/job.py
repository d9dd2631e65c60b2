"""The resolved sweep that the engine runs: every default filled in, every name checked, every path absolute.

`sweeps.resolve` creates it from a sweep file; Python callers may create one directly. It serializes to plain JSON, for
other processes and for `spec.lock.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from unlearn_sweep.engine.settings import Resources, resources_of
from unlearn_sweep.engine.store.calibration import MetricTrust
from unlearn_sweep.engine.store.keys import digest
from unlearn_sweep.engine.training.settings import AttackTraining, MeasuringWorkers, TrainingSettings
from unlearn_sweep.evaluators.benchmarks.view_settings import WrittenView
from unlearn_sweep.evaluators.tasks.settings import AskedTask
from unlearn_sweep.plugins import PluginFile

Dtype = Literal["auto", "float32", "bfloat16"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]


class _Part(BaseModel):
    # Build validators on first use: checking a sweep file creates no job.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


def _space(value: Any) -> MethodSpace:
    return value if isinstance(value, MethodSpace) else MethodSpace.from_json(value)


Space = Annotated[
    MethodSpace, PlainValidator(_space), PlainSerializer(MethodSpace.to_json), WithJsonSchema({"type": "object"})
]


class ModelSource(_Part):
    """Source of a model: an existing model, or a training recipe.

    Attributes:
        path: absolute folder or hub id `owner/name[@revision]`. If None, the benchmark's recipe trains the model.
        recipe: fields that replace those of the benchmark's recipe.
        floor: gold model only. "chance" means that there is no gold model; metrics use their chance values instead.
        tokenizer: folder or hub id of a tokenizer to use instead of the one in the model's folder. The original's
            applies to every model of the sweep, the gold model's to that model only.
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


class RequestSettings(_Part):
    """Requests to forget, one after another.

    Attributes:
        after: numbers of requests, rising, after which a trial is measured; the last is the trial's own result.
        mode: sequence: each request is unlearned from the model of the one before. together: the first k requests are
            unlearned at once from the original, for each k of `after`.
    """

    after: list[int] = Field(min_length=1)
    mode: Literal["sequence", "together"] = "sequence"

    @model_validator(mode="after")
    def _check_rising(self) -> RequestSettings:
        if self.after != sorted(set(self.after)) or self.after[0] < 1:
            raise ValueError(f"requests must rise from 1 or more; they are {self.after}")
        return self


class BenchmarkSettings(_Part):
    """A benchmark of `evaluators.benchmarks.catalog` with every option filled in. File paths are absolute.

    `params` also contain the prompt format (`evaluators.benchmarks.prompt_format`).
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class AttackerSearch(_Part):
    """The searched attacker that an attack is one setting of.

    Attributes:
        label: label of the attacker, unique in the sweep.
        trials: number of its settings; the same for every trial, for the original and for the gold model.
        utility_floor: least share of a model's UT that an attacked state must keep to count.
        values: the searched parameters of this setting.
    """

    label: str
    trials: int = Field(ge=2)
    utility_floor: float = Field(ge=0, le=1)
    values: dict[str, Any]


class AttackSettings(_Part):
    """One attack of the battery. `label` is unique in the sweep; `params` include all defaults.

    `searched` is None unless the attack is one setting of a searched attacker. `entry` is the position of its entry in
    the file's list, for messages: a preset, a grid or a search is several attacks. It is written nowhere.
    """

    label: str
    name: str
    family: str
    params: dict[str, Any] = Field(default_factory=dict)
    searched: AttackerSearch | None = None
    entry: int = Field(default=0, exclude=True)


NEUTRAL = frozenset(
    {
        "concurrent_trials",
        "evaluation_resources",
        "evaluation_workers",
        "attack_training",
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
        "ue_trust",
    }
)
NEUTRAL_IN_SEARCH = frozenset(
    {"trials", "budget", "seeds_for_finalists", "first", "beliefs", "unmeasured", "learnt", "others", "trains"}
)


class SweepJob(_Part):
    """Everything the engine needs to run or resume one sweep.

    Attributes (those that need explanation):
        prompt_probe: stop the preparation if the original gives its trained answers a clearly higher likelihood in
            another prompt format.
        tasks: tasks of lm-evaluation-harness, for metric `lm_eval`.
        ut_groups: splits of UT by group, if UT is the mean over groups of the mean over their parts. Empty: one mean.
        ue_weights: weight of each metric in UE; empty if all count the same. It is part of a trial's identity.
        ue_trust: what the calibration behind `ue_weights` measured of each metric, for the report; empty for weights by
            hand. The weights alone decide what a trial is.
        views: texts that were written for the benchmark's rows. Stage keys include the content of those that a stage
            reads.
        requests: requests to forget one after another; None: all forget rows at once.
        plugins: files that add to the catalogs. Stage keys include the plugin code that a stage uses.
        evaluation_workers: processes that share the rows of an evaluation; "auto": one for each GPU, or group of GPUs,
            that holds the model, and one on a CPU.
        evaluation_resources: Ray resources of measuring, for all its workers together. `on_capacity` replaces `auto`,
            here and in `training.resources_per_worker`.
        attack_training: where attacks that train do so: "auto" is on the sweep's workers if it has any.
        concurrent_trials: if None, `engine.resources.placement.concurrency` derives it from the cluster's resources.
        threads: threads of each training or measuring process.
        storage_limit_gib: limit on the size of all models in the storage. None keeps only models on a front.
        mlflow: "auto" (sqlite in the storage), "off" or an address.
        mirror: fsspec address to which finished results are copied, without credentials.
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
    ue_weights: dict[str, float] = {}
    ue_trust: list[MetricTrust] = []
    tasks: list[AskedTask] = []
    ut_groups: dict[str, list[str]] = {}
    plugins: list[PluginFile] = []
    attacks: list[AttackSettings]
    search: SearchSettings
    evaluation_resources: Resources = "auto"
    evaluation_workers: MeasuringWorkers = "auto"
    attack_training: AttackTraining = "auto"
    concurrent_trials: int | None = Field(default=None, ge=1)
    threads: int = Field(default=1, ge=1)
    stage_timeout_s: float | None = Field(default=None, gt=0)
    storage_limit_gib: float | None = Field(default=None, gt=0)
    mlflow: str = "auto"
    mirror: str | None = None
    views: list[WrittenView] = []
    requests: RequestSettings | None = None
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
    def families(self) -> dict[str, str]:
        """Family of each attack, by label."""
        return {attack.label: attack.family for attack in self.attacks}

    @property
    def attackers(self) -> dict[str, str]:
        """Label of the searched attacker, by label of each of its settings."""
        return {attack.label: attack.searched.label for attack in self.attacks if attack.searched is not None}

    @property
    def beside(self) -> frozenset[str]:
        """Splits of the tasks that are measured and reported but do not count towards UT."""
        return frozenset(task.split for task in self.tasks if not task.counts)

    @property
    def measuring(self) -> dict[str, float]:
        """Resources of measuring, all workers together. `auto` counts as on a machine without GPUs."""
        workers = 1 if self.evaluation_workers == "auto" else self.evaluation_workers
        return resources_of(self.evaluation_resources, {}, workers)

    @property
    def measuring_threads(self) -> int:
        """Threads of each measuring worker: on CPUs, those of the measuring process are divided among them."""
        if self.evaluation_workers in ("auto", 1) or self.measuring.get("GPU"):
            return self.threads
        return max(1, int(self.measuring.get("CPU", 0.0)) // self.evaluation_workers)

    def on_capacity(self, capacity: Mapping[str, float]) -> SweepJob:
        """Return the job with `auto` resources replaced by those for a machine or cluster of this capacity."""
        workers, measuring = self.training.resources_on(capacity, self.evaluation_resources, self.evaluation_workers)
        training = self.training.model_copy(update={"resources_per_worker": workers.resources})
        return self.model_copy(update={"training": training, "evaluation_resources": measuring})

    def digest(self) -> str:
        """Hash (16 hex digits) of everything that decides what a trial is and which trials are proposed.

        It does not change if the sweep is extended, moved, logged to another tracking server, or run with more
        concurrent trials.
        """
        content = self.model_dump(mode="json", exclude=set(NEUTRAL))
        content["training"] = self.training.identity()
        content["search"] = {key: value for key, value in content["search"].items() if key not in NEUTRAL_IN_SEARCH}
        if not self.search.sampler_options:  # an option that older sweeps do not have
            del content["search"]["sampler_options"]
        if self.search.stop_trainings is None:
            del content["search"]["stop_trainings"]
        if not self.ut_groups:
            del content["ut_groups"]
        if self.requests is None:  # sweeps without requests have none
            del content["requests"]
        for attack in content["attacks"]:
            if attack["searched"] is None:  # as in sweeps before attackers were searched
                del attack["searched"]
        if not self.ue_weights:  # as in sweeps of older versions
            del content["ue_weights"]
        del content["views"]
        if self.views:  # where a view lies is no matter, and sweeps without views have none
            content["views"] = [view.model_dump(mode="json", exclude={"path"}) for view in self.views]
        return digest(content)
