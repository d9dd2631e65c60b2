"""A model that learns and then unlearns the toy world, in seconds on a CPU. Plugins are checked on it."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

from unlearn_sweep.engine.contracts.toy_world import ascend, fit, make_benchmark, make_model, make_tokenizer
from unlearn_sweep.evaluators.attacks.attack import Target

SEED = 5


def toy_target() -> Target:
    """Return the unlearned model with its original. The model is a new copy, so no attack affects a later check."""
    trained = _trained()
    return replace(trained, model=copy.deepcopy(trained.model))


@cache
def _trained() -> Target:
    """Train both models, once per process."""
    benchmark = make_benchmark()
    tokenizer = make_tokenizer(benchmark)
    original = make_model(len(tokenizer))
    fit(original, benchmark, tokenizer, ("forget", "retain"))
    unlearned = copy.deepcopy(original)
    ascend(unlearned, benchmark, tokenizer)
    return Target(model=unlearned, tokenizer=tokenizer, benchmark=benchmark, seed=SEED, original=lambda: original)
