"""Losses as functions of tensors. Oracles: the golden values of published implementations, and finite differences."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import Any

import pytest
import torch

import unlearn_sweep as us
from tests.methods.golden import LABELS, LABELS2, model_logits, reference_logits
from tests.methods.test_golden_losses import CE_MODEL
from tests.support.docs_pages import examples
from unlearn_sweep.methods.catalog import METHODS, build
from unlearn_sweep.user_error import UserError


def _batch(labels: torch.Tensor = LABELS, *, logits: torch.Tensor | None = None) -> us.Batch:
    return us.Batch(model_logits() if logits is None else logits, labels, reference_logits())


def _loss(method: str, logits: torch.Tensor | None = None, **params: Any) -> us.Loss:
    """The loss with the golden tensors in every view; `logits` in place of them in view forget."""
    views = build(method, params).needs().views
    return us.method_loss(
        method, {view: _batch(logits=logits if view == "forget" else None) for view in views}, **params
    )


@pytest.mark.parametrize(
    ("method", "params", "forget"),
    [
        ("graddiff", {}, -CE_MODEL),
        ("npo", {"beta": 0.1}, 16.5919060300),
        ("npo", {"beta": 0.1, "reduction": "token_mean_batch"}, 14.7263408274),
        ("simnpo", {"beta": 0.5, "delta": 1.0}, 1.4586941714),
        ("wga", {"beta": 1.0}, -0.2131932731),
        ("undial", {"beta": 10.0}, 2.6343671858),
        ("me", {}, 0.8523959413),
    ],
)
def test_the_forget_term_is_the_published_value(method: str, params: dict[str, Any], forget: float) -> None:
    loss = _loss(method, **params)
    assert loss.terms["forget"].item() == pytest.approx(forget, rel=1e-6)


def test_the_total_is_the_weighted_sum_and_views_may_differ() -> None:
    params: dict[str, Any] = {"beta": 0.1, "forget_weight": 0.5, "retain_weight": 2.0, "retain": "kl"}
    loss = us.method_loss("npo", {"forget": _batch(), "retain": _batch(LABELS2)}, **params)
    want = 0.5 * 16.5919060300 + 2.0 * loss.terms["retain"].item()
    assert loss.total.item() == pytest.approx(want, rel=1e-6)
    alone = us.method_loss("npo", {"forget": _batch(), "retain": _batch()}, **params)
    assert alone.terms["retain"].item() == pytest.approx(1.1719620801, rel=1e-6)


@pytest.mark.parametrize(("method", "beta"), [("npo", 0.1), ("simnpo", 0.5), ("undial", 10.0)])
def test_the_gradient_is_that_of_the_value(method: str, beta: float) -> None:
    logits = model_logits().requires_grad_()
    (gradient,) = torch.autograd.grad(_loss(method, logits, beta=beta).total, logits)
    place, step = (0, 2, 3), 1e-6
    moved = []
    for sign in (1, -1):
        other = model_logits()
        other[place] += sign * step
        moved.append(_loss(method, other, beta=beta).total.item())
    assert gradient[place].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5)


REFUSED = {"rmu", "elm", "whp"}
WORK = {"npo", "simnpo", "graddiff", "dpo", "idk", "undial", "wga", "kl_min"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_finite_loss_or_says_what_it_needs(method: str) -> None:
    if method in REFUSED:
        with pytest.raises(UserError, match=r"needs .*Run it in a sweep"):
            _loss(method)
        return
    try:
        loss = _loss(method)
    except UserError as error:
        refused = str(error)
        assert "needs" in refused
        assert method not in WORK
    else:
        assert torch.isfinite(loss.total)
        assert loss.terms


@pytest.mark.parametrize(
    ("method", "batches", "params", "words"),
    [
        ("npoo", {}, {}, "did you mean 'npo'"),
        ("npo", {}, {"beta": -1.0}, "beta"),
        ("npo", {"forget": _batch()}, {}, "missing: retain"),
        ("npo", {"forget": _batch(), "retain": _batch(), "forgt": _batch()}, {}, "not forgt"),
        ("npo", {"forget": us.Batch(model_logits(), LABELS), "retain": _batch()}, {}, "give `reference`"),
        ("graddiff", {"forget": _batch(LABELS[:, :-1]), "retain": _batch()}, {}, r"\[B, T, V\]"),
        ("graddiff", {"forget": _batch(torch.full_like(LABELS, -100)), "retain": _batch()}, {}, "no token"),
    ],
)
def test_mistakes_are_user_errors(
    method: str, batches: dict[str, us.Batch], params: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        us.method_loss(method, batches, **params)


def test_the_example_of_the_page_runs_as_it_is() -> None:
    code = examples("library.md")["loss.py"]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    terms, rouge = done.stdout.splitlines()
    assert set(ast.literal_eval(terms)) == {"forget", "retain"}
    assert float(rouge) == pytest.approx(0.6)  # it, was, basil: three of five words, in order
