"""The parts of a sweep file as strict, frozen models. What needs a catalog or two parts at once is elsewhere.

Descriptions end up in the JSON Schema, so editors show them. A field whose name ends in a unit takes a plain number in
that unit (`_hours`, `_s`, `_share`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.engine.job import Attention, Backend, Decay, Dtype, Sampler
from unlearn_sweep.evaluators.tasks.settings import TaskSettings

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
MINIMUM_PATTERN = r"^\s*>=\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*$"

MAX_SEED = 2**32 - 1  # what NumPy takes

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Amount = Annotated[float, Field(ge=0)]
Auto = Literal["auto"]
Minimum = Annotated[str, Field(pattern=MINIMUM_PATTERN)]


class Section(BaseModel):
    """Base of every part: unknown keys and values of another type are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RecipeSection(Section):
    """Training of an original or gold model.

    What is left out is, for gold, as the original's; else as the benchmark's own recipe says, or with a base as usual
    in fine-tuning one: 5 epochs, batches of 32, rate 1e-5 (2e-4 for adapters).
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
    learning_rate: float | None = Field(default=None, gt=0, description="peak learning rate of AdamW")
    warmup_share: float | None = Field(default=None, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float | None = Field(default=None, ge=0, description="decoupled weight decay")
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED, description="draws the weights and the order of rows")


class SourceSection(Section):
    """A model: a stored one, or one trained by the sweep."""

    path: str | None = Field(default=None, min_length=1, description="model folder, or hub id owner/name[@revision]")
    train: RecipeSection | None = Field(
        default=None, description="train it; fields replace those of the benchmark's recipe"
    )


class GoldSection(SourceSection):
    """The gold model, trained without the forget set; or the values to take where no such model can exist."""

    floor: Literal["chance"] | None = Field(
        default=None, description="there is no gold model: every metric at its chance value stands in for it"
    )


class ModelSection(SourceSection):
    """The original model, and how models are loaded. Without path and train, the benchmark's own recipe makes it."""

    dtype: Dtype = Field(default="auto", description="auto: float32 on a CPU, bfloat16 on a GPU")
    attention: Attention = Field(default="auto", description="auto: flash attention where it can run, else sdpa")
    trust_remote_code: bool = Field(
        default=False, description="run code that comes with a model; this version never does"
    )


class LoraSection(Section):
    """Low-rank adapters. They want a learning rate about ten times that of full training."""

    rank: Count = Field(default=8, description="rank of the adapters")
    alpha: float = Field(default=16.0, gt=0, description="their scale is alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before the adapters")
    targets: Literal["all", "attention"] = Field(default="all", description="linear layers that get one")


class TrainingSection(Section):
    """How a trial trains. Learning rate and loss weights belong to the methods."""

    epochs: Count | None = Field(
        default=None, description="passes over the forget set, for methods that do not name epochs themselves"
    )
    max_steps: Count | None = Field(default=None, description="optimizer steps at most")
    global_batch_size: Count = Field(default=32, description="forget rows a step, over all workers")
    micro_batch_size: Count | None = Field(
        default=None, description="rows one worker holds in one pass; left out: its share"
    )
    backend: Backend = Field(default="torch", description="torch, or the DeepSpeed engine with ZeRO")
    zero_stage: Literal[0, 1, 2, 3] | None = Field(default=None, description="ZeRO stage of deepspeed; left out: 2")
    workers: int = Field(
        default=0, ge=0, le=100_000, description="training processes of a trial; 0 trains inside the trial"
    )
    resources_per_worker: dict[str, Amount] = Field(
        default_factory=lambda: {"CPU": 1.0}, description="Ray resources of one worker: CPU, GPU or a custom name"
    )
    gradient_clip: float | None = Field(default=1.0, gt=0, description="largest gradient norm; null does not clip")
    warmup_share: float = Field(default=0.05, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(default=0.01, ge=0, description="decoupled weight decay")
    decay: Decay = Field(default="linear", description="learning rate after the warm-up")
    activation_checkpointing: bool = Field(default=False, description="less memory for about a third more time")
    checkpoint_every_s: float = Field(
        default=600.0, ge=0, description="seconds between checkpoints of a training; a killed one goes on from its last"
    )
    lora: LoraSection | None = Field(
        default=None, description="train adapters instead of all weights, merged at the end; left out: all weights"
    )


class EvaluatorsSection(Section):
    """Metrics of the two utility objectives; left out: all that the benchmark names."""

    ue: list[str] | None = Field(default=None, min_length=1, description="metrics of unlearning effectiveness")
    ut: list[str] | None = Field(default=None, min_length=1, description="metrics of utility retention")
    lm_eval: dict[str, TaskSettings | None] | None = Field(
        default=None, min_length=1, description="tasks of lm-evaluation-harness for UT: mmlu, gsm8k, ifeval, ..."
    )
    lm_eval_folder: str | None = Field(
        default=None, min_length=1, description="folder of task definitions of one's own, as the harness reads them"
    )


class ConstraintsSection(Section):
    """Least values for a trial to count as feasible, as text: ">= 0.5". Every objective lies in [0, 1]."""

    ue: Minimum | None = None
    ut: Minimum | None = None
    rob: Minimum | None = None


class BudgetSection(Section):
    """When to stop asking for trials, whatever `trials` says. Running trials are finished."""

    gpu_hours: float | None = Field(default=None, gt=0, description="hours times GPUs in use")
    wall_hours: float | None = Field(default=None, gt=0, description="hours since the start of the run")


class SearchSection(Section):
    """How the space is searched."""

    sampler: Sampler = Field(default="tpe", description="who proposes: tpe, nsga2, nsga3, gp, qmc, random, grid")
    trials: Count | None = Field(default=None, description="trials in all; left out: 30, or the whole grid")
    allocation: Literal["equal", "free"] = Field(
        default="equal", description="equal: every method gets as many trials; free: the sampler chooses"
    )
    seeds_for_finalists: Count = Field(
        default=1, description="seeds each member of the front is run with in all, after the search"
    )
    max_concurrent: Auto | Count = Field(default="auto", description="trials at once; auto: as many as fit")
    constraints: ConstraintsSection = Field(default=ConstraintsSection(), description="least values of objectives")
    budget: BudgetSection = Field(default=BudgetSection(), description="limits of time")
    startup_trials: Count | None = Field(
        default=None, description="random trials before tpe, nsga2, nsga3 or gp models anything"
    )
    grid_points: int | None = Field(default=None, ge=2, le=1000, description="values a grid takes from each range")
    warm_start: str | None = Field(
        default=None, min_length=1, description="folder of another sweep, whose front is tried first"
    )
    reproducible: bool = Field(default=False, description="the same file gives the same trials, whatever the timing")


class TrackingSection(Section):
    """Where runs are logged."""

    mlflow: str = Field(
        default="auto", min_length=1, description="auto (sqlite beside the runs), off, or a server's address"
    )


class EvaluationSection(Section):
    """What measuring and attacking a model may use."""

    resources: dict[str, Amount] = Field(
        default_factory=lambda: {"CPU": 1.0},
        description="Ray resources of one measuring process: CPU, GPU or a custom name",
    )


class SweepFile(Section):
    """A sweep file. `benchmark`, `methods` and `attacks` are checked against their catalogs besides."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(description="folder of the sweep below storage")
    seed: int = Field(default=0, ge=0, le=MAX_SEED, description="the only source of randomness")
    model: ModelSection = Field(default=ModelSection(), description="the model before unlearning")
    gold: GoldSection = Field(default=GoldSection(), description="the same model trained without the forget set")
    benchmark: dict[str, Any] = Field(description="name of a benchmark and its options")
    methods: dict[str, Any] = Field(min_length=1, description="methods to search, with the space of each")
    training: TrainingSection = Field(default=TrainingSection(), description="how a trial trains")
    evaluators: EvaluatorsSection = Field(default=EvaluatorsSection(), description="metrics of the objectives")
    attacks: list[Any] = Field(min_length=1, description="attacks each trial has to stand")
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
