"""What `compat` gives, against values obtained by executing the projects' code on the golden tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.methods.golden import (
    IGNORED,
    LABELS,
    TensorStep,
    golden_step,
    hidden_states,
    in_place,
    loss,
    model_logits,
    pack,
    reference_logits,
    terms_by_name,
)
from unlearn_sweep.methods.as_published import deviations
from unlearn_sweep.methods.catalog import METHODS, build, check, modules
from unlearn_sweep.methods.interface import Padded, Supervised
from unlearn_sweep.methods.shared_params import COMPAT

GOLDEN: list[tuple[str, dict[str, Any], str, float]] = [
    ("graddiff", {"retain": "kl", COMPAT: "open-unlearning"}, "retain", 1.18069672),
    ("kl_min", {COMPAT: "open-unlearning"}, "retain", 1.18069672),
    ("graddiff", {"retain": "kl", COMPAT: "gao"}, "retain", 0.16867096),
    ("graddiff", {"retain": "kl", COMPAT: "jensun"}, "retain", 1.17196178),
    ("npo", {COMPAT: "gao"}, "forget", 14.72634141),
    ("npo", {COMPAT: "unlearn-smooth"}, "forget", 14.72634141),
    ("npo", {COMPAT: "unlearn-smooth-muse"}, "forget", 13.99433100),
    ("npo", {COMPAT: "open-unlearning"}, "forget", 16.59190796),
    ("dpo", {COMPAT: "open-unlearning"}, "forget", 16.71792426),
    ("pdu", {COMPAT: "open-unlearning"}, "forget", 3.14728008),
    ("jensun", {COMPAT: "jensun"}, "forget", 0.40691701),
    ("jensun", {COMPAT: "jensun"}, "retain", 0.21461359),
    ("jensun_kl", {COMPAT: "jensun"}, "forget", 1.79343850),
    ("jensun_kl", {COMPAT: "jensun"}, "retain", 1.17196208),
    ("me", {COMPAT: "tar"}, "forget", -1.40566371),
    ("ceu", {COMPAT: "open-unlearning"}, "forget", 1.29880226),
    ("wga", {COMPAT: "open-unlearning"}, "forget", -0.21319331),
]
FOLLOWED = [
    (name, project, retain)
    for name, card in METHODS.items()
    for param in card.params
    if param.name == COMPAT
    for project in param.choices
    if project != "none" and name != "undial"
    for retain in ("nll", "kl")
    if card.param("retain") is not None or retain == "nll"
]


@pytest.mark.parametrize(("name", "values", "term", "expected"), GOLDEN, ids=[f"{row[0]} {row[1]}" for row in GOLDEN])
def test_golden(name: str, values: dict[str, Any], term: str, expected: float) -> None:
    # Published through fp32: 5e-7 relative was measured on the values that were recomputed in fp64.
    assert terms_by_name(build(name, values), golden_step())[term].item() == pytest.approx(expected, rel=5e-7)


@pytest.mark.parametrize("project", ["open-unlearning", "gao"])
def test_golden_undial(project: str) -> None:
    step = golden_step(model_logits(128), reference_logits(128))
    assert terms_by_name(build("undial", {COMPAT: project}), step)["forget"].item() == pytest.approx(
        5.65599423, rel=5e-7
    )
    with pytest.raises(ValueError, match="this vocabulary has 7 only"):
        build("undial", {COMPAT: project}).terms(golden_step())


@pytest.mark.parametrize(
    ("project", "expected"),
    [("open-unlearning", 1.00597767), ("jensun", 1.00597767), ("gao", 1.00597767), ("wmdp", 0.81362034)],
)
def test_golden_rmu(project: str, expected: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # The golden target is all ones, which no drawn direction is: it is put in the place of the drawing.
    monkeypatch.setattr(
        "unlearn_sweep.methods.as_published.random_direction", lambda width, generator: torch.ones(width)
    )
    step = golden_step()
    step.places = {view: Padded(model_logits(), LABELS, {0: hidden_states()}) for view in ("forget", "retain")}
    step.reference_places = {"retain": Padded(model_logits(), LABELS, {0: torch.ones(4).double().expand(2, 6, 4)})}
    terms = terms_by_name(build("rmu", {"steering": 1.0, COMPAT: project}), step)
    assert terms["forget"].item() == pytest.approx(expected, rel=5e-7)
    assert terms["retain"].item() == pytest.approx(expected, rel=5e-7)  # the same arithmetic, to the same states


def test_simnpo_counts_a_label_that_predicts_nothing() -> None:
    # A sequence without a prompt: five of its six labels are predicted, and six are counted.
    labels = torch.tensor([[1, 3, 5, 0, 2, 4]])
    logits = model_logits()[:1]
    step = TensorStep({"forget": pack(logits, labels)}, places={"forget": in_place(logits, labels)})
    given = {"beta": 0.5, "delta": 0.0, "retain": "none", "forget_weight": 1.0}
    nll = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum")
    for project, tokens in (("none", 5), ("open-unlearning", 6)):
        expected = -4 * torch.nn.functional.logsigmoid(0.5 * nll / tokens)
        value = terms_by_name(build("simnpo", given | {COMPAT: project}), step)["forget"]
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("method", ["jensun", "jensun_kl"])
def test_jensun_does_not_learn_a_target_below_its_clamp(method: str) -> None:
    def slope(project: str) -> float:
        logits = torch.zeros(1, 7, dtype=torch.float64)
        logits[0, 2] = -30.0  # p = e^-30 / 7, about 1e-14
        leaf = logits.requires_grad_()
        one = torch.zeros(1, dtype=torch.long)
        step = TensorStep({"forget": Supervised(leaf, one, one, 1)}, ids=(2,))
        value = loss(build(method, {"retain": "none", COMPAT: project}), step)
        return torch.autograd.grad(value, leaf)[0][0, 2].item()

    assert slope("none") < 0  # the target is still learnt
    assert abs(slope("jensun")) < 0.1 * abs(slope("none"))  # what is left comes from the other entries


@pytest.mark.parametrize(("name", "project", "retain"), FOLLOWED)
def test_declared_needs_are_what_is_asked_for(name: str, project: str, retain: str) -> None:
    values = {COMPAT: project} | ({"retain": retain} if METHODS[name].param("retain") is not None else {})
    method, step = build(name, values), golden_step()
    method.terms(step)
    needs = method.needs()
    assert set(step.asked) | set(step.padded_asked) == set(needs.views)
    assert set(step.padded_asked) == set(needs.padded)
    assert {*step.consulted, *step.padded_consulted} == set(needs.reference_views)
    assert hasattr(method, "after_step") == needs.state


@pytest.mark.parametrize(("name", "project", "retain"), FOLLOWED)
def test_nothing_supervised_is_a_zero_with_a_gradient(name: str, project: str, retain: str) -> None:
    values = {COMPAT: project} | ({"retain": retain} if METHODS[name].param("retain") is not None else {})
    leaf = model_logits().requires_grad_()
    empty: Tensor = LABELS[:0]
    step = golden_step(leaf)
    nothing = pack(leaf[:0], empty)
    step.batches = dict.fromkeys(step.batches, nothing)
    step.references = dict.fromkeys(step.batches, nothing)
    step.places = dict.fromkeys(step.places, in_place(leaf[:0], empty))
    step.reference_places = step.places
    value = loss(build(name, values), step)
    (slope,) = torch.autograd.grad(value, leaf)
    assert value.item() == 0.0
    assert slope.abs().max().item() == 0.0


def test_every_term_is_a_mean_over_the_micro_batch() -> None:
    plain, followed = (build("graddiff", {COMPAT: project}).terms(golden_step()) for project in ("none", "jensun"))
    for ours, theirs in zip(plain, followed, strict=True):
        assert (ours.per, theirs.per) == ("token", "micro_batch")
        torch.testing.assert_close(theirs.total, ours.total / 6)
    (skipped, *_) = build("ceu", {COMPAT: "open-unlearning"}).terms(golden_step())
    assert skipped.skip_tokens == 0
    assert skipped.total.item() == pytest.approx(1.29880226, rel=5e-7)


def test_padding_counts_where_it_is_published_so() -> None:
    def value(project: str, width: int) -> float:
        step = golden_step()
        wide = {
            name: torch.cat([logits, torch.zeros(2, width, 7, dtype=logits.dtype)], 1)
            for name, logits in (("now", model_logits()), ("before", reference_logits()))
        }
        labels = torch.cat([LABELS, torch.full((2, width), IGNORED)], 1)
        step.places = {"retain": in_place(wide["now"], labels)}
        step.reference_places = {"retain": in_place(wide["before"], labels)}
        step.batches = {**step.batches, "retain": pack(wide["now"], labels)}
        step.references = {**step.references, "retain": pack(wide["before"], labels)}
        return terms_by_name(build("kl_min", {COMPAT: project}), step)["retain"].item()

    assert value("none", 6) == value("none", 0)
    assert value("open-unlearning", 6) == pytest.approx(value("open-unlearning", 0) / 2)


def test_only_projects_that_ship_a_method_can_be_followed() -> None:
    (problem,) = check(METHODS["pdu"], {COMPAT: "jensun"})
    assert problem == "compat: must be one of none, open-unlearning, got 'jensun'"
    (problem,) = check(METHODS["log1mp"], {COMPAT: "jensun"})
    assert "no such parameter" in problem


def test_compositions_follow_their_parts() -> None:
    method = build("npo+sam", {COMPAT: "unlearn-smooth"})
    assert method.terms(golden_step())[0].total.item() == pytest.approx(14.72634141, rel=5e-7)
    staged = build("dpo>npo", {"npo.compat": "gao"})
    assert staged.terms(replace(golden_step(), progress=0.0))[0].per == "sequence"
    assert staged.terms(replace(golden_step(), progress=0.9))[0].per == "micro_batch"
    with pytest.raises(ValueError, match="no such parameter"):
        build("npo+lat", {COMPAT: "gao"})  # its adversary works on packed tokens


def test_the_code_behind_it_is_in_the_key_only_where_it_is_used() -> None:
    assert "unlearn_sweep.methods.as_published" not in modules("npo", {})
    assert "unlearn_sweep.methods.as_published" not in modules("npo", {COMPAT: "none"})
    assert "unlearn_sweep.methods.as_published" in modules("npo", {COMPAT: "gao"})
    assert "unlearn_sweep.methods.as_published" in modules("dpo>npo", {"npo.compat": "gao"})


def test_every_deviation_belongs_to_a_project_of_its_card() -> None:
    for name, card in METHODS.items():
        param = card.param(COMPAT)
        projects = set(param.choices) if param is not None else set()
        for project in ("open-unlearning", "jensun", "gao", "unlearn-smooth", "unlearn-smooth-muse", "wmdp", "tar"):
            values = {"retain": "nll"} if card.param("retain") is not None else {}
            if deviations(build(name, values), project) and name != "kl_min":
                assert project in projects, f"{name} deviates in {project}, and its card does not offer it"
