"""Hyperparameter and robustness sweeps for LLM unlearning. The four packages are links to the folders at the root.

    import unlearn_sweep as us
    sweep = us.Sweep.load("sweeps/quickstart.yaml").run()
    sweep.front[["method", "ue", "ut", "rob"]]

`Sweep` runs a sweep file, `open` reads the folder of a sweep, `audit` measures one model; `method_loss`, `score_rows`
and `score_text` are methods and metrics as functions. All are imported on first use, so that importing the package
loads no other module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_sweep.sweeps.loss_function import Batch, Loss, method_loss
    from unlearn_sweep.sweeps.metric_functions import score_rows, score_text
    from unlearn_sweep.sweeps.python_interface import Sweep, audit
    from unlearn_sweep.sweeps.python_interface import open_sweep as open

__version__ = "0.1.0"
__all__ = ["Batch", "Loss", "Sweep", "__version__", "audit", "method_loss", "open", "score_rows", "score_text"]

_SWEEP, _LOSS, _METRICS = (
    f"unlearn_sweep.sweeps.{name}" for name in ("python_interface", "loss_function", "metric_functions")
)  # as text, so that no stage's code depends on them
_PLACES = {
    "Sweep": (_SWEEP, "Sweep"),
    "audit": (_SWEEP, "audit"),
    "open": (_SWEEP, "open_sweep"),
    "Batch": (_LOSS, "Batch"),
    "Loss": (_LOSS, "Loss"),
    "method_loss": (_LOSS, "method_loss"),
    "score_rows": (_METRICS, "score_rows"),
    "score_text": (_METRICS, "score_text"),
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    """What a notebook completes: the public names."""
    return sorted(__all__)
