"""Every loss against values obtained by executing published implementations on the same tensors.

The ten-digit numbers were recomputed in fp64 independently of this code. Where a published implementation has a known
fault (wrong mask, wrong shift), the number is that of the corrected formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tests.methods.golden import (
    LABELS,
    LABELS2,
    TensorStep,
    golden_step,
    model_logits,
    pack,
    reference_logits,
    terms_by_name,
)
from unlearn_sweep.methods.altpo import AltPO
from unlearn_sweep.methods.ceu import CEU
from unlearn_sweep.methods.dpo import DPO
from unlearn_sweep.methods.finetune import Finetune
from unlearn_sweep.methods.grad_ascent import GradAscent
from unlearn_sweep.methods.graddiff import GradDiff
from unlearn_sweep.methods.idk import IDK
from unlearn_sweep.methods.idk_ap import IDKAP
from unlearn_sweep.methods.interface import Method
from unlearn_sweep.methods.jensun import JensUn
from unlearn_sweep.methods.jensun_kl import JensUnKL
from unlearn_sweep.methods.kl_min import KLMin
from unlearn_sweep.methods.log1mp import Log1mP
from unlearn_sweep.methods.me import ME
from unlearn_sweep.methods.npo import NPO
from unlearn_sweep.methods.pdu import PDU
from unlearn_sweep.methods.reduction import sequence_nll
from unlearn_sweep.methods.satimp import SatImp
from unlearn_sweep.methods.simnpo import SimNPO
from unlearn_sweep.methods.undial import UNDIAL
from unlearn_sweep.methods.wga import WGA

CE_MODEL, CE_REFERENCE = 2.5201852973, 3.3657148302

FORGET: list[tuple[str, Method, float]] = [
    ("grad_ascent", GradAscent(), -CE_MODEL),
    ("graddiff", GradDiff(), -CE_MODEL),
    ("kl_min", KLMin(), -CE_MODEL),
    ("npo sequence_sum", NPO(beta=0.1), 16.5919060300),
    ("npo token_mean_batch", NPO(beta=0.1, reduction="token_mean_batch"), 14.7263408274),
    ("dpo", DPO(beta=0.1), 16.7179244024),
    ("altpo", AltPO(beta=0.1), 16.7179244024),
    ("simnpo delta 0", SimNPO(beta=0.5), 0.9486268607),
    ("simnpo delta 1", SimNPO(beta=0.5, delta=1.0), 1.4586941714),
    ("wga", WGA(beta=1.0), -0.2131932731),
    ("satimp", SatImp(beta1=5.0, beta2=1.0), -0.0009522798),
    ("ceu skip 1", CEU(skip_tokens=1), 1.2988022176),
    ("ceu skip 0", CEU(skip_tokens=0), 1.3259365505),
    ("undial", UNDIAL(beta=10.0), 2.6343671858),
    ("jensun", JensUn(), 0.4069171176),
    ("pdu", PDU(), 3.3776620813),
    ("me", ME(), 0.8523959413),
]


def test_tensors_are_the_published_ones() -> None:
    model, reference = pack(model_logits(), LABELS), pack(reference_logits(), LABELS)
    assert torch.bincount(model.sequence).tolist() == [4, 2]
    torch.testing.assert_close(sequence_nll(model), torch.tensor([8.77680676, 6.34430359]).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        sequence_nll(reference), torch.tensor([12.45321427, 7.74107666]).double(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(("method", "expected"), [row[1:] for row in FORGET], ids=[row[0] for row in FORGET])
def test_forget_term(method: Method, expected: float) -> None:
    assert terms_by_name(method, golden_step())["forget"].item() == pytest.approx(expected, rel=1e-6)


# Published to eight decimals only, from inputs that passed through fp32: 4e-7 relative was measured on the others.
def test_log_one_minus_p() -> None:
    assert terms_by_name(Log1mP(), golden_step())["forget"].item() == pytest.approx(0.15523288, rel=1e-6)


def test_kl_to_target() -> None:
    assert terms_by_name(JensUnKL(), golden_step())["forget"].item() == pytest.approx(1.79343832, rel=1e-6)


def test_simnpo_at_its_default_beta() -> None:
    assert terms_by_name(SimNPO(), golden_step())["forget"].item() == pytest.approx(1.158e-5, rel=1e-3)


@pytest.mark.parametrize(
    ("retain", "expected"), [("nll", CE_MODEL), ("kl", 1.1719620801), ("jsd", 0.2146136375)], ids=["nll", "kl", "jsd"]
)
def test_retain_term(retain: str, expected: float) -> None:
    method = GradDiff(retain=retain)  # pyright: ignore[reportArgumentType]
    assert terms_by_name(method, golden_step())["retain"].item() == pytest.approx(expected, rel=1e-6)


def test_answer_preservation() -> None:
    assert terms_by_name(IDKAP(beta=0.1), golden_step())["retain"].item() == pytest.approx(5.4665846141, rel=1e-6)


def test_undial_with_a_larger_vocabulary() -> None:
    model, reference = model_logits(128), reference_logits(128)
    step = TensorStep({"forget": pack(model, LABELS)}, {"forget": pack(reference, LABELS)})
    assert terms_by_name(UNDIAL(), step)["forget"].item() == pytest.approx(5.62443117, rel=1e-6)


@pytest.mark.parametrize("method", [Finetune(), IDK(), IDKAP()], ids=["finetune", "idk", "idk_ap"])
def test_plain_likelihood(method: Method) -> None:
    # Oracle: log_softmax and gather on the unpacked tensors.
    labels = LABELS if isinstance(method, Finetune) else LABELS2
    losses = []
    for row, token_labels in zip(model_logits(), labels, strict=True):
        for t in range(labels.shape[1] - 1):
            if token_labels[t + 1] >= 0:
                losses.append(-torch.log_softmax(row[t], -1)[token_labels[t + 1]].item())
    name = "train" if isinstance(method, Finetune) else "forget"
    assert terms_by_name(method, golden_step())[name].item() == pytest.approx(
        math.fsum(losses) / len(losses), rel=1e-12
    )


@pytest.mark.parametrize("make", [lambda: NPO(beta=0.1), lambda: DPO(beta=0.1), lambda: AltPO(beta=0.1)])
def test_preference_losses_start_at_two_ln_two_over_beta(make: Callable[[], Method]) -> None:
    step = golden_step(reference=model_logits())
    assert terms_by_name(make(), step)["forget"].item() == pytest.approx(20 * math.log(2), rel=1e-12)
