"""Likelihood with gradients, and as numbers, against the library's own loss; and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaForCausalLM, PreTrainedModel

from unlearn_sweep.evaluators.attacks import answer_likelihood
from unlearn_sweep.evaluators.attacks.answer_likelihood import answer_nll, collate, token_nll
from unlearn_sweep.evaluators.rows import Example

CPU = torch.device("cpu")
ids = st.lists(st.integers(0, 300), min_size=1, max_size=9).map(tuple)


def one_by_one(model: PreTrainedModel, example: Example) -> float:
    """Oracle: one unpadded sequence, all logits, the library's own loss over labels masked by hand."""
    tokens = torch.tensor([[*example.prompt_ids, *example.answer_ids]])
    labels = torch.tensor([[-100] * len(example.prompt_ids) + list(example.answer_ids)])
    with torch.no_grad():
        return float(model(tokens, labels=labels).loss)


@settings(max_examples=25, deadline=None)
@given(pairs=st.lists(st.tuples(ids, ids), min_size=1, max_size=5), batch_tokens=st.integers(1, 60))
def test_batched_nll_equals_the_library_loss_one_by_one(
    original: LlamaForCausalLM, pairs: list[tuple[tuple[int, ...], tuple[int, ...]]], batch_tokens: int
) -> None:
    examples = [Example(row_id=str(i), prompt_ids=p, answer_ids=a) for i, (p, a) in enumerate(pairs)]
    expected = torch.tensor([one_by_one(original, example) for example in examples])
    found = torch.tensor(answer_nll(original, examples, batch_tokens=batch_tokens))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_what_a_model_does_to_its_logits_after_the_head_is_kept() -> None:
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        model = Gemma2ForCausalLM(config).eval()
    example = Example(row_id="a", prompt_ids=(3, 4, 5), answer_ids=(6, 7))
    expected = pytest.approx(one_by_one(model, example), abs=1e-5)
    assert answer_nll(model, [example]) == [expected]
    assert float(token_nll(model, collate([example], CPU)).mean().detach()) == expected


def test_token_nll_has_one_value_a_supervised_token(original: LlamaForCausalLM) -> None:
    examples = [
        Example(row_id="a", prompt_ids=(3, 4), answer_ids=(6, 7, 8)),
        Example(row_id="b", prompt_ids=(3,), answer_ids=(9,)),
    ]
    batch = collate(examples, CPU)
    logits = original(torch.tensor([[3, 4, 6, 7, 8]])).logits[0, 1:4]
    expected = functional.cross_entropy(logits, torch.tensor([6, 7, 8]), reduction="none")
    torch.testing.assert_close(token_nll(original, batch)[:3], expected, atol=2e-5, rtol=1e-4)
    assert batch.predicts.tolist() == [[False, True, True, True], [True, False, False, False]]


def test_rows_in_groups_of_like_length_have_the_same_values_and_gradients(
    original: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: one pass over all rows."""
    rows = [((3, 4), (6, 7, 8, 9, 10)), ((3,), (9,)), ((5, 6, 7), (8,)), ((3, 4), (5, 6, 7, 8, 9))]
    batch = collate([Example(row_id="", prompt_ids=prompt, answer_ids=answer) for prompt, answer in rows], CPU)
    weights, found, passes = list(original.parameters()), [], []
    hook = original.model.register_forward_hook(lambda *_: passes.append(1))
    for cost in (1e9, 0.0):
        monkeypatch.setattr(answer_likelihood, "pass_places", lambda model, cost=cost: cost)
        with torch.enable_grad():
            values = token_nll(original, batch)
            found.append((values, torch.autograd.grad(values.sum(), weights)))
    hook.remove()
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)
    assert len(passes) == 1 + 3  # rows of 6, 1 and 3 tokens


@pytest.mark.parametrize(("prompt", "answer", "side"), [((), (1,), "prompt"), ((1,), (), "answer")])
def test_an_empty_side_is_an_error_not_a_nan(prompt: tuple[int, ...], answer: tuple[int, ...], side: str) -> None:
    with pytest.raises(ValueError, match=f"'r' has an empty {side}"):
        collate([Example(row_id="r", prompt_ids=prompt, answer_ids=answer)], CPU)
