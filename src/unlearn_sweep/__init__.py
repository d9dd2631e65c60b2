"""Hyperparameter and robustness sweeps for LLM unlearning. The four packages are links to the folders at the root.

    import unlearn_sweep as us
    sweep = us.Sweep.load("sweeps/quickstart.yaml").run()
    sweep.front[["method", "ue", "ut", "rob"]]

`Sweep` runs a sweep file; `open` reads the folder of a sweep. Both are imported on first use, so that importing the
package loads no other module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_sweep.sweeps.python_interface import Sweep
    from unlearn_sweep.sweeps.python_interface import open_sweep as open

__version__ = "0.1.0"
__all__ = ["Sweep", "__version__", "open"]

_NAMES = {"Sweep": "Sweep", "open": "open_sweep"}


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    interface = import_module("unlearn_sweep.sweeps.python_interface")  # as text, so that no stage's code depends on it
    return getattr(interface, _NAMES[name])
