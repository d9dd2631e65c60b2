"""Write a model as it is in memory into a file, so that measuring workers can have it."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_sweep.engine.measuring.messages import NUMBERS, WrittenModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def written(model: PreTrainedModel, folder: Path) -> Iterator[WrittenModel | None]:
    """Write the model, with hooks and changed modules, into a file in `folder` that is gone after the block.

    None where it cannot be pickled: something in it, such as a hook, is a function without a name.
    """
    import torch

    with tempfile.TemporaryDirectory(prefix="model-", dir=folder) as own:
        file = Path(own, "model.pt")
        try:
            torch.save(model, file)
        except (pickle.PicklingError, AttributeError, TypeError):
            yield None
            return
        yield WrittenModel(path=str(file), number=next(NUMBERS))
