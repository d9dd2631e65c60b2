"""Contract checks for attacks. Each raises ContractError on a violation. Used by the tests and by `check-plugin`.

`make` builds a new instance of the attack; `target` is the model under attack with everything an attacker may use.
"""

from __future__ import annotations

import copy
import gc
import random
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from unlearn_sweep.engine.contracts.failure import require
from unlearn_sweep.evaluators.attacks.attack import Attack, Attacked, Target
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rows import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Make = Callable[[], Attack]
METRICS = ("probability", "extraction_strength", "rouge")


def everything_is_left_as_found(target: Target, make: Make) -> None:
    """Check that the attack changes nothing of the target, after every state and at the end.

    Compared are weights, gradients, modes, hooks, tokenizer and global random states; see `found`.
    """
    before = found(target)
    for state in make().run(target):
        use(target, state)
        _require_same(before, found(target), f"at strength {state.strength:g}")
    _require_same(before, found(target), "at the end")


def closing_early_leaves_everything_as_found(target: Target, make: Make) -> None:
    """Check that closing the attack after its first state restores the target and frees the attack's model copy."""
    before = found(target)
    states = make().run(target)
    model = next(states).model
    copied = None if model is target.model else weakref.ref(model)
    del model
    states.close()  # type: ignore[attr-defined]
    gc.collect()
    require(copied is None or copied() is None, "the copied model stays in memory after the attack is closed")
    _require_same(before, found(target), "after it was closed")


def the_same_seed_gives_the_same_states(target: Target, make: Make) -> None:
    """Check that `target.seed` is the only source of randomness: global random states have no effect."""

    def outputs(seed: int) -> list[tuple[float, str, Any, Tensor]]:
        torch.manual_seed(seed)
        random.seed(seed)
        return [(state.strength, state.unit, state.notes, use(target, state)) for state in make().run(target)]

    first, second = outputs(1), outputs(2)
    require(len(first) == len(second) > 0, f"yields {len(first)} states, then {len(second)}")
    for one, other in zip(first, second, strict=True):
        require(one[:3] == other[:3], f"yields {one[:3]}, then {other[:3]}")
        require(torch.equal(one[3], other[3]), f"at strength {one[0]:g} the model answers differently the second time")


def the_last_state_outlives_the_attack(target: Target, make: Make, *, private: bool) -> None:
    """Check that the last state's model still gives finite logits after the attack has ended.

    `private`: the attack changes weights, so its model must not share a tensor with the target.
    """
    *_, last = make().run(target)
    gc.collect()
    require(bool(torch.isfinite(use(target, last)).all()), "the last state's model gives numbers that are not finite")
    if private:
        own = {parameter.data_ptr() for parameter in last.model.parameters()}
        shared = own & {parameter.data_ptr() for parameter in target.model.parameters()}
        require(last.model is not target.model and not shared, "the last state shares weights with the target")


def works_under_no_grad_and_inference_mode(target: Target, make: Make) -> None:
    with torch.no_grad():
        quiet = [use(target, state) for state in make().run(target)]
    with torch.inference_mode():
        inferred = [use(target, state).clone() for state in make().run(target)]
    same = len(quiet) == len(inferred) and all(torch.equal(a, b) for a, b in zip(quiet, inferred, strict=True))
    require(same, "other states under inference_mode than under no_grad")


def no_strength_changes_no_metric_of_any_row(target: Target, make: Make) -> None:
    """Check that strength 0 yields one state, whose METRICS of every scored row equal the target's, bit for bit."""
    itself = replace(target, original=lambda: target.model)  # original equals target: no direction to remove
    states = list(make().run(itself))
    require(len(states) == 1, f"yields {len(states)} states where one of strength 0 was asked for")
    plain = replace(states[0], model=target.model, prompt_edit=None)
    attacked, left = _rows_of(target, states[0]), _rows_of(target, plain)
    require(
        attacked.equals(left), f"at strength 0 rows differ in {[c for c in left if not left[c].equals(attacked[c])]}"
    )


def strengths_grow(target: Target, make: Make) -> None:
    """Check that strengths rise or fall strictly, in one unit."""
    states = [(state.strength, state.unit) for state in make().run(target)]
    strengths = [strength for strength, _ in states]
    ordered = sorted(set(strengths))
    require(strengths in (ordered, ordered[::-1]), f"strengths {strengths} neither rise nor fall strictly")
    require(len({unit for _, unit in states}) == 1, f"several units: {states}")


def found(target: Target) -> dict[str, Any]:
    """Capture everything an attack must not change, as values that `equal` can compare."""
    model = target.model
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()},
        "trainable": {n: p.requires_grad for n, p in model.named_parameters()},
        "modes": [module.training for module in model.modules()],
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "hooks": _hooks(model),
        "config": model.config.to_json_string(),
        "tokenizer": cast("PreTrainedTokenizerFast", target.tokenizer).backend_tokenizer.to_str(),
        "tokenizer size": len(target.tokenizer),
        "torch": torch.get_rng_state(),
        "numpy": [np.asarray(part) for part in cast("tuple[Any, ...]", np.random.get_state())[1:]],
        "python": random.getstate(),
        "gradient mode": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
    }


def _hooks(model: nn.Module) -> int:
    """Number of forward hooks, without those that transformers installs at the first forward that asks for states."""
    hooks = (hook for m in model.modules() for hook in (*m._forward_hooks.values(), *m._forward_pre_hooks.values()))
    return sum(not _module_of(hook).startswith("transformers.") for hook in hooks)


def _module_of(hook: Any) -> str:
    return getattr(getattr(hook, "func", hook), "__module__", None) or ""


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _require_same(before: dict[str, Any], after: dict[str, Any], when: str) -> None:
    changed = [key for key in before if not equal(before[key], after[key])]
    require(not changed, f"changes the target's {', '.join(changed)} {when}")


def use(target: Target, state: Attacked) -> Tensor:
    """Run a state as a caller would. Return the logits after the edited prompts of up to four forget rows."""
    model = copy.deepcopy(state.model).eval()
    return torch.cat([model(torch.tensor([ids])).logits.detach()[0, -1] for ids in prompts(target, state)])


def prompts(target: Target, state: Attacked) -> Iterator[tuple[int, ...]]:
    """Yield the edited prompts of the first four scored forget rows; skip a row whose edit is None."""
    rows = [
        row
        for row in target.benchmark.evaluation["forget"]
        if state.scored_groups is None or row.group_id in state.scored_groups
    ]
    for row in rows[:4]:
        example = encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
        edited = state.prompt_edit(example) if state.prompt_edit else example
        if edited is not None:
            yield edited.prompt_ids


def _rows_of(target: Target, state: Attacked) -> pd.DataFrame:
    rows = [row for split in ("forget", "retain") for row in target.benchmark.evaluation[split]]
    scored = [row for row in rows if state.scored_groups is None or row.group_id in state.scored_groups]
    return evaluate_rows(
        state.model,
        target.tokenizer,
        scored,
        metrics=METRICS,
        template=target.benchmark.template,
        max_new_tokens=6,
        prompt_edit=state.prompt_edit,
        sampling=state.sampling,
    ).table
