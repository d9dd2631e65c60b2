"""Pad rows into batches, and compute logits at the supervised positions only.

Padding is on the right and the model is causal, so no supervised position can attend to padding. Hence no attention
mask is passed, which allows the fast causal attention kernels. The last token of a row predicts nothing, so it is not
part of the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.training.logits_head import ChunkedHead
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.engine.zero.shards import is_sharded
from unlearn_sweep.evaluators.model_parts import decoder_layers
from unlearn_sweep.evaluators.rows_by_length import Groups, HeadOnce, by_length, pass_places
from unlearn_sweep.evaluators.tied_gradient import tokens_rows_only
from unlearn_sweep.methods.hidden_losses import layer_at
from unlearn_sweep.methods.interface import Supervised
from unlearn_sweep.methods.logit_sizes import Logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Rows of one or more views as one padded batch.

    Attributes:
        input_ids: Token ids [B, T], padded on the right.
        positions: Indices [N] into the flattened B*T positions, whose logits predict `targets`.
        targets: Token ids [N].
        parts: The slice of each view within N.
        tokens: Number of input tokens without padding.
        lengths: Tokens of each row [B], without padding.
        attention_mask: [B, T]; None unless outputs at padding positions are read too.
    """

    input_ids: Tensor
    positions: Tensor
    targets: Tensor
    parts: Mapping[str, Part]
    tokens: int
    lengths: Tensor
    attention_mask: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The arguments to call `SupervisedLM` with."""
        whole = (self.input_ids, self.positions)
        return whole if self.attention_mask is None else (*whole, self.attention_mask)

    def supervised(self, view: str, outputs: Outputs) -> Supervised:
        """Return the part of the model's outputs that belongs to one view."""
        return self.all_supervised(outputs)[view]

    def all_supervised(self, outputs: Outputs) -> dict[str, Supervised]:
        """Return the part of the model's outputs that belongs to each view.

        The backward pass of a split is one concatenation; that of a slice fills [N, V] with zeros for each view.
        """
        sizes = [part.stop - part.start for part in self.parts.values()]
        logits = outputs.logits.split(sizes)
        hidden = {layer: states.split(sizes) for layer, states in outputs.hidden.items()}
        return {
            view: Supervised(
                logits=logits[place],
                targets=self.targets[part.start : part.stop],
                sequence=part.sequence,
                sequences=part.sequences,
                hidden={layer: states[place] for layer, states in hidden.items()},
            )
            for place, (view, part) in enumerate(self.parts.items())
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Model outputs at N positions, in float32: logits [N, V], and hidden states [N, D] by layer (from 0).

    The logits are `ChunkedLogits` where [N, V] is not to be held whole.
    """

    logits: Tensor
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The slice of one view in a packed batch.

    Attributes:
        start: Its first supervised token, as an index into N.
        stop: One past its last supervised token.
        sequence: For each of its tokens, the row within the view's own batch.
        sequences: Number of rows of the view.
    """

    start: int
    stop: int
    sequence: Tensor
    sequences: int


def pack(views: Mapping[str, Sequence[Item]], device: torch.device) -> Packed:
    """Pack all rows of `views` into one padded batch. Without rows, it has one position and no supervised token.

    With such a batch, a rank without rows still takes part in the collectives of the others, with a zero gradient.
    """
    inputs: list[list[int]] = []
    targets: list[int] = []
    offsets: list[tuple[int, int, int]] = []
    parts: dict[str, tuple[int, int, list[int]]] = {}
    for view, items in views.items():
        start, sequence = len(targets), []
        for number, item in enumerate(items):
            prompt, answer = item.example.prompt_ids, item.example.answer_ids
            skipped = 0 if prompt else 1  # no token precedes the first one, so nothing predicts it
            ids = [*prompt, *answer[:-1]]
            offsets.append((len(inputs), len(prompt) + skipped - 1, len(ids)))
            inputs.append(ids)
            targets.extend(answer[skipped:])
            sequence.extend([number] * (len(answer) - skipped))
        parts[view] = (start, len(targets), sequence)
    width = max((len(ids) for ids in inputs), default=1)
    padded = [ids + [0] * (width - len(ids)) for ids in inputs] or [[0]]
    positions = [row * width + place for row, first, last in offsets for place in range(first, last)]
    return Packed(
        input_ids=torch.tensor(padded, dtype=torch.long, device=device),
        positions=torch.tensor(positions, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        parts={
            view: Part(
                start=start,
                stop=stop,
                sequence=torch.tensor(sequence, dtype=torch.long, device=device),
                sequences=len(views[view]),
            )
            for view, (start, stop, sequence) in parts.items()
        },
        tokens=sum(map(len, inputs)),
        lengths=torch.tensor(list(map(len, inputs)) or [0], dtype=torch.long, device=device),
    )


class SupervisedLM(nn.Module):
    """A causal language model that computes logits at given positions only: [N, V] in float32.

    With a large vocabulary, the logits take most of a batch's memory and, in a small model, most of its compute. A hook
    reduces the input of the output embedding to the given positions, so later operations of the model on its logits
    (scaling, soft capping) still run. If a model does not call its output embedding as a module, all logits are
    computed first and then selected.

    `logits` says whether [N, V] is held whole or stands as `ChunkedLogits`, which losses compute a few rows at a time;
    a head that is no plain linear layer, or does not agree with the model's own logits, is computed whole.
    `layers` adds the residual stream after these blocks, at the same positions. With `head` False nothing above the
    highest of them is computed, and the logits are [N, 0]. On a CPU, rows are run in groups of like length where that
    saves padding (`rows_by_length`); `by_length` False: never, for hooks that read [B, T]. `sparse_rows` True: a tied
    embedding's own gradient may be sparse (`tied_gradient`).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        autocast: torch.dtype | None = None,
        layers: Sequence[int] = (),
        head: bool = True,
        logits: Logits = "auto",
    ) -> None:
        super().__init__()
        self.chunks = ChunkedHead(model, logits, autocast)
        self.model = model
        self.autocast = autocast
        self.layers = tuple(layers)
        self.head = head
        self.by_length = True
        self.sparse_rows = False
        self._pass_places: float | None = None
        self._positions: Tensor | None = None
        self._caught: dict[int, Tensor] = {}
        output = model.get_output_embeddings()
        if isinstance(output, nn.Module):
            output.register_forward_pre_hook(self._cut_down)
        for layer in self.layers:
            decoder_layers(model)[layer].register_forward_hook(partial(self._catch, layer))

    def forward(self, input_ids: Tensor, positions: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return logits, then the states of `layers`, as a tuple: data-parallel wrappers find the tensors in it.

        In the place of chunked logits stand the states [N, D] that the head reads.
        """
        self._caught = {}
        try:
            with self._precision(input_ids.device), self._sparse():
                groups = self._groups(input_ids, positions, attention_mask)
                found = None if groups is None else self._in_groups(input_ids, groups)
                first, states = found or self._at_once(input_ids, positions, attention_mask)
            return (first if self._chunked(len(positions)) else first.float(), *(state.float() for state in states))
        finally:
            self._caught = {}

    def outputs(self, packed: Packed) -> Outputs:
        """Run `forward` on a packed batch and name its results."""
        return self.named(self(*packed.inputs))

    def named(self, tensors: tuple[Tensor, ...]) -> Outputs:
        """Convert the tuple that `forward` returns to `Outputs`."""
        first = tensors[0]
        logits = self.chunks.of(first) if self._chunked(len(first)) else first
        return Outputs(logits=logits, hidden=dict(zip(self.layers, tensors[1:], strict=True)))

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Inside the context, `forward` gives whole logits, without dropout and graph, whatever the training reads."""
        modes = [(part, part.training) for part in self.modules()]
        kept = self.chunks, self.layers, self.head
        self.chunks, self.layers, self.head = ChunkedHead(self.model, "whole", self.autocast), (), True
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.chunks, self.layers, self.head = kept
            for part, mode in modes:
                part.training = mode

    def _chunked(self, rows: int) -> bool:
        return self.head and self.chunks.wanted(rows)

    def _at_once(self, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return logits [N, V], and the states [N, D] of each layer, from one pass over all rows."""
        first = (self._logits if self.head else self._lower_layers)(input_ids, positions, mask)
        return first, [self._caught[layer].flatten(0, 1)[positions] for layer in self.layers]

    def _groups(self, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> Groups | None:
        """Return the groups of rows to run one by one; None: all rows at once."""
        if not self.by_length or mask is not None or input_ids.device.type != "cpu":
            return None
        if self._chunked(len(positions)) and not self.chunks.compared:
            return None
        if self._pass_places is None:
            sharded = is_sharded(next(self.model.parameters()))  # every rank must run as many passes
            self._pass_places = math.inf if sharded else pass_places(self.model)
        return by_length(input_ids.shape, positions, pass_places=self._pass_places)

    def _in_groups(self, input_ids: Tensor, groups: Groups) -> tuple[Tensor, list[Tensor]] | None:
        """As `_at_once`, from a pass for each group; None where the model does not call its head as a module."""
        once = HeadOnce(groups, run_head=not self._chunked(len(groups.order)))
        head, caught = self.model.get_output_embeddings(), {layer: list[Tensor]() for layer in self.layers}
        first = torch.empty(len(groups.order), 0, device=input_ids.device)
        for group in groups.groups:
            ids = input_ids[group.rows, : group.width]
            if not self.head:
                self._lower_layers(ids, group.own, None)
            elif isinstance(head, nn.Module):
                with once.on(head):
                    first = self.model(input_ids=ids, use_cache=False).logits[0]
            if self.head and not once.caught:
                self.by_length = False
                return None
            for layer, parts in caught.items():
                parts.append(self._caught[layer].flatten(0, 1)[group.own])
        if self.head and not once.run_head:
            first = once.hidden
        return first, [groups.in_order(parts) for parts in caught.values()]

    def _logits(self, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Return logits [N, V], or the states [N, D] that the head reads where logits are computed in chunks."""
        if self.chunks.wanted(len(positions)):
            with self.chunks.catching() as caught:
                logits = self.model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            if self.chunks.agrees(caught, logits):
                return caught[0].flatten(0, 1)[positions]
        self._positions = positions
        try:
            logits = self.model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            was_cut = self._positions is None
        finally:
            self._positions = None
        return logits[0] if was_cut else logits.flatten(0, 1)[positions]

    def _lower_layers(self, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Run the blocks up to the highest of `layers`: models iterate over their first `num_hidden_layers` blocks."""
        config = self.model.config.get_text_config()
        depth = config.num_hidden_layers
        config.num_hidden_layers = max(self.layers) + 1
        try:
            self.model.base_model(input_ids=input_ids, attention_mask=mask, use_cache=False)
        finally:
            config.num_hidden_layers = depth
        return torch.empty(len(positions), 0, device=positions.device)

    def _catch(self, layer: int, block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._caught[layer] = output[0] if isinstance(output, tuple) else output

    def _cut_down(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if self._positions is None:
            return args
        hidden, *rest = args
        wanted, self._positions = self._positions, None
        return (hidden.flatten(0, 1)[wanted].unsqueeze(0), *rest)

    def _sparse(self) -> AbstractContextManager[object]:
        return tokens_rows_only(self.model) if self.sparse_rows and self.head else nullcontext()

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return nullcontext() if self.autocast is None else torch.autocast(device.type, dtype=self.autocast)


def layer_indices(wanted: Sequence[float] | str, depth: int) -> tuple[int, ...]:
    """Convert shares of the depth in (0, 1] to block numbers from 0; "all" gives every block."""
    return tuple(range(depth)) if isinstance(wanted, str) else tuple(layer_at(share, depth) for share in wanted)
