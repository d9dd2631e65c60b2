"""Small fixed logits and labels, and a step over them, on which built-in methods and plugins are checked.

B = 2 sequences, T = 6 positions, V = 7 vocabulary entries, fp64. `pack` does what the training loop does: shift, then
keep the supervised positions. `TensorStep` implements the Step protocol over fixed tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unlearn_sweep.methods.interface import Method, Padded, Supervised, Term
from unlearn_sweep.methods.reduction import sequence_nll

IGNORED = -100
B, T, V = 2, 6, 7


def wave(function: Any, start: float, steps: tuple[float, float, float], shape: tuple[int, int, int]) -> Tensor:
    """Return 2 f(start + sb b + st t + sv v) for all b, t, v, with `steps` (sb, st, sv)."""
    b, t, v = (torch.arange(n, dtype=torch.float64) for n in shape)
    return 2 * function(start + steps[0] * b[:, None, None] + steps[1] * t[None, :, None] + steps[2] * v)


def model_logits(vocabulary: int = V) -> Tensor:
    return wave(torch.sin, 1.0, (0.7, 1.3, 2.1), (B, T, vocabulary))


def reference_logits(vocabulary: int = V) -> Tensor:
    return wave(torch.cos, 0.5, (0.4, 0.9, 1.7), (B, T, vocabulary))


def hidden_states(shift: float = 0.0) -> Tensor:
    """Return the hidden states [B, T, 4] for the golden RMU values."""
    b, t, d = (torch.arange(n, dtype=torch.float64) for n in (B, T, 4))
    return torch.sin(0.3 + shift + 0.5 * b[:, None, None] + 0.2 * t[None, :, None] + 0.9 * d)


LAYERS = (0, 1, 2)
"""The layers of the golden model. Their hidden states differ by a phase shift; see `hidden_of`."""

IDS = torch.tensor([[1, 3, 5, 0, 2, 4], [2, 4, 6, 1, 3, 5]])
LABELS = torch.tensor([[-100, -100, 5, 0, 2, 4], [-100, -100, -100, 1, 3, -100]])
LABELS2 = torch.tensor([[-100, -100, 5, 0, 2, 4], [-100, -100, 6, 1, 3, 5]])


def pack(logits: Tensor, labels: Tensor) -> Supervised:
    """Reduce logits [B, T, V] and labels [B, T] to the supervised positions: logits at t predict the label at t + 1."""
    supervised = labels[:, 1:] != IGNORED
    rows = torch.arange(labels.shape[0])[:, None].expand_as(supervised)
    kept = logits[:, :-1][supervised]
    return Supervised(kept, labels[:, 1:][supervised], rows[supervised], labels.shape[0], hidden_of(kept))


def in_place(logits: Tensor, labels: Tensor) -> Padded:
    """Wrap logits [B, T, V] and labels [B, T] without dropping positions, with made-up hidden states [B, T, 4]."""
    return Padded(logits, labels, {layer: torch.sin(logits[..., :4] + 0.3 * layer) for layer in LAYERS})


def hidden_of(logits: Tensor) -> dict[int, Tensor]:
    """Make up hidden states [N, 4] for each layer. They depend on the logits, so that they have a gradient."""
    return {layer: torch.sin(logits[:, :4] + 0.3 * layer) for layer in LAYERS}


@dataclass
class TensorStep:
    """The Step protocol over given batches. It records what the method reads.

    Attributes:
        batches: The batch of each view.
        references: The start model's outputs, for the views whose reference is read.
        ids: Result of `target_ids` for any non-empty text.
        index: Number of the step.
        progress: Share of the training done.
        state: The method's own state.
        asked: Views read with `forward`, in order.
        taught: Views read with `teacher_logits`, in order.
        padded_asked: Views read with `padded`, in order.
        padded_consulted: Views read with `reference_padded`, in order.
        places: Results of `padded`.
        reference_places: Results of `reference_padded`.
        consulted: For each view, the strongest kind of reference read: "logits", "hidden" or "sequence_nll".
        wanted: The method's `needs().layers`.
    """

    batches: Mapping[str, Supervised]
    references: Mapping[str, Supervised] = field(default_factory=dict)
    ids: Sequence[int] = (2, 4)
    index: int = 0
    progress: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    taught: list[str] = field(default_factory=list)
    padded_asked: list[str] = field(default_factory=list)
    padded_consulted: list[str] = field(default_factory=list)
    places: Mapping[str, Padded] = field(default_factory=dict)
    reference_places: Mapping[str, Padded] = field(default_factory=dict)
    consulted: dict[str, str] = field(default_factory=dict)
    wanted: tuple[float, ...] | str = (0.5,)

    def forward(self, view: str) -> Supervised:
        self.asked.append(view)
        return self.batches[view]

    def padded(self, view: str) -> Padded:
        self.padded_asked.append(view)
        return self.places[view]

    def reference_padded(self, view: str) -> Padded:
        self.padded_consulted.append(view)
        return self.reference_places[view]

    def reference_logits(self, view: str) -> Tensor:
        self.consulted[view] = "logits"
        return self.references[view].logits

    def teacher_logits(self, view: str) -> Tensor:
        """Return the reference logits times 1.5, as those of a reinforced model."""
        self.taught.append(view)
        return 1.5 * self.references[view].logits

    def reference_nll(self, view: str) -> Tensor:
        self.consulted.setdefault(view, "sequence_nll")
        return sequence_nll(self.references[view])

    def reference_hidden(self, view: str) -> Mapping[int, Tensor]:
        if self.consulted.get(view) != "logits":
            self.consulted[view] = "hidden"
        return self.references[view].hidden

    def layers(self) -> tuple[int, ...]:
        return LAYERS if self.wanted == "all" else LAYERS[: len(self.wanted)]

    def target_ids(self, text: str) -> Sequence[int]:
        return self.ids if text else ()

    def generator(self, name: str, *, same_every_step: bool = False) -> torch.Generator:
        return torch.Generator().manual_seed(sum(name.encode()) + (0 if same_every_step else self.index))


def golden_batches(logits: Tensor) -> dict[str, Supervised]:
    """Return a batch for each view. Views with other answers use `LABELS2`, the others `LABELS`."""
    first, second = pack(logits, LABELS), pack(logits, LABELS2)
    return {
        "forget": first,
        "retain": first,
        "train": first,
        "forget_idk": second,
        "retain_idk": second,
        "forget_alternate": second,
        "forget_vague": second,
        "forget_continuation": second,
        "forget_expert": first,
        "forget_novice": first,
    }


def golden_step(logits: Tensor | None = None, reference: Tensor | None = None, **fields: Any) -> TensorStep:
    logits = model_logits() if logits is None else logits
    reference = reference_logits() if reference is None else reference
    places = {view: in_place(logits, LABELS) for view in ("forget", "retain")}
    before = {view: in_place(reference, LABELS) for view in ("forget", "retain")}
    return TensorStep(
        golden_batches(logits), golden_batches(reference), **{"places": places, "reference_places": before, **fields}
    )


def divisor(term: Term, step: TensorStep) -> int:
    """Return the divisor of a term, as in the training loop.

    It is the view's number of sequences, its supervised tokens without the skipped ones, or 1 for a term per
    micro-batch.
    """
    batch = step.batches[term.view]
    if term.per == "sequence":
        return batch.sequences
    if term.per == "micro_batch":
        return 1
    tokens = torch.bincount(batch.sequence, minlength=batch.sequences)
    return int((tokens - term.skip_tokens).clamp(min=0).sum())


def mean(term: Term, step: TensorStep) -> Tensor:
    """Return the term's unweighted mean over the batch. The divisor is at least 1, as in the training loop."""
    return term.total / max(1, divisor(term, step))


def terms_by_name(method: Method, step: TensorStep) -> dict[str, Tensor]:
    return {term.name: mean(term, step) for term in method.terms(step)}


def loss(method: Method, step: TensorStep) -> Tensor:
    """Return the weighted sum of the terms' means: the loss that the training loop differentiates."""
    return torch.stack([term.weight * mean(term, step) for term in method.terms(step)]).sum()
