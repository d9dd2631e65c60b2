"""The golden tensors, by the name the tests know them by: they are `unlearn_sweep.engine.contracts.golden`."""

from unlearn_sweep.engine.contracts.golden import *  # noqa: F403 - one module under two names
from unlearn_sweep.engine.contracts.golden import IDS, LAYERS, in_place, mean  # noqa: F401
