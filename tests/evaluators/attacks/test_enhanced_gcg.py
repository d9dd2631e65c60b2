"""The search with terms on inner states, against exhaustive search, formulas by hand and plain autograd."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from tests.evaluators.attacks.toy_world import make_model
from unlearn_sweep.evaluators.attacks.adversarial_text import Slot
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.attacked_rows import searched_rows
from unlearn_sweep.evaluators.attacks.catalog import build, validate
from unlearn_sweep.evaluators.attacks.enhanced_gcg import RepresentationObjective, changes, enhanced_search, repetition
from unlearn_sweep.evaluators.attacks.enhanced_gcg_params import EnhancedGcgParams
from unlearn_sweep.evaluators.attacks.forget_halves import attacked_rows, different_facts, forget_halves
from unlearn_sweep.evaluators.attacks.gcg import AnswerObjective
from unlearn_sweep.evaluators.rows import Row

SMALL = {"text_tokens": 4, "min_tokens": 2, "max_tokens": 6, "search_width": 16, "prompts": 2, "top_k": 32}
PARAMS = EnhancedGcgParams(distance_weight=0.7, turn_weight=3.0)
SLOTS = (
    Slot(question="a", before=(5, 9), behind=(13,), answer=(40, 41, 1)),
    Slot(question="b", before=(7,), behind=(13, 14), answer=(42, 1)),
)
TEXT = (20, 21, 22)


def chosen(target: Target) -> list[Row]:
    return different_facts(attacked_rows(target.benchmark, forget_halves(target.benchmark)), 2, seed=target.seed)


def by_hand(model: LlamaForCausalLM, original: LlamaForCausalLM, slot: Slot, embedded: dict[str, Tensor]) -> Tensor:
    """The loss of one question from its definition, over the library's hidden states and one unpadded sequence."""
    count = len(slot.answer)
    runs = {
        name: found(inputs_embeds=embedded[name][None], output_hidden_states=True)
        for name, found in (("model", model), ("original", original), ("plain", original))
    }
    states = {name: torch.stack(run.hidden_states[1:])[:, 0, -count:] for name, run in runs.items()}
    nll = functional.cross_entropy(runs["model"].logits[0, -count:], torch.tensor(slot.answer))
    gap = states["model"] - states["original"]
    distance = (gap.norm(dim=-1) / states["original"].norm(dim=-1)).mean()
    turn = 1 - functional.cosine_similarity(states["model"], states["plain"], dim=-1).mean()
    return nll + PARAMS.distance_weight * distance + PARAMS.turn_weight * turn


def embed(model: LlamaForCausalLM, ids: list[int]) -> Tensor:
    return model.model.embed_tokens.weight.detach()[ids]


def test_losses_are_those_of_the_definition(original: LlamaForCausalLM, unlearned: LlamaForCausalLM) -> None:
    texts = [TEXT, (30,), (20, 31)]
    expected = [
        torch.stack(
            [
                by_hand(
                    unlearned,
                    original,
                    slot,
                    {
                        "model": embed(unlearned, slot.ids(text)),
                        "original": embed(original, slot.ids(text)),
                        "plain": embed(original, slot.ids([])),
                    },
                )
                for slot in SLOTS
            ]
        ).mean()
        for text in texts
    ]
    objective = RepresentationObjective(unlearned, original, SLOTS, PARAMS)
    assert objective.losses(texts) == pytest.approx([float(loss.detach()) for loss in expected], abs=1e-5)
    narrow = RepresentationObjective(unlearned, original, SLOTS, PARAMS.model_copy(update={"batch_tokens": 1}))
    assert narrow.losses(texts) == pytest.approx(objective.losses(texts), abs=1e-5)


def test_scores_are_minus_the_one_hot_gradient_through_both_models(
    original: LlamaForCausalLM, unlearned: LlamaForCausalLM
) -> None:
    vocabulary = original.config.vocab_size
    one_hot = functional.one_hot(torch.tensor(TEXT), vocabulary).float().requires_grad_(True)
    total = torch.zeros(())
    for slot in SLOTS:
        embedded = {"plain": embed(original, slot.ids([]))}
        for name, model in (("model", unlearned), ("original", original)):
            text = one_hot @ model.model.embed_tokens.weight.detach()
            around = [embed(model, list(slot.before)), text, embed(model, [*slot.behind, *slot.answer[:-1]])]
            embedded[name] = torch.cat(around)
        total = total + by_hand(unlearned, original, slot, embedded) / len(SLOTS)
    (expected,) = torch.autograd.grad(total, [one_hot])
    found = RepresentationObjective(unlearned, original, SLOTS, PARAMS).scores(TEXT)
    torch.testing.assert_close(-found, expected, atol=1e-5, rtol=1e-3)


def test_without_its_terms_it_is_the_likelihood_of_the_answers(target: Target, original: LlamaForCausalLM) -> None:
    plain = EnhancedGcgParams(distance_weight=0.0, turn_weight=0.0)
    found = RepresentationObjective(target.model, original, SLOTS, plain).losses([TEXT])
    assert found == pytest.approx(AnswerObjective(target.model, SLOTS, batch_tokens=4096).losses([TEXT]), abs=1e-5)


def test_the_original_is_no_distance_from_itself(original: LlamaForCausalLM) -> None:
    only_distance = EnhancedGcgParams(distance_weight=100.0, turn_weight=0.0)
    found = RepresentationObjective(original, copy.deepcopy(original), SLOTS, only_distance).losses([TEXT])
    assert found == pytest.approx(AnswerObjective(original, SLOTS, batch_tokens=4096).losses([TEXT]), abs=1e-5)


@pytest.mark.parametrize("place", ["prefix", "suffix"])
def test_the_search_finds_what_exhaustive_search_finds(target: Target, place: str) -> None:
    """Oracle: every text of one to three of some ten tokens that the tokenizer reads back, scored one by one.

    Tokens of the text that the search starts from are among them: they may stay.
    """
    sizes = {"text_tokens": 2, "min_tokens": 1, "max_tokens": 3, "prompts": 2, "target_tokens": 3, "search_width": 64}
    params = EnhancedGcgParams.model_validate({**sizes, "place": place})
    search = enhanced_search(target, params, chosen(target))
    allowed = [token for token in range(len(search.forbidden)) if not search.forbidden[token]][5:85:8]
    allowed = sorted({*allowed, *search.start})
    search.forbidden = torch.ones_like(search.forbidden)
    search.forbidden[allowed] = False
    everything = [text for length in (1, 2, 3) for text in product(allowed, repeat=length)]
    stable = search.texts.read_back_unchanged(everything)
    losses = dict(zip(stable, search.objective.losses(stable), strict=True))
    assert len(stable) > 100
    for _ in range(40):
        search.step()
    best = min(losses.values())
    assert search.best.loss == pytest.approx(best, abs=1e-4)
    assert best < search.first.loss


def test_best_loss_only_falls_and_is_the_loss_of_the_text(target: Target) -> None:
    states = list(build("enhanced_gcg", {**SMALL, "steps": [0, 2, 6]}).run(target))
    notes = [state.notes for state in states if state.notes is not None]
    best = [note["loss_best"] for note in notes]
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0] == notes[0]["loss_first"]
    for note in notes:
        assert note["loss_rescored_from_text"] == pytest.approx(note["loss_best"], abs=1e-3)
        assert 2 <= note["tokens"] <= 6
    assert {state.scored_groups for state in states} == {forget_halves(target.benchmark).scored}


def test_no_steps_are_no_attack(target: Target) -> None:
    (state,) = build("enhanced_gcg", {**SMALL, "steps": 0}).run(target)
    assert state.prompt_edit is None
    assert state.model is target.model


def test_a_warm_start_is_where_the_search_begins(target: Target) -> None:
    params = EnhancedGcgParams.model_validate({**SMALL, "warm_start": " figs and plums"})
    search = enhanced_search(target, params, chosen(target))
    assert search.text() == " figs and plums"


@settings(deadline=None)
@given(length=st.integers(2, 6), seed=st.integers(0, 200), banned=st.sets(st.integers(0, 7), max_size=7))
def test_changes_are_one_token_replaced_cut_or_added_or_two_swapped(length: int, seed: int, banned: set[int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    text = tuple(range(length))
    scores = torch.rand(length, 8, generator=generator)
    scores[:, sorted(banned)] = float("-inf")
    params = EnhancedGcgParams(text_tokens=3, min_tokens=2, max_tokens=5, search_width=60, top_k=8)
    found = changes(text, scores, params, generator)
    assert len(found) == len(set(found)) <= 60
    assert text not in found
    for changed in found:
        added = Counter(changed) - Counter(text)
        assert not set(added) & banned
        if len(changed) == length:
            differing = sum(a != b for a, b in zip(changed, text, strict=True))
            assert differing == 1 or (differing == 2 and Counter(changed) == Counter(text))
        elif len(changed) < length:
            assert length > 2
            assert changed in [text[:at] + text[at + 1 :] for at in range(length)]
        else:
            assert length < 5
            assert text in [changed[:at] + changed[at + 1 :] for at in range(length + 1)]


def test_every_kind_of_change_is_drawn() -> None:
    generator = torch.Generator().manual_seed(1)
    params = EnhancedGcgParams(text_tokens=3, min_tokens=2, max_tokens=9, search_width=400, top_k=8)
    found = changes((0, 1, 2, 3), torch.rand(4, 8, generator=generator), params, generator)
    kinds = Counter(len(changed) for changed in found)
    assert set(kinds) == {3, 4, 5}
    assert any(Counter(changed) == Counter((0, 1, 2, 3)) for changed in found)


def test_it_needs_the_original_model_in_the_same_shape(target: Target) -> None:
    with pytest.raises(AttackError, match="compares states with the original model, which was not given; use gcg"):
        list(build("enhanced_gcg", SMALL).run(replace(target, original=None)))
    other = make_model(len(target.tokenizer), seed=2)
    other.config.num_hidden_layers = 5
    with pytest.raises(AttackError, match=r"has \(layers, width\) \(5, 48\) and this one \(2, 48\)"):
        list(build("enhanced_gcg", SMALL).run(replace(target, original=lambda: other)))
    with pytest.raises(AttackError, match="there is no layer 9"):
        list(build("enhanced_gcg", {**SMALL, "layers": [9]}).run(target))


def test_lengths_must_fit() -> None:
    with pytest.raises(ValidationError, match="min_tokens <= text_tokens <= max_tokens must hold; got 10, 5, 120"):
        validate("enhanced_gcg", {"text_tokens": 5})


# --- the released code's further terms --------------------------------------------------------------------------------


def test_fluency_and_repetition_are_those_of_the_definition(
    original: LlamaForCausalLM, unlearned: LlamaForCausalLM
) -> None:
    """Over the library's own logits of one unpadded sequence, and counts by hand."""
    plain = RepresentationObjective(unlearned, original, SLOTS, PARAMS)
    both = {"fluency_weight": 1.5, "repetition_weight": 3.0}
    full = RepresentationObjective(unlearned, original, SLOTS, PARAMS.model_copy(update=both))
    texts = [TEXT, (20, 20, 9, 9, 9)]
    expected = []
    for text in texts:
        added = []
        for slot in SLOTS:
            prompt = torch.tensor([[*slot.before, *text, *slot.behind]])
            with torch.no_grad():
                logits = unlearned(prompt).logits[0, :-1]
            nll = functional.cross_entropy(logits, prompt[0, 1:]).item()
            counts = Counter(prompt[0].tolist()).values()
            added.append(1.5 * nll + 3.0 * sum((count - 1) ** 1.5 for count in counts) / prompt.shape[1])
        expected.append(sum(added) / len(SLOTS))
    gained = [now - before for now, before in zip(full.losses(texts), plain.losses(texts), strict=True)]
    assert gained == pytest.approx(expected, rel=1e-4)
    prompts = [(*slot.before, *TEXT, *slot.behind) for slot in SLOTS]
    assert full.loss_of_prompts(prompts) == pytest.approx(full.losses([TEXT])[0], rel=1e-5)


def test_repetition_by_hand() -> None:
    assert repetition((1, 2, 3)) == 0
    assert repetition((1, 1, 1, 2, 2)) == pytest.approx((2**1.5 + 1) / 5)


def test_fluency_is_part_of_the_gradient(original: LlamaForCausalLM, unlearned: LlamaForCausalLM) -> None:
    plain, full = (
        RepresentationObjective(unlearned, original, SLOTS, PARAMS.model_copy(update={"fluency_weight": weight}))
        for weight in (0.0, 2.0)
    )
    assert not torch.allclose(plain.scores(TEXT), full.scores(TEXT))


def test_states_and_distance_as_released(original: LlamaForCausalLM, unlearned: LlamaForCausalLM) -> None:
    """What layer 2 reads is what layer 1 writes; an absolute distance is the norm itself."""
    only = {"turn_weight": 0.0, "distance_weight": 1.0}

    def loss(**changes: object) -> float:
        params = PARAMS.model_copy(update={**only, **changes})
        return RepresentationObjective(unlearned, original, SLOTS, params).losses([TEXT])[0]

    assert loss(layers=[2], states="input") == pytest.approx(loss(layers=[1]), rel=1e-6)
    without = loss(layers=[1], distance_weight=0.0)
    norms = []
    for slot in SLOTS:
        ids = torch.tensor([slot.ids(TEXT)])
        with torch.no_grad():
            now, before = (found(ids, output_hidden_states=True).hidden_states[1] for found in (unlearned, original))
        norms.append((now - before)[0, -len(slot.answer) :].norm(dim=-1).mean().item())
    assert loss(layers=[1], distance="absolute") - without == pytest.approx(sum(norms) / 2, rel=1e-4)


@pytest.mark.parametrize("prompts", [[], [1, 1], [-1], 0])
def test_a_list_of_questions_names_each_once(prompts: list[int] | int) -> None:
    with pytest.raises(ValidationError, match="prompts"):
        EnhancedGcgParams(prompts=prompts)


def test_listed_questions_are_those_of_the_attackers_half_in_order(target: Target) -> None:
    halves = forget_halves(target.benchmark)
    rows = attacked_rows(target.benchmark, halves)
    facts = list(dict.fromkeys(row.fact for row in rows))
    params = EnhancedGcgParams(prompts=[2, 0])
    assert params.forget_facts == 3
    assert [row.fact for row in searched_rows(target, halves, params)] == [facts[2], facts[0]]
    with pytest.raises(AttackError, match=f"prompts names question {len(facts)}, and the attacker's half has"):
        searched_rows(target, halves, EnhancedGcgParams(prompts=[len(facts)]))
