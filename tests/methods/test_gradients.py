"""Gradients: finite differences in fp64, and the closed forms that the papers state."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.methods.golden import LABELS, TensorStep, golden_step, loss, model_logits, pack, reference_logits
from unlearn_sweep.methods.catalog import METHODS, build
from unlearn_sweep.methods.ceu import CEU
from unlearn_sweep.methods.dpo import DPO
from unlearn_sweep.methods.grad_ascent import GradAscent
from unlearn_sweep.methods.graddiff import GradDiff
from unlearn_sweep.methods.idk_ap import IDKAP
from unlearn_sweep.methods.interface import Method
from unlearn_sweep.methods.jensun import JensUn
from unlearn_sweep.methods.npo import NPO
from unlearn_sweep.methods.reduction import sequence_nll
from unlearn_sweep.methods.satimp import SatImp
from unlearn_sweep.methods.simnpo import SimNPO
from unlearn_sweep.methods.undial import UNDIAL
from unlearn_sweep.methods.wga import WGA

CONSTANT_WEIGHTS = {"wga", "satimp", "ceu"}
"""Methods that hold a part of their loss constant, so that finite differences of the value are not their gradient."""

DIFFERENTIABLE: list[tuple[str, Method]] = [
    *((name, build(name, {})) for name in METHODS if name not in CONSTANT_WEIGHTS),
    ("simnpo flat", SimNPO(beta=0.5, delta=1.0)),
    ("graddiff none", GradDiff(retain="none")),
    ("graddiff kl", GradDiff(retain="kl")),
    ("graddiff jsd", GradDiff(retain="jsd")),
    ("npo token_mean_batch", NPO(reduction="token_mean_batch")),
    ("npo sequence_mean", NPO(reduction="sequence_mean")),
    ("dpo sequence_mean", DPO(reduction="sequence_mean")),
    ("idk_ap sequence_mean", IDKAP(reduction="sequence_mean")),
]


def gradient(method: Method, logits: Tensor | None = None, reference: Tensor | None = None) -> Tensor:
    """d loss / d logits [B, T, V] at the golden tensors."""
    leaf = (model_logits() if logits is None else logits).clone().requires_grad_()
    (result,) = torch.autograd.grad(loss(method, golden_step(leaf, reference)), leaf)
    return result


def forget_only(logits: Tensor) -> TensorStep:
    return TensorStep({"forget": pack(logits, LABELS)}, {"forget": pack(reference_logits(), LABELS)})


@pytest.mark.parametrize("method", [row[1] for row in DIFFERENTIABLE], ids=[row[0] for row in DIFFERENTIABLE])
def test_finite_differences(method: Method) -> None:
    leaf = model_logits().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(method, golden_step(z)), leaf, fast_mode=True)


def test_npo_at_the_reference_is_ascent_on_summed_answers() -> None:
    leaf = model_logits().requires_grad_()
    ascent = -sequence_nll(pack(leaf, LABELS)).sum() / 2
    (expected,) = torch.autograd.grad(ascent, leaf)
    actual = gradient(NPO(retain="none"), reference=model_logits())
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("beta", [1e-9, 0.1, 2.0])
def test_npo_weighs_each_sequence_by_its_sigmoid(beta: float) -> None:
    # w_b = 2 sigmoid(-beta (S_b - S_b_ref)) times the gradient of -S_b / B; towards beta = 0 the weight is 1.
    leaf = model_logits().requires_grad_()
    nll = sequence_nll(pack(leaf, LABELS))
    with torch.no_grad():
        weight = 2 * torch.sigmoid(-beta * (nll - sequence_nll(pack(reference_logits(), LABELS))))
    (expected,) = torch.autograd.grad(-(weight * nll).sum() / 2, leaf)
    torch.testing.assert_close(gradient(NPO(beta=beta, retain="none")), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("special", "general"),
    [
        (GradAscent(), WGA(beta=0.0, retain="none")),
        (GradAscent(), SatImp(beta1=0.0, beta2=0.0, retain="none")),
        (WGA(beta=3.0, retain="none"), SatImp(beta1=3.0, beta2=0.0, retain="none")),
    ],
    ids=["wga 0 is ascent", "satimp 0 0 is ascent", "satimp b 0 is wga b"],
)
def test_special_cases(special: Method, general: Method) -> None:
    step = golden_step()
    torch.testing.assert_close(loss(special, step), loss(general, step), rtol=1e-14, atol=0)
    torch.testing.assert_close(gradient(special), gradient(general), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("method", "power", "complement"),
    [(WGA(beta=0.7, retain="none"), 0.7, 0.0), (SatImp(beta1=5.0, beta2=1.5, retain="none"), 5.0, 1.5)],
    ids=["wga", "satimp"],
)
def test_weighted_ascent_holds_its_weight_constant(method: Method, power: float, complement: float) -> None:
    # d/dz of -w NLL with w constant is w (onehot - p), over N tokens.
    leaf = forget_only(model_logits()).forward("forget")
    probs = torch.softmax(leaf.logits, -1)
    one_hot = torch.nn.functional.one_hot(leaf.targets, probs.shape[-1])
    p = (probs * one_hot).sum(-1, keepdim=True)
    expected = p**power * (1 - p) ** complement * (one_hot - probs) / 6
    actual = gradient(method)[:, :-1][LABELS[:, 1:] != -100]
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)


def test_ceu_pushes_the_true_token_by_its_probability() -> None:
    batch = forget_only(model_logits()).forward("forget")
    probs = torch.softmax(batch.logits, -1)
    one_hot = torch.nn.functional.one_hot(batch.targets, probs.shape[-1]).bool()
    others = probs.masked_fill(one_hot, 0.0)
    expected = (probs - others / others.sum(-1, keepdim=True)) / 6
    actual = gradient(CEU(skip_tokens=0))[:, :-1][LABELS[:, 1:] != -100]
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(actual[one_hot], probs[one_hot] / 6, rtol=1e-10, atol=0)


def test_undial_without_lowering_is_at_rest_at_the_reference() -> None:
    assert gradient(UNDIAL(beta=0.0), reference=model_logits()).abs().max() < 1e-15
    assert gradient(UNDIAL(beta=10.0), reference=model_logits()).abs().max() > 1e-2


def test_jensun_gradient_is_the_closed_form() -> None:
    batch = forget_only(model_logits()).forward("forget")
    target = torch.tensor([2, 4, 2, 4, 2, 4])  # ids (2, 4) laid over answers of 4 and 2 tokens
    probs = torch.softmax(batch.logits, -1)
    q = probs.gather(-1, target[:, None])
    one_hot = torch.nn.functional.one_hot(target, probs.shape[-1])
    expected = 0.5 * torch.log(q / (1 + q)) * q * (one_hot - probs) / 6
    actual = gradient(JensUn(retain="none"))[:, :-1][LABELS[:, 1:] != -100]
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-14)


def test_graddiff_on_the_same_batch_cancels() -> None:
    assert loss(GradDiff(), golden_step()).item() == 0.0
    assert gradient(GradDiff()).abs().max().item() == 0.0


@pytest.mark.parametrize(("view", "sign"), [("retain", -1), ("retain_idk", 1)])
def test_answer_preservation_prefers_the_answer(view: str, sign: int) -> None:
    # Oracle: direction only. A likelier answer lowers the term, a likelier refusal raises it.
    method, base, changed = IDKAP(forget_weight=0.0), golden_step(), golden_step()
    batch = base.batches[view]
    raised = batch.logits.scatter_add(-1, batch.targets[:, None], torch.ones_like(batch.logits))
    changed.batches = {**base.batches, view: replace(batch, logits=raised)}
    assert sign * (loss(method, changed) - loss(method, base)).item() > 0.1
