"""The suffix search against exhaustive search, plain autograd and the text itself. All strings here are harmless."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import Metaspace
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators.attacks.toy_world import decoded, make_model
from unlearn_sweep.evaluators.attacks import gcg
from unlearn_sweep.evaluators.attacks.adversarial_text import Slot, forbidden_tokens, token_slot
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll
from unlearn_sweep.evaluators.attacks.attack import AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.attacks.forget_halves import attacked_rows, different_facts, forget_halves
from unlearn_sweep.evaluators.attacks.gcg import (
    AnswerObjective,
    answer_search,
    read_before,
    slot_losses,
    text_gradient,
)
from unlearn_sweep.evaluators.attacks.gcg_params import GcgParams
from unlearn_sweep.evaluators.attacks.text_search import replacements
from unlearn_sweep.evaluators.rows import Example, Template, encode

SMALL = {"suffix_tokens": 4, "search_width": 16, "prompts": 2, "top_k": 32}
SLOTS = (
    Slot(question="a", before=(5, 9), behind=(13,), answer=(40, 41, 1)),
    Slot(question="b", before=(7,), behind=(13, 14), answer=(42, 1)),
)


@settings(deadline=None)
@given(n=st.integers(1, 5), width=st.integers(1, 40), top_k=st.integers(1, 9), seed=st.integers(0, 50), data=st.data())
def test_candidates_differ_in_one_allowed_place_and_never_repeat(
    n: int, width: int, top_k: int, seed: int, data: st.DataObject
) -> None:
    banned = data.draw(st.sets(st.integers(0, 7), max_size=8))
    scores = torch.rand(n, 8, generator=torch.Generator().manual_seed(seed))
    scores[:, sorted(banned)] = float("-inf")
    suffix = tuple(i % 8 for i in range(n))
    rows = replacements(suffix, scores, width=width, top_k=top_k, generator=torch.Generator().manual_seed(seed))
    assert len(rows) == len(set(rows)) <= width
    for row in rows:
        ((place, token),) = [(i, new) for i, (new, old) in enumerate(zip(row, suffix, strict=True)) if new != old]
        assert token not in banned
        better = [other for other in range(8) if other not in banned and scores[place, other] > scores[place, token]]
        assert len(better) < top_k
    if len(banned) == 8:
        assert rows == []


def test_losses_equal_the_answer_likelihood_of_the_whole_prompt(original: LlamaForCausalLM) -> None:
    suffixes = [(20, 21), (30, 31), (20, 31)]
    expected = []
    for suffix in suffixes:
        examples = [
            Example(row_id=slot.question, prompt_ids=(*slot.before, *suffix, *slot.behind), answer_ids=slot.answer)
            for slot in SLOTS
        ]
        expected.append(sum(answer_nll(original, examples)) / 2)
    for batch_tokens in (1, 20, 4096):
        found = AnswerObjective(original, SLOTS, batch_tokens=batch_tokens).losses(suffixes)
        assert found == pytest.approx(expected, abs=1e-5)


def test_reading_what_stands_before_once_changes_no_loss(original: LlamaForCausalLM) -> None:
    """Oracle: whole sequences without a cache; texts of different lengths, and the cache is used more than once."""
    texts = [(20,), (30, 31, 32), (20, 31)]
    for slot in SLOTS:
        read = read_before(original, slot)
        assert read is not None
        for batch_tokens in (1, 4096):
            plain = slot_losses(original, slot, texts, None, batch_tokens=batch_tokens)
            torch.testing.assert_close(
                slot_losses(original, slot, texts, read, batch_tokens=batch_tokens), plain, atol=1e-5, rtol=1e-5
            )
        assert read.get_seq_length() == len(slot.before)


@pytest.mark.parametrize("cost", [0, 3, 1e9])
def test_reading_a_common_beginning_once_changes_no_loss(
    original: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, cost: float
) -> None:
    """Oracle: whole sequences without a cache. Texts change in one place, are equal, or have another length."""
    monkeypatch.setattr(gcg, "pass_places", lambda model: cost)
    base = (20, 21, 22, 23, 24)
    texts = [(*base[:place], 40 + place, *base[place + 1 :]) for place in (0, 1, 1, 2, 4, 4)]
    texts += [base, (20, 21, 22), (*base, 30), (50, 51)]
    fed: list[int] = []
    for slot in (*SLOTS, replace(SLOTS[0], behind=())):
        read = read_before(original, slot)
        assert read is not None
        fed.clear()
        hook = original.model.embed_tokens.register_forward_hook(lambda _, ids, out: fed.append(ids[0].numel()))
        found = slot_losses(original, slot, texts, read, batch_tokens=4096)
        hook.remove()
        plain = slot_losses(original, slot, texts, None, batch_tokens=4096)
        torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
        assert read.get_seq_length() == len(slot.before)
        together = len(texts) * max(len(slot.after(text)) for text in texts)
        assert sum(fed) < together if cost < 1e9 else sum(fed) == together + len(base)


def test_nothing_before_the_text_is_read_with_it(original: LlamaForCausalLM) -> None:
    assert read_before(original, replace(SLOTS[0], before=())) is None


def test_gradient_ranks_replacements_like_the_one_hot_gradient(original: LlamaForCausalLM) -> None:
    """Oracle: autograd by a one-hot matrix over the vocabulary, one unpadded sequence at a time."""
    suffix = torch.tensor([20, 21, 22])
    weight = original.model.embed_tokens.weight.detach()
    one_hot = functional.one_hot(suffix, len(weight)).float().requires_grad_(True)
    total = torch.zeros(())
    for slot in SLOTS:
        parts = [weight[list(slot.before)], one_hot @ weight, weight[[*slot.behind, *slot.answer[:-1]]]]
        logits = original(inputs_embeds=torch.cat(parts)[None]).logits[0, -len(slot.answer) :]
        total = total + functional.cross_entropy(logits, torch.tensor(slot.answer)) / len(SLOTS)
    (expected,) = torch.autograd.grad(total, [one_hot])
    gradient, loss = text_gradient(original, SLOTS, suffix)
    torch.testing.assert_close(gradient @ weight.T, expected, atol=1e-5, rtol=1e-3)
    assert loss == pytest.approx(float(total.detach()), abs=1e-5)


def test_one_step_over_everything_finds_the_best_single_replacement(target: Target) -> None:
    """Oracle: every allowed, stable replacement of a one-place suffix, scored one after the other from its text."""
    params = GcgParams(suffix_tokens=1, search_width=20000, top_k=5000, prompts=2, target_tokens=3)
    rows = different_facts(attacked_rows(target.benchmark, forget_halves(target.benchmark)), 2, seed=target.seed)
    search = answer_search(target, params, rows)
    start = search.current.ids
    forbidden = forbidden_tokens(target.tokenizer, target.model, ascii_only=True)
    everything = {
        (*start[:place], token, *start[place + 1 :])
        for place in range(len(start))
        for token in range(len(forbidden))
        if not forbidden[token]
    } - {start}
    stable = search.texts.read_back_unchanged(sorted(everything))
    search.step()
    losses = {suffix: search.loss_of_text(search.texts.text(suffix)) for suffix in stable}
    assert search.scored == len(stable) > 100
    assert search.best.loss == pytest.approx(min(losses.values()), abs=1e-5)
    assert losses[search.best.ids] == pytest.approx(search.best.loss, abs=1e-5)


def test_best_loss_only_falls_and_is_the_loss_of_the_text(target: Target) -> None:
    states = list(build("gcg", {**SMALL, "steps": [1, 3, 8]}).run(target))
    notes = [state.notes for state in states if state.notes is not None]
    best = [note["loss_best"] for note in notes]
    assert best == sorted(best, reverse=True)
    assert best[-1] < notes[0]["loss_first"]
    for note in notes:
        assert note["loss_rescored_from_text"] == pytest.approx(note["loss_best"], abs=1e-3)
    assert {state.scored_groups for state in states} == {forget_halves(target.benchmark).scored}


def test_no_steps_are_no_attack(target: Target) -> None:
    (state,) = build("gcg", {**SMALL, "steps": 0}).run(target)
    assert state.prompt_edit is None
    assert state.model is target.model


@pytest.mark.parametrize("fixture", ["target", "chat_target"])
def test_the_edit_is_the_question_with_the_text_tokenised_anew(fixture: str, request: pytest.FixtureRequest) -> None:
    setting: Target = request.getfixturevalue(fixture)
    (state,) = build("gcg", {**SMALL, "steps": 2}).run(setting)
    assert state.prompt_edit is not None
    texts = set()
    for row in [*setting.benchmark.evaluation["forget"], *setting.benchmark.evaluation["retain"]]:
        example = encode(setting.tokenizer, row.row_id, row.question, row.answer, setting.benchmark.template)
        edited = state.prompt_edit(example)
        assert edited is not None
        before, _, behind = decoded(setting, example.prompt_ids).partition(row.question)
        written = decoded(setting, edited.prompt_ids)
        suffix = written.removeprefix(before + row.question).removesuffix(behind)
        texts.add(suffix)
        asked = encode(setting.tokenizer, row.row_id, row.question + suffix, row.answer, setting.benchmark.template)
        assert edited == asked
    (text,) = texts
    assert text.isascii()
    assert text.isprintable()
    assert text.strip()


@pytest.mark.parametrize("fixture", ["target", "chat_target"])
def test_a_prefix_stands_before_the_question_and_is_tokenised_anew(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    setting: Target = request.getfixturevalue(fixture)
    params = GcgParams.model_validate({**SMALL, "place": "prefix", "steps": 3})
    rows = different_facts(attacked_rows(setting.benchmark, forget_halves(setting.benchmark)), 2, seed=5)
    search = answer_search(setting, params, rows)
    for _ in range(3):
        search.step()
    assert search.best.loss < search.first.loss
    assert search.loss_of_text(search.text()) == pytest.approx(search.best.loss, abs=1e-3)
    (state,) = build("gcg", params.model_dump()).run(setting)
    row = setting.benchmark.evaluation["forget"][0]
    template = setting.benchmark.template
    assert state.prompt_edit is not None
    asked = encode(setting.tokenizer, row.row_id, f"{search.text()} {row.question}", row.answer, template)
    assert state.prompt_edit(encode(setting.tokenizer, row.row_id, row.question, row.answer, template)) == asked


def test_special_and_unprintable_tokens_are_forbidden(target: Target) -> None:
    mask = forbidden_tokens(target.tokenizer, target.model, ascii_only=True)
    for token in range(len(target.tokenizer)):
        text = decoded(target, [token])
        assert bool(mask[token]) == (token in (0, 1) or not text.strip() or not (text.isascii() and text.isprintable()))
    wider = forbidden_tokens(target.tokenizer, target.model, ascii_only=False)
    assert int(wider.sum()) < int(mask.sum())


def test_a_tokenizer_that_drops_a_leading_space_still_gets_its_suffix_back(target: Target) -> None:
    """Metaspace tokenizers (Llama 2 and its like) decode a suffix alone without the space before it."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = Metaspace()
    rows = target.benchmark.train["forget"]
    texts = ["Question:", "\nAnswer:", *(row.question for row in rows), *(row.answer for row in rows)]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "</s>"], show_progress=False)
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    setting = replace(target, tokenizer=tokenizer, model=make_model(len(tokenizer), seed=1))
    (state,) = build("gcg", {**SMALL, "steps": 3}).run(setting)
    assert decoded(setting, tokenizer.encode(" x x", add_special_tokens=False)) == "x x"
    assert state.notes is not None
    assert state.notes["candidates_scored"] > 0
    assert state.notes["loss_rescored_from_text"] == pytest.approx(state.notes["loss_best"], abs=1e-3)


def test_a_place_that_the_tokenizer_merges_away_is_refused(target: Target) -> None:
    row = replace(target.benchmark.train["forget"][0], question="What does person 0 lik")
    template = Template(before="", after="", answer_lead=" ")
    with pytest.raises(AttackError, match="merges a suffix with the question's end"):
        token_slot(target.tokenizer, row, template, "e", 3)


def test_a_suffix_needs_as_many_facts_as_asked(target: Target) -> None:
    with pytest.raises(AttackError, match="asks for 9 different facts and may use 6"):
        list(build("gcg", {**SMALL, "prompts": 9}).run(target))
