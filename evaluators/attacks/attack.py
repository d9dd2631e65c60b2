"""What an attack is given and what it hands back.

An attack yields `Attacked` states from weak to strong; between two of them the caller evaluates. It leaves the target's
model, tokenizer, gradients and every global random state as found: attacks on weights work on a private copy.
The last state's model stays valid after the iterator has ended; nothing of it is tied to the iterator's life.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.rows import PromptEdit
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearn_sweep.evaluators.sampled_answers import Sampling


class AttackError(UserError):
    """The attack cannot be carried out on this target; the message is the reason to record, and what to do."""


class AttackDivergedError(AttackError):
    """The attack's own training left numbers that are not finite: this setting of it leaves no model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The model under attack and what an attacker may use. `seed` is the attack's only randomness.

    `trained` gives the states of an attack that trains, where its training has run elsewhere already;
    `trained_tokens` those of a soft prompt.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    benchmark: Benchmark
    seed: int
    original: Callable[[], PreTrainedModel] | None = None
    trained: Callable[[], Iterator[TrainedState]] | None = None
    trained_tokens: Callable[[], Iterator[TrainedTokens]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedState:
    """The model after `step` steps. `loss` is that of the last step's batch before its update, in nats a token."""

    step: int
    model: PreTrainedModel
    loss: float | None
    first_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedTokens:
    """The soft tokens after `step` updates: embeddings [P, D] in float32, on the CPU."""

    step: int
    embeddings: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """One state of an attack: its strength (with a unit), the model to question, and how its prompts are changed.

    With `sampling`, forget answers are drawn and the worst of several is scored; without, answers are greedy.

    `scored_groups` limits scoring to facts the attack did not use itself (None: all of them). `notes` are numbers worth
    recording (training loss, share of equal codes).
    """

    strength: float
    unit: str
    model: PreTrainedModel
    prompt_edit: PromptEdit | None = None
    sampling: Sampling | None = None
    scored_groups: frozenset[str] | None = None
    notes: dict[str, float] | None = None


class Attack(Protocol):
    """Built from its validated parameters; `run` yields states in order of growing strength, the last the strongest."""

    def run(self, target: Target) -> Iterator[Attacked]: ...
