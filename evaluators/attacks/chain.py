"""Attacks one after the other: quantise, then relearn. Each starts from the last state of the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import ChainParams, build
from unlearn_sweep.evaluators.attacks.prompts import compose


@dataclass(frozen=True, slots=True)
class Chain:
    """The last attack's states, on the model that the others left; strength and unit are the last attack's."""

    params: ChainParams

    def run(self, target: Target) -> Iterator[Attacked]:
        return self.resume(target, [])

    def resume(self, target: Target, done: Sequence[Attacked]) -> Iterator[Attacked]:
        """The same states where the first attacks are `done`: each one's last state as it left it, by itself.

        Their models are ordinary ones with unchanged prompts; the last one's is attacked further. `done` must leave
        at least one attack to run.
        """
        links = self.params.links()
        state: Attacked | None = None
        for place, last in enumerate(done):
            state = follow(state, last, f"{place}_{links[place][0]}")
        for place, (name, params) in list(enumerate(links))[len(done) : -1]:
            last = last_state(name, build(name, params).run(_next_target(target, state)))
            state = follow(state, last, f"{place}_{name}")
        name, params = links[-1]
        for last in build(name, params).run(_next_target(target, state)):
            yield follow(state, last, None)


def follow(before: Attacked | None, after: Attacked, prefix: str | None) -> Attacked:
    """`after`, run on the model of `before`, as one state: edits compose, scored facts intersect, notes are kept apart.

    Raises:
        AttackError: the two leave no common fact to score.
    """
    notes = {f"{prefix}.{key}" if prefix else key: value for key, value in (after.notes or {}).items()}
    if before is None:
        return replace(after, notes=notes)
    groups = _intersect(before.scored_groups, after.scored_groups)
    edit = compose(before.prompt_edit, after.prompt_edit)
    if before.sampling is not None:
        raise AttackError("sample draws the answers that are scored, so it can only be the last attack of a chain")
    return replace(after, prompt_edit=edit, scored_groups=groups, notes={**(before.notes or {}), **notes})


def last_state(name: str, states: Iterator[Attacked]) -> Attacked:
    """The strongest state. It is kept after the attack has ended, which the contract of attacks allows.

    Raises:
        AttackError: there is none.
    """
    last = deque(states, maxlen=1)
    if not last:
        raise AttackError(f"attack {name!r} of the chain gave no state to go on from")
    return last.pop()


def _intersect(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    if a is None or b is None:
        return b if a is None else a
    if not a & b:
        raise AttackError("the attacks of the chain used every forget fact between them; none is left to score")
    return a & b


def _next_target(target: Target, state: Attacked | None) -> Target:
    return target if state is None else replace(target, model=state.model)
