"""A model that has learnt and then forgotten the toy world, in seconds on a CPU: what plugins are checked on."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

from unlearn_sweep.engine.contracts.toy_world import ascend, fit, make_benchmark, make_model, make_tokenizer
from unlearn_sweep.evaluators.attacks.attack import Target

SEED = 5


def toy_target() -> Target:
    """The unlearned model with its original. Its model is a fresh copy, so one bad attack spoils no later check."""
    trained = _trained()
    return replace(trained, model=copy.deepcopy(trained.model))


@cache
def _trained() -> Target:
    """Trained once a process."""
    benchmark = make_benchmark()
    tokenizer = make_tokenizer(benchmark)
    original = make_model(len(tokenizer))
    fit(original, benchmark, tokenizer, ("forget", "retain"))
    unlearned = copy.deepcopy(original)
    ascend(unlearned, benchmark, tokenizer)
    return Target(model=unlearned, tokenizer=tokenizer, benchmark=benchmark, seed=SEED, original=lambda: original)
