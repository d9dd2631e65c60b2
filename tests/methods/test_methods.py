"""What holds for every method of the catalog: its needs are what it asks for, and padding, prompts, batch splits and
empty batches change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.methods.golden import golden_step, loss, terms_by_name
from unlearn_sweep.engine.contracts import method_checks as checks
from unlearn_sweep.engine.contracts.method_checks import rows_of, variants
from unlearn_sweep.methods.catalog import METHODS, build
from unlearn_sweep.methods.interface import Method
from unlearn_sweep.methods.npo import NPO
from unlearn_sweep.methods.pdu import PDU, dual_update

NAMES = [*METHODS, "finetune"]


EVERY_VARIANT = [(name, values) for name in NAMES for values in variants(name)]
VARIANT_IDS = [f"{name} {values}" for name, values in EVERY_VARIANT]


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT, ids=VARIANT_IDS)
def test_declared_needs_are_what_is_asked_for(name: str, values: dict[str, Any]) -> None:
    checks.needs_are_what_is_asked_for(name, values)


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT, ids=VARIANT_IDS)
def test_nothing_supervised_is_a_zero_with_a_gradient(name: str, values: dict[str, Any]) -> None:
    checks.nothing_supervised_is_a_zero_with_a_gradient(name, values)


@pytest.mark.parametrize(("name", "values"), EVERY_VARIANT, ids=VARIANT_IDS)
def test_a_rank_without_rows_gives_a_zero(name: str, values: dict[str, Any]) -> None:
    checks.a_rank_without_rows_gives_a_zero(name, values)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_prompts_do_not_matter(name: str) -> None:
    checks.padding_and_prompts_do_not_matter(name)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=6),
    cut=st.integers(1, 5),
)
def test_totals_and_counts_add_up_over_a_split(name: str, seed: int, lengths: list[tuple[int, int]], cut: int) -> None:
    checks.totals_and_counts_add_up_over_a_split(name, seed, lengths, cut)


def test_one_mean_over_the_batch_depends_on_the_split() -> None:
    # The reason why token_mean_batch is never a default.
    method, step = NPO(reduction="token_mean_batch", retain="none"), golden_step()
    parts = [rows_of(step, 0, 1), rows_of(step, 1, 2)]
    split = sum(method.terms(part)[0].total.item() for part in parts)
    assert split != pytest.approx(method.terms(step)[0].total.item(), rel=1e-3)


def test_a_weight_scales_its_term() -> None:
    step = golden_step()
    values = terms_by_name(NPO(), step)
    weighted = loss(NPO(forget_weight=3.0, retain_weight=0.5), step)
    torch.testing.assert_close(weighted, 3.0 * values["forget"] + 0.5 * values["retain"], rtol=1e-14, atol=0)


def test_dual_variable_by_hand() -> None:
    method, step, duals = PDU(retain_limit=0.3, dual_start=0.0, dual_step_size=1.0, dual_warmup=0.0), golden_step(), []
    for retain_loss in (0.5, 0.2, 0.1):
        method.after_step(step, {"forget": 1.0, "retain": retain_loss})
        duals.append(step.state["dual"])
    assert duals == pytest.approx([0.2, 0.1, 0.0], abs=1e-15)
    assert dual_update(0.0, 0.1, limit=0.3, step_size=1.0) == 0.0


def test_dual_variable_is_the_retain_weight_and_waits_for_the_warmup() -> None:
    method, step = PDU(dual_start=10.0, dual_step_size=2.0, retain_limit=0.3, dual_warmup=0.5), golden_step()
    step.progress = 0.4
    method.after_step(step, {"retain": 1.3})
    assert step.state == {"dual": 10.0}
    step.progress = 0.5
    method.after_step(step, {"retain": 1.3})
    assert step.state == {"dual": 12.0}
    resumed = golden_step(state=dict(step.state))
    assert [term.weight for term in method.terms(resumed)] == [1.0, 12.0]


def test_a_target_that_has_no_token_is_refused() -> None:
    step = golden_step(ids=())
    with pytest.raises(ValueError, match="no token in this model's vocabulary"):
        build("jensun", {"target": "x"}).terms(step)


def test_methods_are_immutable_values() -> None:
    first: Method = build("npo", {"beta": 0.2})
    assert first == NPO(beta=0.2)
    assert hash(first) == hash(NPO(beta=0.2))
