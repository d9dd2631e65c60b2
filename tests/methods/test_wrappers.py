"""Wrappers over a quadratic whose gradients are known, and the values of their formulas worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.methods.golden import golden_step, terms_by_name
from unlearn_sweep.methods.catalog import METHODS, WRAPPERS, build, card
from unlearn_sweep.methods.composed_card import BETWEEN_GRADIENTS, REVERSIBLE, canonical_name
from unlearn_sweep.methods.composition import Phased, final_weights
from unlearn_sweep.methods.curvature import CurvatureRegularisation
from unlearn_sweep.methods.dpo import DPO
from unlearn_sweep.methods.gao import GAO, agreement
from unlearn_sweep.methods.gradient_norm import GradientNorm
from unlearn_sweep.methods.gru import GRU
from unlearn_sweep.methods.idk_ap import IDKAP
from unlearn_sweep.methods.interface import AdversarySettings, AverageSettings, Gradients, GradientWrapper, Group
from unlearn_sweep.methods.irm import scale_gradient
from unlearn_sweep.methods.lat import descend
from unlearn_sweep.methods.mudman import MUDMAN, undisruptive
from unlearn_sweep.methods.random_smoothing import RandomSmoothing
from unlearn_sweep.methods.sam import SAM
from unlearn_sweep.methods.surgery import Rule, Surgery
from unlearn_sweep.methods.tar import TAR, adam_move, factors
from unlearn_sweep.methods.wrapper_cards import PLACES

FORGET, RETAIN = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 5.0])


@dataclass
class Quadratic:
    """Objectives sum c w^2 / 2 with curvatures FORGET and RETAIN; implements `Probe` with their true gradients."""

    weights: Tensor = field(default_factory=lambda: torch.tensor([1.0, 2.0]))
    realised_length: float = 0.0
    reported: dict[str, float] = field(default_factory=dict)
    memory: dict[str, list[Tensor]] = field(default_factory=dict)
    asked: int = 0

    def gradient(self, group: Group, offsets: Sequence[Tensor] | None = None) -> list[Tensor]:
        self.asked += 1
        moved = self.weights if offsets is None else self.weights + offsets[0]
        self.realised_length = 0.0 if offsets is None else float(offsets[0].norm())
        return [(FORGET if group == "forget" else RETAIN) * moved]

    def nll_gradient(
        self, view: str, offsets: Sequence[Tensor] | None = None, *, row: int | None = None, ahead: int = 0
    ) -> list[Tensor]:
        return [-gradient for gradient in self.gradient("forget", offsets)]

    def total(self, values: Tensor) -> Tensor:
        return values

    def normal(self, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(self.weights.shape, generator=generator)]

    def rows(self, view: str) -> int:
        return 2

    def generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(3)

    def remembered(self, name: str) -> list[Tensor] | None:
        return self.memory.get(name)

    def remember(self, name: str, parts: list[Tensor]) -> None:
        self.memory[name] = parts

    def report(self, name: str, value: float) -> None:
        self.reported[name] = value


class Cubic(Quadratic):
    """Objective sum c w^3 / 6 for the forget group: its gradient is c w^2 / 2, its curvature c w."""

    def gradient(self, group: Group, offsets: Sequence[Tensor] | None = None) -> list[Tensor]:
        moved = self.weights if offsets is None else self.weights + offsets[0]
        return [FORGET * moved.square() / 2] if group == "forget" else [RETAIN * moved]


def shaped(wrapper: GradientWrapper, probe: Quadratic) -> Gradients:
    return wrapper.reshape(Gradients(forget=probe.gradient("forget"), retain=probe.gradient("retain")), probe)


def test_sam_by_hand() -> None:
    probe = Quadratic()
    found = shaped(SAM(sam_rho=0.1), probe)
    # g = (3, 2), epsilon = 0.1 g / |g| = (0.08320503, 0.05547002), gradient there (3.24961509, 2.05547002)
    assert found.forget[0].tolist() == pytest.approx([3.24961509, 2.05547002], rel=1e-6)
    assert found.retain[0].tolist() == [1.0, 10.0]
    assert probe.reported["sam_realised_fraction"] == pytest.approx(1.0, rel=1e-6)


def test_gradient_norm_is_the_curvature_along_the_gradient() -> None:
    found = shaped(GradientNorm(gnr_weight=0.5, gnr_radius=0.01), Quadratic())
    # d|g|/dw = H g / |g| with g = (3, 2), H = diag(3, 1)
    norm = math.hypot(3, 2)
    assert found.forget[0].tolist() == pytest.approx([3 + 0.5 * 9 / norm, 2 + 0.5 * 2 / norm], rel=1e-4)


def test_curvature_of_a_quadratic_costs_nothing() -> None:
    probe = Quadratic()
    found = shaped(CurvatureRegularisation(cr_weight=5.0, cr_radius=0.01), probe)
    assert found.forget[0].tolist() == pytest.approx([3.0, 2.0], abs=2e-3)
    # |H r v| with g = (3, 2), H = diag(3, 1): 0.01 |(9, 2)| / |(3, 2)|
    assert probe.reported["forget_gradient_change"] == pytest.approx(0.01 * math.hypot(9, 2) / math.hypot(3, 2), 1e-4)


def test_curvature_penalty_is_the_gradient_of_the_change_of_the_gradient() -> None:
    """Oracle: autograd through |g(w + r v) - g(w)|, g written out by hand and v held constant."""
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    radius, curvature = 0.1, FORGET.double()
    direction = (curvature * weights.square() / 2) / (curvature * weights.square() / 2).norm()
    leaf = weights.clone().requires_grad_()
    change = curvature * (leaf + radius * direction).square() / 2 - curvature * leaf.square() / 2
    (slope,) = torch.autograd.grad(change.norm(), leaf)
    found = shaped(CurvatureRegularisation(cr_weight=0.5, cr_radius=radius), Cubic(weights))
    expected = curvature * weights.square() / 2 + 0.5 * slope
    # A difference quotient over a radius r of a quadratic gradient is off by half of r times the third derivative,
    # in both products alike, so nothing is left of it.
    assert found.forget[0].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert (0.5 * slope).abs().min() > 1e-2


def test_gru_by_hand() -> None:
    # <g_f, m> = -1.5 and |m|^2 = 1.25 whatever the scale of m: g = (1, -2, .5) + 1.2 (.5, 1, 0); g_r is not added.
    gradients = Gradients(forget=[torch.tensor([1.0, -2.0, 0.5])], retain=[torch.tensor([0.5, 1.0, 0.0])])
    probe = Quadratic()
    found = GRU(gru_gamma=0.8).reshape(gradients, probe)
    assert found.forget[0].tolist() == pytest.approx([1.6, -0.8, 0.5])
    assert found.retain[0].tolist() == [0.0, 0.0, 0.0]
    assert probe.reported["forget_against_retain"] == 1.0
    added = GRU(gru_gamma=1.0, gru_retain="added").reshape(gradients, Quadratic())
    assert added.forget[0].tolist() == pytest.approx([1.6, -0.8, 0.5])
    assert added.retain[0].tolist() == [0.5, 1.0, 0.0]


def test_gru_leaves_agreement_alone_and_smooths_over_steps() -> None:
    # open-unlearning's code on these: m = .8 (1, 0) = (.8, 0), then .8 (0, 1) + .2 (.8, 0) = (.16, .8).
    probe, forget = Quadratic(), [torch.tensor([1.0, -1.0])]
    first = GRU(gru_gamma=0.8).reshape(Gradients(forget=forget, retain=[torch.tensor([1.0, 0.0])]), probe)
    assert first.forget[0].tolist() == [1.0, -1.0]
    assert probe.reported["forget_against_retain"] == 0.0
    second = GRU(gru_gamma=0.8).reshape(Gradients(forget=forget, retain=[torch.tensor([0.0, 1.0])]), probe)
    # <g_f, m> = -.64, |m|^2 = .6656: g = (1, -1) + .96153846 (.16, .8)
    assert second.forget[0].tolist() == pytest.approx([1.15384615, -0.23076923])
    assert probe.memory["gru"][0].tolist() == pytest.approx([0.16, 0.8])


def test_mudman_by_hand() -> None:
    # Signs agree in places 0 and 3; |g_f| = 5, |m| = |(.1, .1, 0, .1)| after the first step with momentum .9
    forget, retain = torch.tensor([2.0, -4.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 1.0])
    probe = Quadratic()
    found = MUDMAN(mudman_length=2.0, mudman_momentum=0.9).reshape(Gradients(forget=[forget], retain=[retain]), probe)
    scale = 2.0 * math.sqrt(0.03) / 5.0
    assert found.forget[0].tolist() == pytest.approx([2 * scale, 0.0, 0.0, 2 * scale])
    assert found.retain[0].tolist() == pytest.approx([0.1, 0.1, 0.0, 0.1])
    assert probe.reported["mudman_kept_share"] == pytest.approx(math.sqrt(8) / 5)


def test_mudman_never_moves_a_weight_against_the_retain_gradient() -> None:
    forget, retain = torch.randn(2, 200, generator=torch.Generator().manual_seed(1))
    (kept,) = undisruptive([forget], [retain])
    assert ((kept * retain) >= 0).all()
    assert torch.equal(kept != 0, forget.sign() == retain.sign())


def test_smoothing_of_a_quadratic_keeps_its_mean_gradient() -> None:
    probe = Quadratic()
    found = shaped(RandomSmoothing(rs_std=0.01, rs_draws=400), probe)
    assert found.forget[0].tolist() == pytest.approx([3.0, 2.0], abs=5e-3)
    assert found.forget[0].tolist() != [3.0, 2.0]
    assert probe.asked == 402


@pytest.mark.parametrize(
    ("rule", "forget", "retain"),
    [
        ("protect_retain", [1.6, -0.8, 0.5], [0.5, 1.0, 0.0]),
        ("symmetric", [1.6, -0.8, 0.5], [0.78571429, 0.42857143, 0.14285714]),
    ],
)
def test_surgery_by_hand(rule: Rule, forget: list[float], retain: list[float]) -> None:
    gradients = Gradients(forget=[torch.tensor([1.0, -2.0, 0.5])], retain=[torch.tensor([0.5, 1.0, 0.0])])
    probe = Quadratic()
    found = Surgery(surgery_rule=rule).reshape(gradients, probe)
    expected = torch.tensor(forget) + torch.tensor(retain)
    torch.testing.assert_close(found.forget[0] + found.retain[0], expected)
    assert probe.reported["forget_retain_cosine"] == pytest.approx(-1.5 / math.sqrt(5.25 * 1.25), rel=1e-6)


def test_surgery_of_each_tensor_by_itself() -> None:
    against, along = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    gradients = Gradients(forget=[against, along], retain=[-against, along])
    found = Surgery(surgery_scope="per_tensor").reshape(gradients, Quadratic())
    # In conflict the forget gradient loses all it has along the retain gradient; the other tensor's is just added.
    assert (found.forget[0] + found.retain[0]).tolist() == [-1.0, 0.0]
    assert (found.forget[1] + found.retain[1]).tolist() == [2.0, 2.0]


def test_agreement_by_hand() -> None:
    # The released code run on these: mean sign (.5, 0, .25, 1), kept where |mean sign| > .1, mean clamped to 1.
    gradients = [
        torch.tensor(values)
        for values in ([0.5, -0.2, 0.0, 2.0], [0.3, 0.2, 0.0, 3.0], [-0.1, -0.4, 0.0, 1.0], [0.2, 0.1, 1.0, 2.0])
    ]
    assert agreement(gradients, 3).tolist() == pytest.approx([0.225, 0.0, 0.0, 1.0])
    assert agreement(gradients, 1).tolist() == pytest.approx([0.225, -0.075, 0.25, 1.0])


@pytest.mark.parametrize("scope", ["batch", "row"])
def test_gao_ascends_where_wordings_agree(scope: Literal["batch", "row"]) -> None:
    found = shaped(GAO(gao_rho=0.5, gao_paraphrases=2, gao_agree=2, gao_scope=scope), Quadratic())
    # nll gradient (-3, -2), clamped to (-1, -1); forget gradient (3, 2) less 0.5 of it
    assert found.forget[0].tolist() == pytest.approx([3.5, 2.5])


def test_gao_cannot_ask_for_more_votes_than_wordings() -> None:
    with pytest.raises(ValueError, match="4 votes of 3 paraphrases"):
        build("npo+gao", {"gao_agree": 4})


def test_tar_without_attack_is_the_scaled_base() -> None:
    found = shaped(TAR(tar_steps=0, tar_scale=4.0), Quadratic())
    assert found.forget[0].tolist() == [12.0, 8.0]
    assert found.retain[0].tolist() == [1.0, 10.0]


def test_tar_by_hand() -> None:
    # The attacker's NLL gradient is (-3, -2): its first Adam step is +rate in both places, so w = (1.1, 2.1) there.
    found = shaped(TAR(tar_steps=1, tar_every=1, tar_learning_rate=0.1, tar_scale=2.0), Quadratic())
    assert found.forget[0].tolist() == pytest.approx([2 * 3.3, 2 * 2.1], rel=1e-5)


def test_attackers_adam_is_torchs() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.Adam([weight], lr=0.01)
    offsets, moments = [torch.zeros(2)], [(torch.zeros(2), torch.zeros(2))]
    for step, gradient in enumerate((torch.tensor([0.3, -1.0]), torch.tensor([-0.2, 0.5])), start=1):
        weight.grad = gradient
        optimizer.step()
        offsets = adam_move(offsets, [gradient], moments, step=step, rate=0.01)
    torch.testing.assert_close(torch.tensor([1.0, -2.0]) + offsets[0], weight.detach())


def test_factors_of_the_published_run() -> None:
    # K = 64, looks at k = 0, 31 and 63 there have weights .0195, .1353 and 1; all 16 looks of its run sum to
    # (1 - e^-4) / (1 - e^-.25)
    assert factors([1, 32, 64], 64, 0.0625) == pytest.approx([0.0195, 0.1353, 1.0], abs=1e-4)
    assert sum(factors(range(4, 65, 4), 64, 0.0625)) == pytest.approx(4.438010, rel=1e-6)


def test_every_look_of_tar_counts_as_in_the_released_code() -> None:
    # Two looks at w = (1.1, 2.1) and (1.2, 2.2): Adam's moves against a gradient of one sign are 0.1 each (to 1%).
    found = shaped(
        TAR(tar_steps=2, tar_every=1, tar_learning_rate=0.1, tar_rate=math.log(2), tar_scale=4.0), Quadratic()
    )
    assert found.forget[0].tolist() == pytest.approx([4 * (3.3 / 2 + 3.6), 4 * (2.1 / 2 + 2.2)], rel=1e-2)


def test_adversary_goes_to_the_border_against_the_gradient() -> None:
    push = descend(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), rate=5.0, radius=torch.tensor([[2.0]]))
    assert push.tolist() == [pytest.approx([-1.2, -1.6])]
    half = descend(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), rate=0.5, radius=torch.tensor([[2.0]]))
    assert half.tolist() == [pytest.approx([-0.6, -0.8])]
    nowhere = descend(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), rate=0.5, radius=torch.tensor([[0.0]]))
    assert nowhere.abs().max() == 0.0


def test_golden_irm() -> None:
    batch = golden_step().forward("retain")
    slope = scale_gradient(batch.logits, batch.targets).mean()
    assert float(slope) == pytest.approx(1.1784508296, rel=1e-9)
    assert float(slope**2) == pytest.approx(1.3887463578, rel=1e-9)
    # Oracle: autograd through an explicit scale
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(scale * batch.logits, batch.targets)
    assert float(torch.autograd.grad(loss, scale)[0]) == pytest.approx(float(slope), rel=1e-12)


def test_irm_is_a_squared_term_of_its_view() -> None:
    terms = build("npo+irm", {"irm_weight": 2.0}).terms(golden_step())
    irm = terms[-1]
    assert (irm.name, irm.view, irm.weight, irm.squared) == ("irm", "retain", 2.0, True)
    assert float(terms_by_name(build("npo+irm", {}), golden_step())["irm"]) == pytest.approx(1.1784508296, rel=1e-9)
    assert len(build("npo+irm", {"irm_weight": 0.0}).terms(golden_step())) == 2


# --- compositions ---------------------------------------------------------------------------------------------------


def test_order_of_wrappers_means_nothing() -> None:
    assert canonical_name("npo + surgery+ irm +sam") == "npo+irm+sam+surgery"
    assert card("npo+sam+irm") == card("npo+irm+sam")
    assert build("npo+sam+irm", {}) == build("npo+irm+sam", {})


def test_every_wrapper_has_a_place() -> None:
    assert set(PLACES) == set(WRAPPERS)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_every_method_takes_every_wrapper_or_says_why_not(wrapper: str) -> None:
    for method in METHODS:
        if wrapper in BETWEEN_GRADIENTS and "retain" not in METHODS[method].needs:
            with pytest.raises(ValueError, match=f"{wrapper} needs a retain gradient"):
                card(f"{method}+{wrapper}")
            continue
        if METHODS[method].reverses and wrapper not in REVERSIBLE:
            with pytest.raises(ValueError, match="turns the training round"):
                card(f"{method}+{wrapper}")
            continue
        entry = card(f"{method}+{wrapper}")
        needs = build(entry.name, {}).needs()
        assert needs.gradients == ("grouped" if "grouped" in entry.needs else "single")
        assert entry.cost >= METHODS[method].cost


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("npo+sam+rs", "rs and sam each replace the forget gradient"),
        ("npo+sam+sam", "each wrapper once"),
        ("grad_ascent+surgery", "grad_ascent has none"),
        ("grad_ascent+gru", "gru needs a retain gradient"),
        ("npo+gru+surgery", "gru and surgery each decide between"),
        ("npo+cr+gnr", "cr and gnr each replace the forget gradient"),
        ("npo>rmu", "cannot share a training"),
        ("npo>npo", "are one"),
        ("npo>dpo>idk", "at most two"),
        ("npo+lat>idk", "for a whole training"),
        ("npo>task_vector", "turns the whole training round"),
        ("task_vector>npo", "turns the whole training round"),
        ("npo>task_vector+sam", "turns the whole training round"),
        ("task_vector+weight_avg+tar", "what tar is for"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        card(name)


def test_parameters_of_two_stages() -> None:
    names = [param.name for param in card("dpo>idk_ap").params]
    assert len(set(names)) == len(names)
    assert {"beta", "idk_ap.beta", "switch_at", "learning_rate"} <= set(names)
    method = build("dpo>idk_ap", {"beta": 0.3, "idk_ap.beta": 0.7, "switch_at": 0.5})
    assert isinstance(method, Phased)
    assert (method.at(0.49), method.at(0.5)) == (DPO(beta=0.3), IDKAP(beta=0.7))
    assert method.needs().views == ("forget_idk", "forget", "retain", "retain_idk")


def test_no_composition_hides_what_makes_the_kept_weights() -> None:
    for method in METHODS:
        assert (final_weights(build(method, {})) is not None) == METHODS[method].reverses
        for wrapper in REVERSIBLE:
            assert (final_weights(build(f"{method}+{wrapper}", {})) is not None) == METHODS[method].reverses


def test_a_wrapper_says_what_the_driver_adds_to_the_training() -> None:
    """Oracle: the parameters given; the order of the wrappers makes no difference."""
    given = {"lat_layer": 0.5, "lat_radius": 0.2, "lat_steps": 3, "lat_rate": 0.7}
    needs = build("npo+lat+sam+weight_avg", {**given, "average_decay": 0.25, "average_start": 0.75}).needs()
    assert needs.adversary == AdversarySettings(layer=0.5, radius=0.2, steps=3, rate=0.7, descend=descend)
    assert needs.average == AverageSettings(decay=0.25, start=0.75)
    plain = build("npo+sam", {}).needs()
    assert (plain.adversary, plain.average) == (None, None)


@pytest.mark.parametrize("wrapper", ["lat", "weight_avg"])
def test_no_stage_has_what_is_for_the_whole_training(wrapper: str) -> None:
    with pytest.raises(ValueError, match="for the whole training"):
        Phased(build("npo", {}), build(f"idk+{wrapper}", {}), switch_at=0.5)


def test_stages_cannot_be_built_around_one_that_makes_the_kept_weights() -> None:
    with pytest.raises(ValueError, match="TaskVector makes the kept weights"):
        Phased(build("npo", {}), build("task_vector+sam", {}), switch_at=0.5)
