"""Chains: each attack starts where the one before ended, in the order given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import nn

from tests.evaluators.attacks.toy_world import same_weights
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.chain import follow
from unlearn_sweep.evaluators.attacks.forget_halves import forget_halves

RELEARN = {"relearn": {"steps": [2, 5], "learning_rate": 1e-3}}
QUANTIZE = {"quantize": {"bits": [8, 3]}}


def by_hand(target: Target, *attacks: dict[str, Any]) -> nn.Module:
    """Oracle: run the attacks one after the other, passing the last model on."""
    for attack in attacks:
        ((name, params),) = attack.items()
        target = replace(target, model=list(build(name, params).run(target))[-1].model)
    return target.model


@pytest.mark.parametrize("order", [(QUANTIZE, RELEARN), (RELEARN, QUANTIZE)])
def test_last_state_equals_running_the_attacks_by_hand(target: Target, order: tuple[dict[str, Any], ...]) -> None:
    states = [(state.strength, state.unit) for state in build("chain", list(order)).run(target)]
    assert states == ([(2, "steps"), (5, "steps")] if order[1] is RELEARN else [(8, "bits"), (3, "bits")])
    assert same_weights(list(build("chain", list(order)).run(target))[-1].model, by_hand(target, *order))


def test_order_matters(target: Target) -> None:
    assert not same_weights(by_hand(target, QUANTIZE, RELEARN), by_hand(target, RELEARN, QUANTIZE))


def test_three_deep_and_nested_are_the_same(target: Target) -> None:
    prefill = {"prefill": {"tokens": [1]}}
    flat = list(build("chain", [QUANTIZE, RELEARN, prefill]).run(target))[-1]
    nested = list(build("chain", [{"chain": {"steps": [QUANTIZE, RELEARN]}}, prefill]).run(target))[-1]
    assert same_weights(flat.model, nested.model)
    assert flat.scored_groups == nested.scored_groups == forget_halves(target.benchmark).scored
    assert flat.prompt_edit is not None


def test_notes_of_every_attack_are_kept_apart(target: Target) -> None:
    (state,) = build("chain", [{"quantize": {"bits": 4}}, {"relearn": {"steps": 1}}]).run(target)
    assert state.notes is not None
    assert state.notes["0_quantize.bits"] == 4.0
    assert state.notes["relearned_rows"] == 12.0


def test_identities_in_a_row_are_an_identity(target: Target) -> None:
    chain = [{"quantize": {"bits": 16}}, {"relearn": {"steps": 0}}, {"prefill": {"tokens": 0}}]
    (state,) = build("chain", chain).run(target)
    assert same_weights(state.model, target.model)


def test_scored_facts_are_those_of_all_attacks_and_never_none_left(target: Target) -> None:
    def state(groups: frozenset[str] | None) -> Attacked:
        return Attacked(strength=1, unit="steps", model=target.model, scored_groups=groups)

    assert follow(state(frozenset("ab")), state(frozenset("bc")), None).scored_groups == {"b"}
    assert follow(state(None), state(frozenset("b")), None).scored_groups == {"b"}
    assert follow(state(frozenset("b")), state(None), None).scored_groups == {"b"}
    with pytest.raises(AttackError, match="none is left to score"):
        follow(state(frozenset("a")), state(frozenset("b")), None)
