"""The toy world, by the name the tests know it by: it is `unlearn_sweep.engine.contracts.toy_world`."""

from unlearn_sweep.engine.contracts.toy_world import *  # noqa: F403 - one module under two names
