"""What an unlearning method is: terms of a loss over packed token logits. The driver owns forward, backward and step.

Shapes: B sequences of a view's batch, N supervised tokens of that batch laid end to end, V vocabulary entries, D
hidden. Packing drops every prompt and padding position before a method sees it, so no loss can depend on padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Per = Literal["token", "sequence", "micro_batch"]
Reference = Literal["none", "sequence_nll", "logits", "hidden"]
IGNORED = -100
"""The label of a place that is not supervised."""
Trainable = Literal["all", "up_to_layer", "down_projections"]


@dataclass(frozen=True, slots=True)
class Supervised:
    """Model output at the supervised positions of one view's batch.

    `logits` [N, V] predict `targets` [N]; `sequence` [N] is the row of the batch each token belongs to, in ascending
    order; `sequences` is B. `hidden` maps a layer, from 0, to the residual stream [N, D] behind it at the same places,
    where `needs().layers` asked for it; `logits` is then [N, 0] where `needs().logits` said that nobody reads them.
    """

    logits: Tensor
    targets: Tensor
    sequence: Tensor
    sequences: int
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Padded:
    """Model output at every place of one view's micro-batch: what code that never packed its tokens works on.

    `logits` [B, T, V]; `labels` [B, T] has the token at a supervised place, -100 at prompt and padding; rows are padded
    on the right to the longest of the micro-batch, under an attention mask. `hidden` maps a layer to [B, T, D].
    """

    logits: Tensor
    labels: Tensor
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand of the loss, as a sum and what to divide it by.

    `total` is summed over this rank's tokens (`per="token"`) or sequences (`per="sequence"`) of `view`; the driver
    divides by the count of the whole global batch, so gradient accumulation and the number of ranks change nothing.
    `per="micro_batch"`: it is a mean over this micro-batch already, and the driver averages over those of all ranks.
    `skip_tokens`: a token term that leaves out the first k supervised tokens of every sequence; the count leaves them
    out too (sum over sequences of max(0, tokens - k)).
    `squared`: the term's value is the square of its mean over the global batch, not the mean of squares.
    """

    name: str
    total: Tensor
    view: str
    per: Per
    weight: float = 1.0
    skip_tokens: int = 0
    squared: bool = False


class Descend(Protocol):
    """One step of an adversary on its push [..., D], which stays within `radius` [..., 1] at every position."""

    def __call__(self, push: Tensor, gradient: Tensor, *, rate: float, radius: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversarySettings:
    """An adversary that pushes the forget rows' hidden states before the method's forward over them.

    Attributes:
        layer: Where it pushes, as a share of the model's depth in (0, 1].
        radius: Longest push at a position, relative to the length of the state there.
        steps: Steps of its search in each training step.
        rate: Length of one such step, in radii.
        descend: What makes the next push from the last one and its gradient.
    """

    layer: float
    radius: float
    steps: int
    rate: float
    descend: Descend


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageSettings:
    """A running mean of the trained weights, kept instead of the last ones.

    Attributes:
        decay: average <- decay * average + (1 - decay) * weights after each step; in [0, 1), 0 keeps the last weights.
            None: all weights that are taken count the same.
        start: Share of the training before the first step that counts, in [0, 1].
        every: Take the weights after each step whose number, from 1, is a multiple of this.
    """

    decay: float | None
    start: float
    every: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSettings:
    """Damage to the weights before the first step: (1 - alpha) w + alpha beta noise (`undo.xavier_noise`).

    Attributes:
        alpha: Share of a weight that is lost, in [0, 1].
        beta: Length of the noise, in lengths of a fresh weight's.
    """

    alpha: float
    beta: float


@dataclass(frozen=True, slots=True)
class Common:
    """What vectors have in common: a mean direction [D] of length 1 (or zero) and components [K, D], orthonormal."""

    mean: Tensor
    components: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CollapseSettings:
    """What is taken out of the forget gradients of MLP matrices (`methods.cir`). Only these matrices train then.

    Attributes:
        inputs: Directions taken out of a layer's inputs, the mean among them.
        gradients: Directions taken out of the gradients at its outputs.
        refresh: Share of the training after which directions are computed anew, in (0, 1].
        common: What vectors have in common, from their sum [D], sum of x x^T [D, D], number, and how many directions.
        remove: Vectors [..., D] without what they have in common.
    """

    inputs: int
    gradients: int
    refresh: float
    common: Callable[[Tensor, Tensor, float, int], Common]
    remove: Callable[[Tensor, Common], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a method asks of the driver, declared before anything runs.

    `views`: batches each step reads: "forget", "retain"; "train" (plain fine-tuning); "forget_idk", "retain_idk" (the
    same questions in the same order with a refusal, drawn by seed, epoch and row); "forget_vague" (in other words,
    with a written answer that gives nothing away, drawn by seed, epoch and row); "forget_alternate" (with a plausible
    other answer); "task:gsm8k" or "task:FILE" (rows of another task); "forget_continuation" (the forget questions and
    `subject_change`, with what the start model says behind them).
    `rows_a_step`: rows of a view in each step, where they are not as many as of the others.
    `reference`: how the frozen start model is consulted for `reference_views`. "sequence_nll" is computed once and
    cached; "logits" keeps the frozen model at hand, and `Step.reference_nll` works there too; "hidden" keeps it for its
    states at `layers`.
    `layers`: the layers whose hidden states are read, as shares of the model's depth in (0, 1], or "all". `logits`:
    False where no term reads them: the forward then stops behind the highest of `layers`.
    `trainable`: the weights that train. "up_to_layer": all at or below the highest of `layers`; "down_projections": the
    down projections of its last three blocks up to there.
    `prefixes`: text that stands before the question in views that follow "forget": "forget_expert", "forget_novice".
    Such a view is in `reference_views` only.
    `padded`: views whose `Step.padded` is asked for; `forward` and the reference then give a selection of it.
    `teacher`: "reinforced" asks for the original trained further on the forget rows, with the method's parameters
    `reinforce_learning_rate` and `reinforce_epochs`; `Step.teacher_logits` then works for views of `reference_views`.
    `gradients`: "grouped" where forget and retain gradients are wanted apart.
    `state`: True where the method keeps state between steps (it goes into checkpoints); see `StatefulMethod`.
    `adversary`: pushes the forget rows' hidden states in every step; None: nothing does.
    `average`: the kept weights are a running mean of the trained ones; None: they are the last ones.
    `collapse`: forget gradients of MLP matrices lose what forget tokens have in common; None: they do not.
    `noise`: the weights are damaged before the first step, and the frozen start model is not; None: they are not.
    """

    views: tuple[str, ...] = ("forget", "retain")
    reference: Reference = "none"
    reference_views: tuple[str, ...] = ()
    layers: tuple[float, ...] | Literal["all"] = ()
    logits: bool = True
    trainable: Trainable = "all"
    prefixes: tuple[tuple[str, str], ...] = ()
    subject_change: str = ""
    padded: tuple[str, ...] = ()
    rows_a_step: tuple[tuple[str, int], ...] = ()
    teacher: Literal["none", "reinforced"] = "none"
    gradients: Literal["single", "grouped"] = "single"
    state: bool = False
    adversary: AdversarySettings | None = None
    average: AverageSettings | None = None
    noise: NoiseSettings | None = None
    collapse: CollapseSettings | None = None


class Step(Protocol):
    """One training step as a method sees it. Every forward is made once per step, however often it is asked for."""

    index: int
    progress: float
    state: dict[str, Any]

    def forward(self, view: str) -> Supervised: ...

    def reference_logits(self, view: str) -> Tensor:
        """Frozen start model's logits [N, V] at the same positions as `forward(view)`."""
        ...

    def teacher_logits(self, view: str) -> Tensor:
        """The teacher's logits [N, V] at the same positions as `forward(view)`."""
        ...

    def reference_nll(self, view: str) -> Tensor:
        """Frozen start model's summed negative log-likelihood [B] of each sequence, in nats; cached."""
        ...

    def reference_hidden(self, view: str) -> Mapping[int, Tensor]:
        """Frozen start model's hidden states, as `forward(view).hidden`."""
        ...

    def padded(self, view: str) -> Padded:
        """The same forward at every place, for a view in `needs().padded`."""
        ...

    def reference_padded(self, view: str) -> Padded:
        """Frozen start model at the places of `padded(view)`."""
        ...

    def layers(self) -> tuple[int, ...]:
        """The layers `needs().layers` came out as for this model, in its order; ascending for "all"."""
        ...

    def target_ids(self, text: str) -> Sequence[int]:
        """`text` by the run's tokenizer, without special tokens; at least one id."""
        ...

    def generator(self, name: str, *, same_every_step: bool = False) -> torch.Generator:
        """Random numbers that depend on trial, name and step only (or on trial and name): the same on every rank and
        after a resume."""
        ...


class Method(Protocol):
    """A frozen dataclass whose fields are the parameters of its card."""

    def needs(self) -> Needs: ...

    def terms(self, step: Step) -> Sequence[Term]: ...


class StatefulMethod(Method, Protocol):
    """A method with `needs().state`: the driver calls `after_step` once for each optimizer step, on every rank."""

    def after_step(self, step: Step, reduced: Mapping[str, float]) -> None:
        """Update `step.state` (plain numbers, strings and tensors) from the step's results.

        `reduced` maps a term's name to its mean over the whole global batch, unweighted, equal on every rank.
        """
        ...


class FinalWeights(Method, Protocol):
    """A method that changes the weights once more when the training is over."""

    def final(self, start: Tensor, trained: Tensor) -> Tensor:
        """What is kept of one weight, from the start model's and the trained one, both at least fp32."""
        ...


Group = Literal["forget", "retain"]


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of the two groups of terms over the whole global batch, a tensor for each trained weight.

    A tensor has a weight's shape, or is the flat part [n] of it that this rank works on: under ZeRO no rank has whole
    gradients. What is computed entry by entry needs no care; a sum over entries goes through `Probe.total`.
    A term over view "forget" or a view that follows it is in `forget`, every other one in `retain`; weights of the
    terms are in. What trains the model is their sum.
    """

    forget: list[Tensor]
    retain: list[Tensor]


class Probe(Protocol):
    """What a gradient wrapper may ask of the driver within one step, in the same order on all ranks.

    `offsets` move the weights for the time of the question: a tensor for each gradient, at least float32.
    `realised_length`: how far the last of them moved the weights, after rounding to the weights' number format.
    """

    realised_length: float

    def gradient(self, group: Group, offsets: Sequence[Tensor] | None = None) -> list[Tensor]:
        """The gradient of a group's terms, at the weights plus `offsets`."""
        ...

    def nll_gradient(
        self, view: str, offsets: Sequence[Tensor] | None = None, *, row: int | None = None, ahead: int = 0
    ) -> list[Tensor]:
        """The gradient of the token-mean NLL of a view's batch, or of one row of it.

        `ahead`: the rows of so many steps later, for a question that must not see this step's.
        """
        ...

    def total(self, values: Tensor) -> Tensor:
        """The sum over all entries of the weights, from sums over the entries of this rank's gradients."""
        ...

    def normal(self, generator: torch.Generator) -> list[Tensor]:
        """Independent standard normal numbers for each entry of the weights, however many ranks share them."""
        ...

    def rows(self, view: str) -> int:
        """Rows of the view in this step's global batch."""
        ...

    def generator(self, name: str) -> torch.Generator:
        """As `Step.generator`."""
        ...

    def remembered(self, name: str) -> list[Tensor] | None:
        """What `remember` kept under this name in the last step, also after a resume; None before the first."""
        ...

    def remember(self, name: str, parts: list[Tensor]) -> None:
        """Keep a tensor for each gradient until the next step; it goes into checkpoints and costs its memory."""
        ...

    def report(self, name: str, value: float) -> None:
        """Put a number beside the terms in the training's record."""
        ...


def grouped(needs: Needs) -> Needs:
    """The same needs with forget and retain gradients apart."""
    return replace(needs, gradients="grouped")


class TermWrapper(Protocol):
    """A wrapper that adds terms to a method's."""

    def extend(self, needs: Needs) -> Needs:
        """The method's needs with the wrapper's own."""
        ...

    def terms(self, step: Step) -> Sequence[Term]: ...


class GradientWrapper(Protocol):
    """A wrapper that changes the gradients before the weights move."""

    def extend(self, needs: Needs) -> Needs: ...

    def reshape(self, gradients: Gradients, probe: Probe) -> Gradients: ...
