"""Bootstrap draws of scores in [0, 1] as short text: 16 bits a draw, base64. Half a step is 7.6e-6."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEPS = 2**16 - 2
MISSING = 2**16 - 1
"""Stands for NaN: a draw without a row that has a value."""


def pack(draws: NDArray[np.float64]) -> str:
    """Return draws [n] in [0, 1], or NaN, as text.

    Raises:
        ValueError: a draw is outside [0, 1].
    """
    import numpy as np

    known = draws[~np.isnan(draws)]
    if len(known) and not 0 <= known.min() <= known.max() <= 1:
        raise ValueError(f"draws must be in [0, 1], got {known.min()} to {known.max()}")
    steps = np.where(np.isnan(draws), MISSING, np.rint(np.nan_to_num(draws) * STEPS))
    return base64.b64encode(steps.astype("<u2").tobytes()).decode()


def unpack(text: str) -> NDArray[np.float64]:
    """Return the draws [n] that `pack` was given, to its precision.

    Raises:
        ValueError: `text` is not what `pack` returns.
    """
    import numpy as np

    try:
        steps = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u2").astype(np.float64)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not packed draws: {error}") from None
    return np.where(steps == MISSING, np.nan, steps / STEPS)
