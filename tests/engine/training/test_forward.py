"""Logits at supervised positions. Oracle: the model's own full logits, one unpadded row at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from unlearn_sweep.engine.training import forward
from unlearn_sweep.engine.training.forward import Outputs, SupervisedLM, pack
from unlearn_sweep.engine.training.training_views import Item
from unlearn_sweep.evaluators.model_parts import decoder_layers
from unlearn_sweep.evaluators.rows import Example
from unlearn_sweep.methods.logit_sizes import Logits
from unlearn_sweep.methods.token_losses import token_nll

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SPECIAL: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


class TiedByHand(LlamaForCausalLM):
    """A model that does not call its output embedding: it multiplies by the input embedding itself."""

    def forward(self, input_ids: Tensor, **options: object) -> object:  # type: ignore[override]
        hidden = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
        return type("Output", (), {"logits": hidden @ self.model.embed_tokens.weight.T})()


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SIZES, **SPECIAL))


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64, **SPECIAL))


def gemma2_with_soft_caps() -> PreTrainedModel:
    caps: dict[str, Any] = {
        "final_logit_softcapping": 0.5,
        "sliding_window": 4,
        "num_key_value_heads": 1,
        "head_dim": 16,
    }
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, **SPECIAL, **caps))


def tied_by_hand() -> PreTrainedModel:
    return TiedByHand(LlamaConfig(**SIZES, **SPECIAL))


def made_up_items(count: int, *, shortest_prompt: int = 1) -> list[Item]:
    draw = random.Random(count)

    def tokens(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(3, 64), k=draw.randint(least, most)))

    pairs = [(tokens(shortest_prompt, 6), tokens(1, 8)) for _ in range(count)]
    return [
        Item(("view", number, 0), Example(row_id=str(number), prompt_ids=prompt, answer_ids=answer))
        for number, (prompt, answer) in enumerate(pairs)
    ]


def rows_one_by_one(model: nn.Module, items: list[Item]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets and row numbers of all answer tokens, each row by itself, with an attention mask of ones."""
    logits, targets, rows = [], [], []
    for number, item in enumerate(items):
        ids = torch.tensor([[*item.example.prompt_ids, *item.example.answer_ids]])
        first = max(1, len(item.example.prompt_ids))
        logits.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, first - 1 : -1])
        targets.append(ids[0, first:])
        rows.append(torch.full((ids.shape[1] - first,), number))
    return torch.cat(logits), torch.cat(targets), torch.cat(rows)


@pytest.mark.parametrize("build", [llama, gpt2, gemma2_with_soft_caps, tied_by_hand])
def test_same_logits_as_row_by_row(build: Callable[[], PreTrainedModel]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    items = made_up_items(7)
    expected, targets, rows = rows_one_by_one(model, items)
    packed = pack({"a": items[:4], "b": items[4:]}, CPU)
    logits = SupervisedLM(model)(packed.input_ids, packed.positions)[0]
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    assert packed.targets.equal(targets)
    a, b = (packed.supervised(view, Outputs(logits=logits)) for view in ("a", "b"))
    assert (a.sequences, b.sequences) == (4, 3)
    assert torch.cat([a.sequence, b.sequence + 4]).equal(rows)
    assert torch.cat([a.logits, b.logits]).equal(logits)


def test_only_supervised_positions_reach_the_output_embedding() -> None:
    model, items = llama().eval(), made_up_items(5)
    seen: list[tuple[int, ...]] = []
    module = SupervisedLM(model)
    head = model.get_output_embeddings()
    assert head is not None
    head.register_forward_hook(lambda _, inputs, output: seen.append(tuple(output.shape)))
    packed = pack({"a": items}, CPU)
    module(packed.input_ids, packed.positions)[0]
    assert seen == [(1, sum(len(item.example.answer_ids) for item in items), 64)]


def test_the_wrapped_model_still_gives_full_logits_to_others() -> None:
    model = llama().eval()
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    module = SupervisedLM(model)
    packed = pack({"a": made_up_items(3)}, CPU)
    module(packed.input_ids, packed.positions)[0]
    assert model(input_ids=ids).logits.equal(before)


@pytest.mark.parametrize("build", [llama, gpt2])
def test_padding_changes_nothing(build: Callable[[], PreTrainedModel]) -> None:
    model, items = build().eval(), made_up_items(6)
    module = SupervisedLM(model)
    short = pack({"a": items}, CPU)
    height, width = short.input_ids.shape
    padded = torch.cat([short.input_ids, torch.full((height, 9), 63)], dim=1)
    positions = short.positions // width * (width + 9) + short.positions % width
    torch.testing.assert_close(
        module(padded, positions), module(short.input_ids, short.positions), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("logits", ["whole", "chunks"])
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("build", [llama, gpt2, gemma2_with_soft_caps, tied_by_hand])
def test_rows_in_groups_of_like_length_give_the_same(
    monkeypatch: pytest.MonkeyPatch, build: Callable[[], PreTrainedModel], head: bool, logits: Logits
) -> None:
    """Oracle: one pass over all rows; logits, hidden states and gradients of all weights."""
    monkeypatch.setattr(forward, "pass_places", lambda model: 0)
    torch.manual_seed(0)
    model, found, fed = build().eval(), [], []
    packed = pack({"a": made_up_items(7)}, CPU)
    module = SupervisedLM(model, layers=(1,), head=head, logits=logits)
    model.get_input_embeddings().register_forward_hook(lambda _, ids, out: fed.append(ids[0].numel()))
    for module.by_length in (False, True):
        module.outputs(packed)  # compares a head that computes chunks
        fed.clear()
        outputs = module.outputs(packed)
        states = outputs.hidden[1]
        value = states.square().sum()
        if head:
            value = value + token_nll(outputs.logits, packed.targets).sum()
        found.append((states, value, torch.autograd.grad(value, list(model.parameters()), allow_unused=True)))
        if build is tied_by_hand and head:
            assert sum(fed) == packed.input_ids.numel()
        elif module.by_length:
            assert sum(fed) == packed.tokens < packed.input_ids.numel()
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_embedding_s_gradient_by_rows_is_the_same(tied: bool) -> None:
    """Oracle: the dense gradient of the embedding and the head together."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **SPECIAL, tie_word_embeddings=tied))
    module, packed, found = SupervisedLM(model), pack({"a": made_up_items(7)}, CPU), []
    seen: list[bool] = []
    model.get_input_embeddings().register_forward_hook(lambda layer, *_: seen.append(bool(layer.sparse)))
    for module.sparse_rows in (False, True):
        model.zero_grad()
        for _ in range(2):  # gradients of two micro-batches add up
            token_nll(module.outputs(packed).logits, packed.targets).sum().backward()
        found.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    assert not any(gradient.is_sparse for gradient in found[1])
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)
    assert seen == [False, False, tied, tied]
    assert not model.get_input_embeddings().sparse


def test_a_row_without_prompt_starts_at_its_second_token() -> None:
    model, items = llama().eval(), made_up_items(6, shortest_prompt=0)
    assert any(not item.example.prompt_ids for item in items)
    items = [item for item in items if item.supervised]
    expected, targets, _ = rows_one_by_one(model, items)
    packed = pack({"a": items}, CPU)
    torch.testing.assert_close(
        SupervisedLM(model)(packed.input_ids, packed.positions)[0], expected, rtol=1e-5, atol=1e-6
    )
    assert packed.targets.equal(targets)


def test_no_rows_give_a_zero_gradient_to_every_weight() -> None:
    model = llama()
    packed = pack({"a": [], "b": []}, CPU)
    logits = SupervisedLM(model)(packed.input_ids, packed.positions)[0]
    assert (logits.shape, packed.tokens, packed.supervised("b", Outputs(logits=logits)).sequences) == ((0, 64), 0, 0)
    logits.sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_autocast_gives_float32_logits_near_the_exact_ones() -> None:
    torch.manual_seed(0)
    model, packed = llama().eval(), pack({"a": made_up_items(4)}, CPU)
    exact = SupervisedLM(model)(packed.input_ids, packed.positions)[0]
    rounded = SupervisedLM(model, autocast=torch.bfloat16)(packed.input_ids, packed.positions)[0]
    assert rounded.dtype == torch.float32
    assert not rounded.equal(exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("build", [llama, gpt2, gemma2_with_soft_caps])
def test_hidden_states_are_those_of_transformers(build: Callable[[], PreTrainedModel]) -> None:
    """Oracle: output_hidden_states of the model, row by row (its last entry is behind the final norm)."""
    torch.manual_seed(0)
    model, items = build().eval(), made_up_items(5)
    packed = pack({"a": items}, CPU)
    outputs = SupervisedLM(model, layers=(0, 1)).outputs(packed)
    found = []
    for item in items:
        prompt, answer = item.example.prompt_ids, item.example.answer_ids
        ids = torch.tensor([[*prompt, *answer[:-1]]])
        states = model(input_ids=ids, output_hidden_states=True).hidden_states[1][0]
        found.append(states[max(0, len(prompt) - 1) :])
    torch.testing.assert_close(outputs.hidden[0], torch.cat(found), rtol=1e-5, atol=1e-6)


def test_a_headless_forward_stops_at_its_layer_and_gives_the_same_states() -> None:
    torch.manual_seed(0)
    model, packed = llama().eval(), pack({"a": made_up_items(5)}, CPU)
    whole = SupervisedLM(model, layers=(0,)).outputs(packed).hidden[0]
    ran: list[int] = []
    for number, block in enumerate(decoder_layers(model)):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    outputs = SupervisedLM(model, layers=(0,), head=False).outputs(packed)
    torch.testing.assert_close(outputs.hidden[0], whole, rtol=0, atol=0)
    assert ran == [0]
    assert outputs.logits.shape == (len(packed.targets), 0)
    assert model.config.num_hidden_layers == len(decoder_layers(model))
