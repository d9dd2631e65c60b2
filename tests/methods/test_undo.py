"""UNDO's noise worked by hand and against torch's own initialisation, its loss, and its place in a composition."""

from __future__ import annotations

import math

import pytest
import torch

from tests.methods.golden import golden_step, terms_by_name
from unlearn_sweep.methods.catalog import build, card, in_two
from unlearn_sweep.methods.interface import NoiseSettings
from unlearn_sweep.methods.undo import noised, xavier_noise


def test_noise_by_hand() -> None:
    # (1 - .25) * 2 + .25 * .1 * (-.4) = 1.49; alpha 0 keeps the weight, alpha 1 is beta times the noise
    weight, noise = torch.tensor([2.0, -1.0]), torch.tensor([-0.4, 0.8])
    assert noised(weight, noise, alpha=0.25, beta=0.1).tolist() == pytest.approx([1.49, -0.73])
    assert noised(weight, noise, alpha=0.0, beta=9.0).tolist() == [2.0, -1.0]
    assert noised(weight, noise, alpha=1.0, beta=0.5).tolist() == pytest.approx([-0.2, 0.4])


def test_noise_is_as_large_as_torchs_own() -> None:
    """Oracle: `xavier_uniform_`'s bound and deviation for the same shape; the released code shrinks vectors only."""
    drawn = xavier_noise((300, 500), torch.Generator().manual_seed(0))
    own = torch.nn.init.xavier_uniform_(torch.empty(300, 500), generator=torch.Generator().manual_seed(1))
    assert float(drawn.abs().max()) <= math.sqrt(6 / 800)
    assert float(drawn.std()) == pytest.approx(float(own.std()), rel=0.01)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=1e-3)
    experts = xavier_noise((4, 300, 500), torch.Generator().manual_seed(0))
    assert float(experts.std()) == pytest.approx(float(own.std()), rel=0.01)
    assert xavier_noise((7,), torch.Generator()).tolist() == [0.0] * 7


def test_golden_loss_is_the_kl_to_the_teacher() -> None:
    # KL(reference || model) over the supervised places of the golden tensors, as of kl_min's retain term
    terms = terms_by_name(build("undo", {}), golden_step())
    assert {name: float(value) for name, value in terms.items()} == {
        "forget": pytest.approx(1.1719620801, rel=1e-6),
        "retain": pytest.approx(1.1719620801, rel=1e-6),
    }
    assert list(terms_by_name(build("undo", {"distil_on": "retain"}), golden_step())) == ["retain"]
    assert build("undo", {"alpha": 0.6, "beta": 0.2}).needs().noise == NoiseSettings(alpha=0.6, beta=0.2)


def test_behind_a_method_it_is_a_training_of_its_own() -> None:
    entry = card("npo+sam>undo")
    names = [param.name for param in entry.params]
    assert {"beta", "learning_rate", "epochs", "undo.learning_rate", "undo.epochs", "undo.alpha", "undo.beta"} <= set(
        names
    )
    assert len(names) == len(set(names))
    given = {"beta": 0.3, "learning_rate": 1e-5, "undo.learning_rate": 2e-5, "undo.beta": 0.0}
    assert in_two("npo+sam>undo", given) == (
        ("npo+sam", {"beta": 0.3, "learning_rate": 1e-5}),
        ("undo", {"learning_rate": 2e-5, "beta": 0.0}),
    )
    assert in_two("dpo>idk_ap", {}) is None
    assert in_two("undo", {}) is None
    assert in_two("dpo>idk_ap>undo", {"idk_ap.beta": 0.1}) == (("dpo>idk_ap", {"idk_ap.beta": 0.1}), ("undo", {}))


@pytest.mark.parametrize("name", ["rmu>undo", "task_vector>undo", "npo+weight_avg+lat>undo", "dpo>idk_ap>undo"])
def test_it_follows_what_no_phase_can(name: str) -> None:
    assert card(name).name.endswith(">undo")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("undo>npo", "undo distils .* so it comes last"),
        ("npo>undo>undo", "comes last"),
        ("npo>rmu>undo", "cannot share"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        card(name)


def test_the_two_trainings_are_built_one_by_one() -> None:
    with pytest.raises(ValueError, match="npo>undo is two trainings: build 'npo' and 'undo'"):
        build("npo>undo", {})
