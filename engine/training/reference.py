"""The frozen start model: one NLL per sequence, computed once, or a model that computes logits and hidden states."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from unlearn_sweep.engine.training.batches import rank_share
from unlearn_sweep.engine.training.forward import Outputs, Packed, SupervisedLM, pack
from unlearn_sweep.engine.training.ranks import Ranks
from unlearn_sweep.engine.training.training_views import Item, Key
from unlearn_sweep.methods.logit_sizes import Logits
from unlearn_sweep.methods.token_losses import sequence_sums, token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS_AT_ONCE = 32


class ReferenceChangedError(RuntimeError):
    """A frozen model (the start model or a teacher) was written to."""


class Frozen(Protocol):
    """Interface of a frozen model. If `collective`, every rank must call `outputs` the same number of times."""

    @property
    def collective(self) -> bool: ...

    def outputs(self, packed: Packed) -> Outputs: ...

    def check_unchanged(self) -> None: ...

    def close(self) -> None: ...


class _Watched(ABC):
    """A model that is not trained: it answers without a graph, and notices when its weights are written to."""

    def __init__(self, module: SupervisedLM) -> None:
        self.module = module
        self._versions = self._count_writes()

    @torch.no_grad()
    def outputs(self, packed: Packed) -> Outputs:
        """Return logits [N, V] and hidden states [N, D] of `layers` in float32, without a graph."""
        return self.module.outputs(packed)

    def check_unchanged(self) -> None:
        """Check that no weight, or part of one, was written to since construction.

        Raises:
            ReferenceChangedError: a weight was written to or replaced.
        """
        if self._count_writes() != self._versions:
            raise ReferenceChangedError("a frozen model was written to during training; no method may do that")

    def _count_writes(self) -> list[tuple[int, int]]:
        # torch counts the in-place writes to each tensor; a replaced tensor has another address.
        return [(tensor._version, tensor.data_ptr()) for tensor in self._tensors()]

    @abstractmethod
    def _tensors(self) -> list[Tensor]:
        """Return the tensors that hold the weights in this process."""


class FrozenModel(_Watched):
    """A model that is not trained, unsharded on every rank: a copy, or with `copied` False the model itself."""

    collective = False

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        layers: Sequence[int] = (),
        head: bool = True,
        copied: bool = True,
        logits: Logits = "auto",
    ) -> None:
        own = copy.deepcopy(model) if copied else model
        super().__init__(SupervisedLM(own, layers=layers, head=head, logits=logits).eval().requires_grad_(False))

    def close(self) -> None:
        """Do nothing: nothing but this object's memory is held."""

    def _tensors(self) -> list[Tensor]:
        return list(self.module.parameters())


class ShardedModel(_Watched):
    """A model that is not trained, sharded over all ranks: an engine of ZeRO stage 3 that has no optimizer.

    Requires a `zero_session`, and a model from `load_sharded` with the same `config`. Every rank must call `outputs`.
    """

    collective = True

    def __init__(
        self,
        model: PreTrainedModel,
        config: dict[str, Any],
        *,
        layers: Sequence[int] = (),
        head: bool = True,
        logits: Logits = "auto",
    ) -> None:
        import deepspeed

        module = SupervisedLM(model, layers=layers, head=head, logits=logits).eval().requires_grad_(False)
        self.engine: Any = deepspeed.initialize(model=module, config=config)[0]
        super().__init__(module)

    def close(self) -> None:
        """Free the engine's hooks and buffers."""
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None

    def _tensors(self) -> list[Tensor]:
        return [getattr(weight, "ds_tensor") for weight in self.module.parameters()]  # noqa: B009


@torch.no_grad()
def sequence_nlls(module: SupervisedLM, items: Iterable[Item], ranks: Ranks, device: torch.device) -> dict[Key, float]:
    """Compute the summed NLL of each item under `module`, in nats, by key.

    The ranks split the work, in the same number of forward passes. Each returns the complete result.
    """
    unique = {item.key: item for item in items}
    ordered = sorted(unique.values(), key=lambda item: (-item.tokens, item.key))
    values = torch.zeros(len(ordered), dtype=torch.float64, device=device)
    places = rank_share(range(len(ordered)), ranks.rank, ranks.world_size)
    was_training = module.training
    module.eval()
    rounds = math.ceil(math.ceil(len(ordered) / ranks.world_size) / ROWS_AT_ONCE)
    for start in range(0, rounds * ROWS_AT_ONCE, ROWS_AT_ONCE):
        chosen = places[start : start + ROWS_AT_ONCE]  # none, where other ranks have one row more
        packed = pack({"rows": [ordered[place] for place in chosen]}, device)
        values[torch.tensor(list(chosen), device=device)] = packed_nll(packed, module.outputs(packed)).double()
    module.train(was_training)
    return dict(zip((item.key for item in ordered), ranks.sum(values).tolist(), strict=True))


def packed_nll(packed: Packed, outputs: Outputs) -> Tensor:
    """Return the summed NLL [B], in nats, of the rows of a batch whose only view is "rows"."""
    batch = packed.supervised("rows", outputs)
    return sequence_sums(token_nll(batch.logits, batch.targets), batch.sequence, batch.sequences)
