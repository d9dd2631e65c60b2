"""From rows to logits: padded batches, and the module that computes logits at the supervised positions only.

Padding is on the right and the model is causal, so no position that counts can see padding: no attention mask is
passed, which keeps the fast causal attention kernels. The last token of a row predicts nothing and is not fed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.model_parts import decoder_layers
from unlearn_sweep.methods.hidden_losses import layer_at
from unlearn_sweep.methods.interface import Supervised

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Rows of one or more views as one padded batch.

    `input_ids` [B, T]; `positions` [N] index the flattened B*T places whose logits predict `targets` [N]. `parts` maps
    each view to its share: where it begins and ends in N, and the row of its own batch that each of its tokens is in.
    `lengths` [B] are the tokens of each row; the rest of it is padding. `attention_mask` [B, T] only where the places
    of padding are read too.
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
        """What `SupervisedLM` is called with."""
        whole = (self.input_ids, self.positions)
        return whole if self.attention_mask is None else (*whole, self.attention_mask)

    def supervised(self, view: str, outputs: Outputs) -> Supervised:
        """The share of one view in what the model gave for the whole batch."""
        part = self.parts[view]
        return Supervised(
            logits=outputs.logits[part.start : part.stop],
            targets=self.targets[part.start : part.stop],
            sequence=part.sequence,
            sequences=part.sequences,
            hidden={layer: states[part.start : part.stop] for layer, states in outputs.hidden.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a model gives at the wanted positions: logits [N, V], and hidden states [N, D] of some layers; float32."""

    logits: Tensor
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where one view lies in a packed batch."""

    start: int
    stop: int
    sequence: Tensor
    sequences: int


def pack(views: Mapping[str, Sequence[Item]], device: torch.device) -> Packed:
    """One padded batch of all rows of `views`. Without rows it has one place and no supervised token.

    A model run on an empty batch still takes part in the collectives of the others, with a gradient of zero.
    """
    inputs: list[list[int]] = []
    targets: list[int] = []
    offsets: list[tuple[int, int, int]] = []
    parts: dict[str, tuple[int, int, list[int]]] = {}
    for view, items in views.items():
        start, sequence = len(targets), []
        for number, item in enumerate(items):
            prompt, answer = item.example.prompt_ids, item.example.answer_ids
            skipped = 0 if prompt else 1  # the very first token has nothing to be predicted from
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

    With a large vocabulary the output embedding is most of a batch's memory and, in a small model, of its work. A hook
    cuts its input down to the wanted positions, so whatever a model does to its logits besides (scaling, soft capping)
    still happens. Where a model does not call its output embedding as a module, all logits are computed, then cut down.

    `layers` adds the residual stream behind these blocks, at the same positions. With `head` False nothing above the
    highest of them is computed, and the logits are [N, 0].
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        autocast: torch.dtype | None = None,
        layers: Sequence[int] = (),
        head: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.layers = tuple(layers)
        self.head = head
        self._positions: Tensor | None = None
        self._caught: dict[int, Tensor] = {}
        output = model.get_output_embeddings()
        if isinstance(output, nn.Module):
            output.register_forward_pre_hook(self._cut_down)
        for layer in self.layers:
            decoder_layers(model)[layer].register_forward_hook(partial(self._catch, layer))

    def forward(self, input_ids: Tensor, positions: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Logits, then the states of `layers`; a tuple, since data-parallel wrappers look for tensors in one."""
        self._caught = {}
        try:
            with self._precision(input_ids.device):
                run = self._logits if self.head else self._lower_layers
                logits = run(input_ids, positions, attention_mask)
            states = [self._caught[layer].flatten(0, 1)[positions] for layer in self.layers]
            return tuple(tensor.float() for tensor in (logits, *states))
        finally:
            self._caught = {}

    def outputs(self, packed: Packed) -> Outputs:
        """The same for a packed batch, by name."""
        return self.named(self(*packed.inputs))

    def named(self, tensors: tuple[Tensor, ...]) -> Outputs:
        """What `forward` returned, by name."""
        return Outputs(logits=tensors[0], hidden=dict(zip(self.layers, tensors[1:], strict=True)))

    def _logits(self, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        self._positions = positions
        try:
            logits = self.model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits
            was_cut = self._positions is None
        finally:
            self._positions = None
        return logits[0] if was_cut else logits.flatten(0, 1)[positions]

    def _lower_layers(self, input_ids: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Run the blocks up to the highest wanted one. Models loop over the first `num_hidden_layers` of theirs."""
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

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        return nullcontext() if self.autocast is None else torch.autocast(device.type, dtype=self.autocast)


def layer_indices(wanted: Sequence[float] | str, depth: int) -> tuple[int, ...]:
    """Blocks, from 0, at shares of the depth in (0, 1]; "all": every block."""
    return tuple(range(depth)) if isinstance(wanted, str) else tuple(layer_at(share, depth) for share in wanted)
