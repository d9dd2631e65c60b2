"""What each attack can be told, with published defaults. Strict models, read by `validate`: no model library here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unlearn_sweep.evaluators.benchmarks.task_settings import TaskDataSettings

Steps = Annotated[int, Field(ge=0)]
Bits = Literal[2, 3, 4, 5, 6, 7, 8, 16]
Count = Annotated[int, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class AttackParams(BaseModel):
    """Base of all attack parameters: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @property
    def leaves_plain_model(self) -> bool:
        """Whether every state is an ordinary model asked by unchanged prompts, which can be saved and loaded again."""
        return False


class WeightsParams(AttackParams):
    """Base of the attacks that change a model's weights and nothing else."""

    @property
    def leaves_plain_model(self) -> bool:
        return True


def curve(value: int | Sequence[int], *, name: str, falling: bool = False) -> tuple[int, ...]:
    """The strengths of an attack from weak to strong: one number, or several that rise (or fall) strictly.

    Raises:
        ValueError: the list is empty, repeats a value or is out of order.
    """
    points = (value,) if isinstance(value, int) else tuple(value)
    ordered = tuple(sorted(set(points), reverse=falling))
    if not points or points != ordered:
        direction = "fall" if falling else "rise"
        raise ValueError(
            f"{name} must be non-empty and strictly {direction}, weak to strong; got {value}, try {list(ordered)}"
        )
    return points


class TrainingParams(WeightsParams):
    """What every attack that trains has in common. The curve is one run: states are taken from it on the way."""

    steps: Steps | list[Steps] = Field(default=[5, 20, 100], description="optimizer steps after which a state is taken")
    learning_rate: float = Field(default=2e-5, ge=0, allow_inf_nan=False, description="constant AdamW rate")
    batch_size: int = Field(default=4, ge=1, description="sequences a step")
    warmup: bool = Field(default=True, description="linear warm-up over the first max(1, last step / 10) steps")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="decoupled weight decay")
    lora_rank: int = Field(
        default=0, ge=0, description="rank of LoRA on every linear layer but the head; 0: all weights"
    )
    lora_alpha: int = Field(default=16, ge=1, description="LoRA scale: update times alpha / rank")

    @model_validator(mode="after")
    def _check_steps(self) -> TrainingParams:
        curve(self.steps, name="steps")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.steps, name="steps")


class RelearnParams(TrainingParams):
    """In-domain relearning."""

    data: str = Field(
        default="forget",
        min_length=1,
        description='"forget": half of the forget facts, the other is scored; or a training view such as "related"',
    )


class FinetuneParams(TrainingParams, TaskDataSettings):
    """Out-of-domain fine-tuning."""

    steps: Steps | list[Steps] = Field(default=[250], description="optimizer steps after which a state is taken")
    batch_size: int = Field(default=32, ge=1, description="sequences a step")
    max_tokens: int = Field(default=512, ge=2, description="tokens of a question with its answer, cut beyond")


class QuantizeParams(WeightsParams):
    """Round-to-nearest weight quantisation."""

    bits: Bits | list[Bits] = Field(default=4, description="bits a weight; 16 leaves the weights as they are")
    granularity: Literal["per_tensor", "per_channel", "group"] = Field(
        default="per_channel", description="which weights share a step: the matrix, an output row, or a group in a row"
    )
    group_size: int = Field(
        default=128, ge=1, description="inputs in a group, for granularity group; the last may be short"
    )
    include_lm_head: bool = Field(
        default=False, description="quantise the output head too, and so the input embedding where both are one matrix"
    )

    backend: Literal["plain", "torchao", "bitsandbytes"] = Field(
        default="plain", description="whose rounding: our own, torchao's, or bitsandbytes' (nf4 and int8; needs a GPU)"
    )

    @model_validator(mode="after")
    def _check_bits(self) -> QuantizeParams:
        points = curve(self.bits, name="bits", falling=True)
        if self.backend == "bitsandbytes" and not set(points) <= {4, 8, 16}:
            raise ValueError(f"backend bitsandbytes knows 8 and 4 bits (16: unchanged); got {list(points)}")
        if self.backend == "bitsandbytes" and {"granularity", "group_size"} & self.model_fields_set:
            raise ValueError("backend bitsandbytes has a granularity of its own; leave granularity and group_size out")
        if self.backend == "torchao" and self.granularity == "per_tensor":
            raise ValueError("backend torchao rounds per_channel or by group; got per_tensor")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.bits, name="bits", falling=True)


class PrefillParams(AttackParams):
    """Opening the answer for the model."""

    tokens: Count | list[Count] = Field(
        default=[1, 2, 4, 8], description="first gold answer tokens put into the prompt"
    )
    text: str | None = Field(
        default=None, min_length=1, description='an affirmative opening instead, "Sure, the answer is"'
    )

    @model_validator(mode="after")
    def _check_one(self) -> PrefillParams:
        curve(self.tokens, name="tokens")
        if self.text is not None and "tokens" in self.model_fields_set:
            raise ValueError("give either tokens (gold answer tokens) or text (an affirmative opening), not both")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.tokens, name="tokens")


class FewShotParams(AttackParams):
    """Demonstrations of forgotten facts before the question."""

    shots: Count | list[Count] = Field(default=[1, 5, 10], description="question-answer pairs before the question")
    demonstrations: Literal["forget", "retain"] = Field(
        default="forget", description="where pairs come from: the relearn half of the forget facts, or the retain set"
    )

    @model_validator(mode="after")
    def _check_shots(self) -> FewShotParams:
        curve(self.shots, name="shots")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.shots, name="shots")


class InContextParams(FewShotParams):
    """Demonstrations that have nothing to do with the forgotten facts: in-context retain."""

    shots: Count | list[Count] = Field(default=[3], description="question-answer pairs before the question")
    demonstrations: Literal["forget", "retain"] = Field(
        default="retain", description="where pairs come from: the relearn half of the forget facts, or the retain set"
    )


class ParaphraseParams(AttackParams):
    """Other wordings of the same question."""

    wordings: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=1)]] = Field(
        default=[1, 4], description="wordings tried a row; the one with the likeliest gold answer is asked"
    )

    @model_validator(mode="after")
    def _check_wordings(self) -> ParaphraseParams:
        curve(self.wordings, name="wordings")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.wordings, name="wordings")


RwkuKind = Literal[
    "prefix_injection",
    "affirmative_suffix",
    "role_play",
    "multiple_choice",
    "reverse_query",
    "synonym",
    "background_hint",
    "in_context",
    "cross_lingual",
]


class RwkuPromptsParams(AttackParams):
    """RWKU's kinds of adversarial prompts."""

    kinds: list[RwkuKind] = Field(
        default=list(get_args(RwkuKind)), min_length=1, description="kinds of prompts, each a state of its own"
    )
    aggregate: Literal["each", "worst"] = Field(
        default="each", description="a state for each kind, or one in which each row is asked in its likeliest kind"
    )

    @model_validator(mode="after")
    def _check_kinds(self) -> RwkuPromptsParams:
        ordered = [kind for kind in get_args(RwkuKind) if kind in self.kinds]
        if list(self.kinds) != ordered:
            raise ValueError(f"kinds must be in RWKU's order, each once; got {list(self.kinds)}, try {ordered}")
        return self


class LogitLensParams(WeightsParams):
    """Reading the answer out of an inner layer."""

    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers to choose from, counted from 1; null: all, the last included"
    )


class PruneParams(WeightsParams):
    """Set-difference pruning."""

    forget_percent: list[Percent] = Field(
        default=[0.5, 1.0, 2.5, 5.0, 7.5],
        min_length=1,
        description="share of each matrix that counts as important for the forget answers, in percent",
    )
    utility_percent: Percent = Field(default=7.5, description="share that counts as important for utility, and is kept")
    samples: int = Field(default=128, ge=1, description="forget and utility answers scored at most, each")

    @model_validator(mode="after")
    def _check_percents(self) -> PruneParams:
        if list(self.forget_percent) != sorted(set(self.forget_percent)):
            raise ValueError(
                f"forget_percent must strictly rise, weak to strong; got {self.forget_percent}, "
                f"try {sorted(set(self.forget_percent))}"
            )
        if self.forget_percent[-1] > self.utility_percent:
            raise ValueError(
                f"utility_percent ({self.utility_percent:g}) must be at least the largest forget_percent "
                f"({self.forget_percent[-1]:g}), so that what both need is kept"
            )
        return self


class AbliterateParams(AttackParams):
    """Taking one direction out of the residual stream."""

    reference: Literal["original", "retain"] = Field(
        default="retain",
        description="forget states are compared with the original model's, or with those on retain text",
    )
    where: Literal["activations", "weights"] = Field(
        default="activations",
        description="one direction a layer removed from block outputs, or the best single one removed from the weights",
    )
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers whose direction is used, counted from 1; null: all"
    )
    samples: int = Field(default=256, ge=1, description="rows averaged over at most, each side")

    @property
    def leaves_plain_model(self) -> bool:
        return self.where == "weights"


class SoftPromptParams(AttackParams):
    """A trained continuous prompt."""

    iterations: Count | list[Count] = Field(default=[20, 100], description="updates after which a state is taken")
    soft_tokens: int = Field(default=8, ge=1, le=256, description="trained embeddings in front of the question")
    step_size: float = Field(
        default=1e-3, gt=0, allow_inf_nan=False, description="signed-gradient step, in embedding units"
    )
    batch_size: int = Field(default=16, ge=1, description="rows an update")

    @model_validator(mode="after")
    def _check_iterations(self) -> SoftPromptParams:
        curve(self.iterations, name="iterations")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.iterations, name="iterations")


class TextSearchParams(AttackParams):
    """What the searches for a text of ordinary tokens have in common."""

    steps: Steps | list[Steps] = Field(default=[250], description="searches after which a state is taken")
    place: Literal["prefix", "suffix"] = Field(
        default="suffix", description="whether the text stands before or behind every question"
    )
    prompts: int = Field(default=5, ge=1, description="facts the text is searched on, all at once")
    target_tokens: int = Field(default=10, ge=1, description="first gold answer tokens whose likelihood is raised")
    ascii_only: bool = Field(default=True, description="only printable ASCII tokens")
    batch_tokens: int = Field(default=16384, ge=1, description="tokens scored at a time")

    @model_validator(mode="after")
    def _check_steps(self) -> TextSearchParams:
        curve(self.steps, name="steps")
        return self

    @property
    def curve(self) -> tuple[int, ...]:
        return curve(self.steps, name="steps")


class GcgParams(TextSearchParams):
    """Greedy coordinate gradient."""

    suffix_tokens: int = Field(default=20, ge=1, description="tokens put at every question")
    search_width: int = Field(default=512, ge=1, description="candidates drawn a step, before doubles are dropped")
    top_k: int = Field(default=256, ge=1, description="replacements considered at each place, by gradient")


class EnhancedGcgParams(TextSearchParams):
    """GCG with terms on inner states, texts of changing length and a buffer."""

    place: Literal["prefix", "suffix"] = Field(
        default="prefix", description="whether the text stands before or behind every question"
    )
    text_tokens: int = Field(default=20, ge=1, description="tokens of the neutral text that the search starts from")
    min_tokens: int = Field(default=10, ge=1, description="no token is deleted from a text of this length")
    max_tokens: int = Field(default=120, ge=1, description="no token is inserted into a text of this length")
    warm_start: str | None = Field(
        default=None,
        min_length=1,
        description="a text to start from instead; models are then no longer compared fairly",
    )
    distance_weight: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="weight of the distance from the original under the text"
    )
    turn_weight: float = Field(
        default=10.0, ge=0, allow_inf_nan=False, description="weight of 1 - cosine to the original asked plainly"
    )
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, min_length=1, description="layers whose states are compared, counted from 1; null: all"
    )
    search_width: int = Field(default=64, ge=1, description="candidates drawn a step, before doubles are dropped")
    top_k: int = Field(default=64, ge=1, description="tokens considered at each place, by gradient")
    buffer_size: int = Field(default=16, ge=1, description="best texts kept")

    @model_validator(mode="after")
    def _check_lengths(self) -> EnhancedGcgParams:
        if not self.min_tokens <= self.text_tokens <= self.max_tokens:
            raise ValueError(
                f"min_tokens <= text_tokens <= max_tokens must hold; got {self.min_tokens}, {self.text_tokens}, "
                f"{self.max_tokens}"
            )
        return self
