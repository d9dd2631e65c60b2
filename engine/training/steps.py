"""The method's interface to a training step: `methods.interface.Step` for one micro-batch, with cached forwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unlearn_sweep.engine.training.adversary import Adversary
from unlearn_sweep.engine.training.batches import seed_of
from unlearn_sweep.engine.training.collapse import Collapse
from unlearn_sweep.engine.training.forward import Outputs, Packed, pack
from unlearn_sweep.engine.training.loss import MethodError
from unlearn_sweep.engine.training.padded import pack_padded, supervised_part, unpack
from unlearn_sweep.engine.training.reference import Frozen
from unlearn_sweep.engine.training.training_views import Item, Key, base_view
from unlearn_sweep.evaluators.inference import padding_id
from unlearn_sweep.methods.interface import Group, Needs, Padded, Supervised
from unlearn_sweep.methods.token_losses import sequence_sums, token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

JOINT_PADDING_LIMIT = 1.1
"""Run all views as one batch if that has at most this many times the positions of separate batches."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What all steps of a training share.

    Attributes:
        needs: Declared needs of the method, or of the current phase if it has two.
        steps: Planned optimizer steps.
        seed: Seed of the method's random numbers.
        device: Device of the batches.
        tokenizer: The model's tokenizer.
        forward: The backend's forward pass.
        layers: Block numbers (from 0) whose hidden states are read.
        frozen: The start model; None unless the method reads its logits or hidden states.
        teacher: None unless the method needs one.
        reference_nlls: The start model's NLL of rows, computed before training or when a row is first seen.
        state: The method's own state, saved in checkpoints.
        adversary: Perturbs the forget rows' hidden states; None without latent adversarial training.
        collapse: Takes common parts out of the forget gradients; None unless the method asks for it.
    """

    needs: Needs
    steps: int
    seed: int
    device: torch.device
    tokenizer: PreTrainedTokenizerBase
    forward: Callable[[Packed], Outputs]
    layers: tuple[int, ...] = ()
    frozen: Frozen | None = None
    teacher: Frozen | None = None
    reference_nlls: dict[Key, float] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    adversary: Adversary | None = None
    collapse: Collapse | None = None

    @property
    def frozen_models(self) -> Sequence[Frozen]:
        """The start model and the teacher, as far as there are any."""
        return [model for model in (self.frozen, self.teacher) if model is not None]


def group_of(view: str) -> Group:
    """Return the group of terms over this view."""
    return "forget" if base_view(view) == "forget" else "retain"


class MicroStep:
    """Implement `methods.interface.Step`. `items` are this rank's rows of this micro-batch, for each view.

    `only`: the group whose terms will be differentiated. Forwards of the other group run without a graph.
    """

    def __init__(
        self,
        run: Run,
        index: int,
        items: Mapping[str, Sequence[Item]],
        *,
        joint: bool,
        only: Group | None = None,
    ) -> None:
        self.run = run
        self.only = only
        self.index = index
        self.progress = index / run.steps
        self.state = run.state
        self.items = items
        self.joint = joint
        self.tokens = 0
        self._supervised: dict[str, Supervised] = {}
        self._reference: dict[str, Supervised] = {}
        self._teacher: dict[str, Supervised] = {}
        self._padded: dict[str, Padded] = {}
        self._reference_padded: dict[str, Padded] = {}

    def forward(self, view: str) -> Supervised:
        if view not in self._supervised:
            self._require(view, self.run.needs.views, "views")
            if view in self.run.needs.padded:
                self._supervised[view] = supervised_part(self.padded(view))
                return self._supervised[view]
            views = self.run.needs.views if self.joint and self.run.collapse is None else (view,)
            packed = pack({name: self.items[name] for name in views}, self.run.device)
            if self.run.adversary is not None and view == "forget":
                self._supervised[view] = self._pushed(self.run.adversary, packed)
                return self._supervised[view]
            with self._graph(view), self._collapsing(view, packed):
                outputs = self.run.forward(packed)
            self.tokens += packed.tokens
            self._supervised |= packed.all_supervised(outputs)
        return self._supervised[view]

    def padded(self, view: str) -> Padded:
        if view not in self._padded:
            self._require(view, self.run.needs.padded, "padded")
            if self.run.adversary is not None:
                raise MethodError("an adversary works on packed tokens; no view can be read at every place beside it")
            packed, labels = self._all_places(view)
            with self._graph(view), self._collapsing(view, packed):
                outputs = self.run.forward(packed)
            self.tokens += packed.tokens
            self._padded[view] = unpack(outputs, labels)
        return self._padded[view]

    def reference_padded(self, view: str) -> Padded:
        if view not in self._reference_padded:
            self._require(view, self.run.needs.padded, "padded")
            self._require(view, self.run.needs.reference_views, "reference_views")
            packed, labels = self._all_places(view)
            self._reference_padded[view] = unpack(self._start_model().outputs(packed), labels)
        return self._reference_padded[view]

    def reference_logits(self, view: str) -> Tensor:
        return self._frozen(view).logits

    def teacher_logits(self, view: str) -> Tensor:
        if self.run.teacher is None:
            raise MethodError(f"a teacher was asked for, and needs().teacher is {self.run.needs.teacher!r}")
        if view not in self._teacher:
            self._require(view, self.run.needs.reference_views, "reference_views")
            packed = pack({view: self.items[view]}, self.run.device)
            self._teacher[view] = packed.supervised(view, self.run.teacher.outputs(packed))
        return self._teacher[view].logits

    def reference_nll(self, view: str) -> Tensor:
        self._require(view, self.run.needs.reference_views, "reference_views")
        keys, known = [item.key for item in self.items[view]], self.run.reference_nlls
        # If a forward is collective, every rank must run it, even if this rank has all its rows in the cache.
        collective = self.run.frozen is not None and self.run.frozen.collective
        if collective or not all(key in known for key in keys):
            batch = self._frozen(view)
            sums = sequence_sums(token_nll(batch.logits, batch.targets), batch.sequence, batch.sequences)
            known.update(zip(keys, sums.tolist(), strict=True))
        return torch.tensor([known[key] for key in keys], dtype=torch.float32, device=self.run.device)

    def reference_hidden(self, view: str) -> Mapping[int, Tensor]:
        return self._frozen(view).hidden

    def layers(self) -> tuple[int, ...]:
        return self.run.layers

    def target_ids(self, text: str) -> Sequence[int]:
        ids = self.run.tokenizer.encode(text, add_special_tokens=False)
        if not ids:
            raise MethodError(f"target text {text!r} has no tokens in this model's vocabulary")
        return ids

    def generator(self, name: str, *, same_every_step: bool = False) -> torch.Generator:
        seed = seed_of(self.run.seed, "method", name, -1 if same_every_step else self.index)
        return torch.Generator(device=self.run.device).manual_seed(seed)

    def _pushed(self, adversary: Adversary, packed: Packed) -> Supervised:
        """Run the forget batch under the adversary's worst push."""
        push = adversary.worst_push(packed)
        self.tokens += packed.tokens * (1 + adversary.settings.steps)
        with adversary.pushed(push):
            return packed.supervised("forget", self.run.forward(packed))

    def _graph(self, view: str) -> AbstractContextManager[object]:
        """Disable autograd if this view's terms will not be differentiated."""
        return nullcontext() if self.only in (None, group_of(view)) else torch.no_grad()

    def _collapsing(self, view: str, packed: Packed) -> AbstractContextManager[object]:
        """Take common parts out of the gradients of a forward over forget rows, if the method asks for it."""
        collapse = self.run.collapse
        return nullcontext() if collapse is None or group_of(view) != "forget" else collapse.during(packed)

    def _all_places(self, view: str) -> tuple[Packed, Tensor]:
        return pack_padded(view, self.items[view], padding_id(self.run.tokenizer), self.run.device)

    def _start_model(self) -> Frozen:
        if self.run.frozen is None:
            declared = self.run.needs.reference
            raise MethodError(f"the frozen reference was asked for, and needs().reference is {declared!r}")
        return self.run.frozen

    def _frozen(self, view: str) -> Supervised:
        if view not in self._reference:
            frozen = self._start_model()
            self._require(view, self.run.needs.reference_views, "reference_views")
            if view in self.run.needs.padded:
                self._reference[view] = supervised_part(self.reference_padded(view))
            else:
                packed = pack({view: self.items[view]}, self.run.device)
                self._reference[view] = packed.supervised(view, frozen.outputs(packed))
        return self._reference[view]

    def _require(self, view: str, allowed: Sequence[str], what: str) -> None:
        if view not in allowed:
            raise MethodError(f"view {view!r} was asked for, and needs().{what} lists {', '.join(allowed) or 'none'}")


def joint_is_cheap(batch: Mapping[str, Sequence[Item]]) -> bool:
    """Whether padding all views of a global batch to one length costs little.

    Decided on the whole global batch, so that all ranks do the same.
    """
    longest = {view: max((item.tokens for item in items), default=0) for view, items in batch.items()}
    separate = sum(longest[view] * len(items) for view, items in batch.items())
    joint = max(longest.values()) * sum(map(len, batch.values()))
    return joint <= JOINT_PADDING_LIMIT * separate
