"""A method's loss as a function of tensors, for a training loop of one's own.

The same code computes it as in a sweep: `methods.catalog.build` with published defaults, and the division by the counts
of the batch. Methods that need more than logits - hidden layers, other models, gradients apart, state - are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from unlearn_sweep.methods.interface import IGNORED, Needs, Supervised, Term
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from unlearn_sweep.methods.interface import Padded


@dataclass(frozen=True, slots=True)
class Batch:
    """What a model gave for one view's batch, as in transformers.

    Attributes:
        logits: [B, T, V]; those at place t predict the token at t + 1.
        labels: [B, T] the tokens, -100 at prompt and padding (and anywhere else that is not supervised).
        reference: [B, T, V] logits of the frozen start model for the same tokens; None if the method reads none.
    """

    logits: Tensor
    labels: Tensor
    reference: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of one batch, in nats.

    Attributes:
        total: the weighted sum of the terms, to differentiate.
        terms: the mean of each term, without its weight.
    """

    total: Tensor
    terms: dict[str, Tensor]


def method_loss(method: str, batches: Mapping[str, Batch], **params: float | int | str | bool) -> Loss:
    """Return the loss of a method over the batches of its views ("forget", "retain", ...), with a gradient.

    `params` replace published defaults (`unlearn-sweep methods npo`); learning rate and epochs are checked and not
    used. Means run over all tokens or sequences given, so a batch that is split must be weighted by the caller.

    Raises:
        UserError: there is no such method or parameter, a value is outside its limits, a view, reference or shape is
            wrong, or the method needs more than logits.
    """
    from unlearn_sweep.methods.catalog import build

    try:
        built = build(method, params)
    except (KeyError, ValueError) as error:
        raise UserError(str(error.args[0])) from error
    needs = built.needs()
    _refuse_more_than_logits(method, needs)
    missing = [view for view in needs.views if view not in batches]
    if missing:
        raise UserError(f"{method} reads views {', '.join(needs.views)}; missing: {', '.join(missing)}")
    unread = [view for view in batches if view not in needs.views]
    if unread:
        raise UserError(f"{method} reads views {', '.join(needs.views)}, not {', '.join(unread)}")
    step = GivenStep({view: _packed(view, batches[view]) for view in needs.views}, _references(method, needs, batches))
    return _combined(built.terms(step), step)


def _refuse_more_than_logits(method: str, needs: Needs) -> None:
    reasons = {
        "hidden layers": bool(needs.layers),
        "logits of prompts and padding": bool(needs.padded),
        "a teacher": needs.teacher != "none",
        "forget and retain gradients apart": needs.gradients != "single",
        "state between steps": needs.state,
        "an adversary": needs.adversary is not None,
        "averaged weights": needs.average is not None,
        "collapsed gradients": needs.collapse is not None,
        "noise on the weights": needs.noise is not None,
        "prompts with a prefix": bool(needs.prefixes),
    }
    wanted = [reason for reason, needed in reasons.items() if needed]
    if wanted:
        raise UserError(f"{method} needs {' and '.join(wanted)}", advice="Run it in a sweep.")


def _references(method: str, needs: Needs, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
    if needs.reference == "none":
        return {}
    found: dict[str, Tensor] = {}
    for view in needs.reference_views:
        reference = batches[view].reference
        if reference is None:
            raise UserError(f"{method} compares with the start model: give `reference` of view {view}")
        if reference.shape != batches[view].logits.shape:
            raise UserError(f"view {view}: `reference` {tuple(reference.shape)} has another shape than the logits")
        found[view] = reference[:, :-1][_supervised(batches[view])].detach()
    return found


def _supervised(batch: Batch) -> Tensor:
    """Return the places [B, T - 1] whose next token is supervised."""
    return batch.labels[:, 1:] != IGNORED


def _packed(view: str, batch: Batch) -> Supervised:
    if batch.logits.dim() != 3 or tuple(batch.labels.shape) != tuple(batch.logits.shape[:2]):
        shapes = f"logits {tuple(batch.logits.shape)} and labels {tuple(batch.labels.shape)}"
        raise UserError(f"view {view}: {shapes} must be [B, T, V] and [B, T]")
    mask = _supervised(batch)
    if not bool(mask.any()):
        raise UserError(f"view {view}: no token is supervised", advice="Give labels other than -100.")
    rows = mask.nonzero()[:, 0]
    return Supervised(batch.logits[:, :-1][mask], batch.labels[:, 1:][mask], rows, batch.logits.shape[0])


def _combined(terms: Sequence[Term], step: GivenStep) -> Loss:
    """Divide each term by its count over the given batch, and sum with weights."""
    from torch import stack

    means = {term.name: term.total / _count(term, step.batches[term.view]) for term in terms}
    values = {
        name: mean.square() if term.squared else mean for term, (name, mean) in zip(terms, means.items(), strict=True)
    }
    return Loss(stack([term.weight * values[term.name] for term in terms]).sum(), values)


def _count(term: Term, batch: Supervised) -> int:
    from torch import bincount

    if term.per == "micro_batch":
        return 1
    if term.per == "sequence":
        return batch.sequences
    tokens = bincount(batch.sequence, minlength=batch.sequences)
    return max(1, int((tokens - term.skip_tokens).clamp(min=0).sum()))


@dataclass(slots=True)
class GivenStep:
    """A `methods.interface.Step` over tensors that the caller gives: one step, at the start of a training."""

    batches: dict[str, Supervised]
    references: dict[str, Tensor]
    index: int = 0
    progress: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)

    def forward(self, view: str) -> Supervised:
        return self.batches[view]

    def reference_logits(self, view: str) -> Tensor:
        return self.references[view]

    def reference_nll(self, view: str) -> Tensor:
        from unlearn_sweep.methods.token_losses import sequence_sums, token_nll

        batch = self.batches[view]
        return sequence_sums(token_nll(self.references[view], batch.targets), batch.sequence, batch.sequences)

    def teacher_logits(self, view: str) -> Tensor:
        self._nothing("a teacher")

    def reference_hidden(self, view: str) -> Mapping[int, Tensor]:
        self._nothing("hidden layers")

    def padded(self, view: str) -> Padded:
        self._nothing("prompts and padding")

    def reference_padded(self, view: str) -> Padded:
        self._nothing("prompts and padding")

    def layers(self) -> tuple[int, ...]:
        self._nothing("hidden layers")

    def target_ids(self, text: str) -> Sequence[int]:
        self._nothing("a tokenizer")

    def generator(self, name: str, *, same_every_step: bool = False) -> torch.Generator:
        self._nothing("random numbers of a training")

    def _nothing(self, what: str) -> NoReturn:
        raise UserError(f"this method needs {what}", advice="Run it in a sweep.")
