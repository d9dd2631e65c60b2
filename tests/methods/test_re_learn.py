"""ReLearn's terms. Oracles: torch's own cross-entropy and the golden KL, at the golden tensors."""

from __future__ import annotations

import pytest
import torch

from tests.methods.golden import golden_step, terms_by_name
from unlearn_sweep.engine.contracts.golden import LABELS, LABELS2, model_logits
from unlearn_sweep.methods.catalog import build


def cross_entropy(labels: torch.Tensor) -> float:
    logits = model_logits()[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100))


def test_golden_terms() -> None:
    terms = {name: float(value) for name, value in terms_by_name(build("re_learn", {}), golden_step()).items()}
    assert terms == {
        "forget": pytest.approx(cross_entropy(LABELS2), rel=1e-9),  # the vague answers, not the right ones
        "retain": pytest.approx(2.5201852973, rel=1e-9),
        "kl": pytest.approx(1.1719620801, rel=1e-6),
    }
    assert terms["forget"] != pytest.approx(cross_entropy(LABELS), rel=1e-3)


def test_weights_of_nothing_read_nothing() -> None:
    plain = build("re_learn", {"kl_weight": 0.0})
    assert (plain.needs().views, plain.needs().reference) == (("forget_vague", "retain"), "none")
    alone = build("re_learn", {"kl_weight": 0.0, "retain_weight": 0.0, "answers": "refusals"})
    assert alone.needs().views == ("forget_idk",)
    assert list(terms_by_name(alone, golden_step())) == ["forget"]
