"""The sections of a sweep file as strict, frozen models.

Checks that need a catalog or more than one section are in other modules. Descriptions are part of the JSON Schema, so
editors show them. A field whose name ends in a unit (`_hours`, `_s`, `_share`) takes a plain number in that unit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from unlearn_sweep.engine.job import Attention, Dtype
from unlearn_sweep.engine.search_settings import SearchOptions
from unlearn_sweep.engine.settings import Count, Resources, Settings
from unlearn_sweep.engine.training.settings import AttackTraining, MeasuringWorkers, TrainingSettings
from unlearn_sweep.evaluators.benchmarks.prompt_format import PromptSettings, settings_of
from unlearn_sweep.evaluators.tasks.settings import TaskSettings

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
MINIMUM_PATTERN = r"^\s*>=\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*$"

MAX_SEED = 2**32 - 1  # the highest seed that NumPy accepts

Auto = Literal["auto"]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Minimum = Annotated[str, Field(pattern=MINIMUM_PATTERN)]


class RecipeSection(Settings):
    """Training of the original or gold model.

    For gold, omitted fields are taken from the original's recipe. Otherwise, they are taken from the benchmark's recipe
    or, with a base, from common fine-tuning settings: 5 epochs, batch size 32, learning rate 1e-5 (2e-4 for adapters).
    """

    base: str | None = Field(
        default=None, description="model folder or hub id to start from, instead of a new small model"
    )
    config: dict[str, int | float | bool] | None = Field(
        default=None, description="Llama configuration of a new model: hidden_size, num_hidden_layers, ..."
    )
    vocab_size: Count | None = Field(default=None, description="entries of the tokenizer trained for a new model")
    epochs: float | None = Field(default=None, gt=0, description="passes over the training rows")
    batch_size: Count | None = Field(default=None, description="rows a step")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="peak learning rate of AdamW")
    warmup_share: float | None = Field(default=None, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float | None = Field(default=None, ge=0, description="decoupled weight decay")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="draws the weights and the order of rows")


class SourceSection(Settings):
    """A model, either stored or trained by the sweep."""

    path: str | None = Field(default=None, min_length=1, description="model folder, or hub id owner/name[@revision]")
    train: RecipeSection | None = Field(
        default=None, description="train it; fields replace those of the benchmark's recipe"
    )
    tokenizer: str | None = Field(
        default=None, min_length=1, description="tokenizer's folder or hub id, where it is not beside the weights"
    )


class GoldSection(SourceSection):
    """The gold model, trained without the forget set, or the values to use instead if no such model can exist."""

    floor: Literal["chance"] | None = Field(
        default=None, description="there is no gold model: every metric at its chance value stands in for it"
    )


class ModelSection(SourceSection):
    """The original model, and how to load models. Without path and train, it is trained by the benchmark's recipe."""

    dtype: Dtype = Field(default="auto", description="auto: float32 on a CPU, bfloat16 on a GPU")
    attention: Attention = Field(
        default="auto", description="auto: the fastest that the model class has and that runs here"
    )
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with a model; this version never does"
    )


class EvaluatorsSection(Settings):
    """Metrics of the objectives UE and UT. By default, all metrics that the benchmark names."""

    ue: list[str] | None = Field(default=None, min_length=1, description="metrics of unlearning effectiveness")
    ut: list[str] | None = Field(default=None, min_length=1, description="metrics of utility retention")
    ut_groups: dict[str, list[str]] | None = Field(
        default=None,
        min_length=1,
        description="UT as the mean over these groups of splits, each the mean of its own parts: tasks as task:mmlu",
    )
    ue_weights: str | dict[str, Weight] = Field(
        default={},
        description="weights of UE's metrics: measured (by calibrate), a calibration.json, or each its number "
        "(those without one count 1)",
    )
    lm_eval: dict[str, TaskSettings | None] | None = Field(
        default=None, min_length=1, description="tasks of lm-evaluation-harness for UT: mmlu, gsm8k, ifeval, ..."
    )
    lm_eval_folder: str | None = Field(
        default=None, min_length=1, description="folder of task definitions of one's own, as the harness reads them"
    )


class ConstraintsSection(Settings):
    """Minimum of each objective for a trial to be feasible, as text: ">= 0.5". Every objective is in [0, 1]."""

    ue: Minimum | None = None
    ut: Minimum | None = None
    rob: Minimum | None = None


class SearchSection(SearchOptions):
    """Settings of the search."""

    trials: Count | None = Field(default=None, description="trials in all; left out: 30, or the whole grid")
    max_concurrent: Auto | Count = Field(default="auto", description="trials at once; auto: as many as fit")
    constraints: ConstraintsSection = Field(default=ConstraintsSection(), description="least values of objectives")
    enqueue: list[dict[str, dict[str, Any] | None]] = Field(
        default_factory=list, description="settings to try first, each a method with values of its searched parameters"
    )
    prior: Literal["published"] | list[dict[str, dict[str, Any] | None]] = Field(
        default_factory=list,
        description="settings that early trials are drawn around, one for each method, or published: its defaults",
    )
    warm_start: str | None = Field(
        default=None, min_length=1, description="folder of another sweep, whose front is tried first"
    )
    learn_from: str | None = Field(
        default=None, min_length=1, description="folder of another sweep, whose trials tell tpe where good settings lie"
    )


class TrackingSection(Settings):
    """Settings of experiment tracking."""

    mlflow: str = Field(
        default="auto", min_length=1, description="auto (sqlite beside the runs), off, or a server's address"
    )


class EvaluationSection(Settings):
    """Resources for evaluating and attacking models."""

    resources: Resources = Field(
        default="auto",
        description="Ray resources of measuring, all its workers together: CPU, GPU, a custom name; auto: a GPU for "
        "each if there are any, else a CPU",
    )
    workers: MeasuringWorkers = Field(
        default="auto",
        description="processes that share the rows of an evaluation, each with a copy of the model; auto: one for each "
        "GPU (or group of GPUs) that holds the model, one on CPUs",
    )
    attack_training: AttackTraining = Field(
        default="auto",
        description="where relearn, finetune, soft_prompt train: workers, measuring (process), auto: workers, if any",
    )


def after_of(value: Any) -> Any:
    """The section `requests` as a mapping: a bare list is `after`."""
    return {"after": value} if isinstance(value, list) else value


class RequestsSection(Settings):
    """Requests to forget, one after another."""

    after: list[Count] = Field(
        min_length=1, description="numbers of requests after which a trial is measured; the last is its result"
    )
    mode: Literal["sequence", "together"] = Field(
        default="sequence",
        description="sequence: each is unlearned from the model before it; together: the first k at once, for each k",
    )


class SweepFile(Settings):
    """A sweep file. `benchmark`, `methods` and `attacks` are also checked against their catalogs, in other modules."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(description="folder of the sweep below storage")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="the only source of randomness")
    model: ModelSection = Field(default=ModelSection(), description="the model before unlearning")
    gold: GoldSection = Field(default=GoldSection(), description="the same model trained without the forget set")
    benchmark: dict[str, Any] = Field(description="name of a benchmark and its options")
    prompt: Annotated[PromptSettings, BeforeValidator(settings_of)] = Field(
        default=PromptSettings(), description="how questions are put to models, in training, metrics and attacks alike"
    )
    methods: dict[str, Any] = Field(min_length=1, description="methods to search, with the space of each")
    training: TrainingSettings = Field(default=TrainingSettings(), description="how a trial trains")
    evaluators: EvaluatorsSection = Field(default=EvaluatorsSection(), description="metrics of the objectives")
    attacks: list[Any] = Field(min_length=1, description="attacks each trial has to stand")
    views: list[Any] = Field(
        default=[], description="texts to be written for the benchmark's rows by unlearn-sweep write-views"
    )
    requests: Annotated[RequestsSection | None, BeforeValidator(after_of)] = Field(
        default=None,
        description="requests to forget one after another: [1, 2, 3, 4]; left out: all at once",
    )
    search: SearchSection = Field(default=SearchSection(), description="how the space is searched")
    tracking: TrackingSection = Field(default=TrackingSection(), description="where runs are logged")
    evaluation: EvaluationSection = Field(default=EvaluationSection(), description="resources of measuring")
    storage: str = Field(
        default="runs", min_length=1, description="folder of all results, relative to where the command runs"
    )
    mirror: str | None = Field(
        default=None,
        min_length=1,
        description="address of a copy of what is finished, kept while the sweep runs: s3://bucket/runs, gs://, ...",
    )
    storage_limit_gib: float | None = Field(
        default=None, gt=0, description="GiB of models in storage; left out: only those on a front are kept"
    )
    stage_timeout_s: float | None = Field(
        default=14400.0,
        gt=0,
        description="seconds a stage (a training, an evaluation, an attack) may take; null: no limit",
    )
    prune: bool = Field(default=True, description="skip attacks that can no longer put a trial on the front")
    plugins: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="Python files with cards of your own (docs/extend.md), relative to this file"
    )
