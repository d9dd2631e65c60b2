"""WHP's generic prediction. Oracle: by hand, and special cases that are other methods."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.methods.golden import golden_step, terms_by_name
from unlearn_sweep.methods.catalog import build
from unlearn_sweep.methods.token_losses import token_nll
from unlearn_sweep.methods.whp import WHP, generic_logits


def test_generic_logits_by_hand() -> None:
    original, reinforced = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 1.0, 3.5]])
    assert generic_logits(original, reinforced, strength=2.0).tolist() == [[-1.0, 2.0, 2.0]]
    assert generic_logits(original, reinforced, strength=0.0).equal(original)


def test_what_the_subject_does_not_make_likelier_stays() -> None:
    original = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    assert generic_logits(original, original - 1, strength=3.0).equal(original)


def test_first_choice_is_plain_likelihood_of_it() -> None:
    step = golden_step()
    method = WHP(strength=5.0)
    batch, before = step.batches["forget"], step.references["forget"].logits
    wanted = generic_logits(before, 1.5 * before, strength=5.0).argmax(-1)
    expected = token_nll(batch.logits, wanted).mean()
    torch.testing.assert_close(terms_by_name(method, step)["forget"], expected)


def test_strength_nothing_is_self_distillation() -> None:
    """At the original model the loss is its entropy, with no gradient; UNDIAL at beta 0 is the same method."""
    leaf = golden_step().batches["forget"].logits.clone().requires_grad_()
    step = golden_step()
    same_logits = replace(step.batches["forget"], logits=leaf)
    step.batches, step.references = {"forget": same_logits}, {"forget": same_logits}
    value = terms_by_name(build("whp", {"strength": 0.0, "labels": "distribution"}), step)["forget"]
    same = terms_by_name(build("undial", {"beta": 0.0}), step)["forget"]
    torch.testing.assert_close(value, same)
    assert torch.autograd.grad(value, leaf)[0].abs().max() < 1e-12
