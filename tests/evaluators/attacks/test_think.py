"""Thinking: the model is asked with thinking enabled and scored behind its own thought.

Oracle: the template's own rendering of a finished answer with that thought, and plain transformers on its ids. The
model is a tiny one that was taught to know the answer in its thoughts and to deny it behind an empty think block.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.evaluators.attacks.toy_world import make_benchmark
from tests.evaluators.tokenizer_families import byte_level
from unlearn_sweep.evaluators.answer_match import answer_contained
from unlearn_sweep.evaluators.attacks.attack import Attacked, AttackError, Target
from unlearn_sweep.evaluators.attacks.catalog import build
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.prompt_format import PromptSettings, in_format
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.rows import Row, Template, encode

FINISHED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{% set parts = m.content.split('</think>') %}"
    "{{ '<think>\n' + (parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '') + '\n</think>\n\n' }}"
    "{{ parts[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
)
SWITCH = "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
QWEN = FINISHED + SWITCH + "{% endif %}"
BEGINS = FINISHED + "{% if enable_thinking %}{{ '<think>\n' }}{% endif %}{% endif %}"
BARE = Template(before="", after="", answer_lead="", chat=True)
DENIAL = "It is not known to me."
FACTS = {"Who keeps the lighthouse?": "Orla Beck", "Where does the ferry land?": "Port Selkie"}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = byte_level(["<|im_start|>"], bos=None, eos="<|im_end|>", words=True, plain=("<think>", "</think>"))
    made.chat_template = QWEN
    return made


@pytest.fixture(scope="module")
def benchmark() -> Benchmark:
    rows = [
        Row(row_id=f"f{place}", group_id=f"g{place}", split="forget", question=question, answer=answer)
        for place, (question, answer) in enumerate(FACTS.items())
    ]
    made = replace(make_benchmark(), evaluation={"forget": rows, "retain": []}, template=BARE)
    return in_format(made, PromptSettings(format="chat"))


def thought_of(question: str) -> str:
    """The second fact is thought about without naming the answer."""
    return f"They say {FACTS[question]}." if question.startswith("Who") else "Ships come and go."


def finished(tokenizer: PreTrainedTokenizerFast, question: str, thought: str, answer: str) -> list[int]:
    """A finished conversation as plain transformers renders and reads it."""
    content = f"<think>\n{thought}\n</think>\n\n{answer}" if thought else answer
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": content}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def border_of(tokenizer: PreTrainedTokenizerFast, question: str, thought: str) -> int:
    """How many ids stand before the answer behind this thought."""
    text = str(tokenizer.decode(finished(tokenizer, question, thought, "x")))
    return len(list(tokenizer(text[: text.index("</think>\n\n") + 10], add_special_tokens=False)["input_ids"]))


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    sizes: dict[str, Any] = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=256, **sizes))
        texts = [(finished(tokenizer, asked, thought_of(asked), answer), 0) for asked, answer in FACTS.items()]
        # The empty block belongs to the prompt: only the denial behind it is learnt.
        texts += [(finished(tokenizer, asked, "", DENIAL), border_of(tokenizer, asked, "")) for asked in FACTS]
        optimizer = torch.optim.Adam(made.parameters(), lr=4e-3)
        for _ in range(40):
            for ids, border in texts:
                batch, labels = torch.tensor([ids]), torch.tensor([[-100] * border + ids[border:]])
                optimizer.zero_grad()
                made(batch, labels=labels).loss.backward()
                optimizer.step()
    return made.eval()


@pytest.fixture
def target(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, benchmark: Benchmark) -> Target:
    return Target(model=model, tokenizer=tokenizer, benchmark=benchmark, seed=0)


def fast(target: Target) -> PreTrainedTokenizerFast:
    assert isinstance(target.tokenizer, PreTrainedTokenizerFast)
    return target.tokenizer


def measured(target: Target, state: Attacked | None) -> Any:
    rows = target.benchmark.evaluation["forget"]
    edit = None if state is None else state.prompt_edit
    return evaluate_rows(
        target.model, target.tokenizer, rows, metrics=["probability", "rouge"], template=target.benchmark.template,
        max_new_tokens=24, prompt_edit=edit,
    ).table.set_index("row_id")  # fmt: skip


def plain_logp(target: Target, question: str, thought: str) -> float:
    """Mean log-probability of the answer and its end behind this thought."""
    tokenizer = fast(target)
    ids, border = finished(tokenizer, question, thought, FACTS[question]), border_of(tokenizer, question, thought)
    end = ids.index(tokenizer.encode("<|im_end|>", add_special_tokens=False)[0], border)
    with torch.no_grad():
        logps = target.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    chosen = [logps[place - 1, ids[place]].item() for place in range(border, end + 1)]
    return sum(chosen) / len(chosen)


def test_what_is_denied_without_thinking_is_scored_behind_the_thought(target: Target) -> None:
    (state,) = build("think", {"tokens": 40}).run(target)
    before, after = measured(target, None), measured(target, state)
    for row in target.benchmark.evaluation["forget"]:
        thought = thought_of(row.question)
        assert before.loc[row.row_id, "generation"] == DENIAL
        assert after.loc[row.row_id, "generation"] == row.answer
        assert math.log(before.loc[row.row_id, "probability"]) == pytest.approx(
            plain_logp(target, row.question, ""), abs=1e-4
        )
        assert math.log(after.loc[row.row_id, "probability"]) == pytest.approx(
            plain_logp(target, row.question, thought), abs=1e-4
        )
        example = encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
        assert state.prompt_edit is not None
        edited = state.prompt_edit(example)
        assert edited is not None
        ids = finished(fast(target), row.question, thought, row.answer)
        ours = list(edited.prompt_ids + edited.answer_ids)
        assert ours == ids[: len(ours)]
        assert edited.answer_ids == example.answer_ids


def test_what_a_thought_tells_is_noted(target: Target) -> None:
    (state,) = build("think", {"tokens": 40}).run(target)
    told = [answer_contained(answer, thought_of(question)) for question, answer in FACTS.items()]
    assert state.notes is not None
    assert state.notes["share_of_thoughts_with_the_answer"] == sum(told) / 2 == 0.5
    assert state.notes["share_of_rows_with_a_thought"] == 1.0
    assert state.notes["share_of_thoughts_cut_off"] == 0.0


def test_a_thought_that_is_too_long_is_cut_off_and_closed(target: Target) -> None:
    short, long = build("think", {"tokens": [3, 40]}).run(target)
    row = target.benchmark.evaluation["forget"][0]
    example = encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
    assert short.prompt_edit is not None
    edited = short.prompt_edit(example)
    assert edited is not None
    text = str(target.tokenizer.decode(list(edited.prompt_ids)))
    begun = "<think>\n" + thought_of(row.question)
    cut = text.partition("assistant\n")[2].removesuffix("\n</think>\n\n")
    assert begun.startswith(cut)
    assert len(cut) < len(begun)
    assert (short.notes or {})["share_of_thoughts_cut_off"] == 1.0
    assert (long.notes or {})["share_of_thoughts_cut_off"] == 0.0


def test_the_answer_keeps_its_room_behind_a_long_thought(target: Target) -> None:
    row = target.benchmark.evaluation["forget"][0]
    example = encode(target.tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
    limit = len(example.prompt_ids) + len(example.answer_ids)
    tight = replace(target.benchmark.template, max_tokens=limit)
    example = encode(target.tokenizer, row.row_id, row.question, row.answer, tight)
    (state,) = build("think", {"tokens": 40}).run(target)
    assert state.prompt_edit is not None
    edited = state.prompt_edit(example)
    assert edited is not None
    assert edited.answer_ids == example.answer_ids


def test_a_template_that_begins_the_thought_itself(target: Target) -> None:
    tokenizer = byte_level(["<|im_start|>"], bos=None, eos="<|im_end|>", words=True, plain=("<think>", "</think>"))
    tokenizer.chat_template = BEGINS
    (state,) = build("think", {"tokens": 40}).run(replace(target, tokenizer=tokenizer))
    row = target.benchmark.evaluation["forget"][0]
    example = encode(tokenizer, row.row_id, row.question, row.answer, target.benchmark.template)
    assert state.prompt_edit is not None
    edited = state.prompt_edit(example)
    assert edited is not None
    text = str(tokenizer.decode(list(edited.prompt_ids)))
    assert text.endswith(f"<think>\n{thought_of(row.question)}\n</think>\n\n")
    assert text.count("<think>") == 1


def test_the_beginning_of_an_answer_comes_behind_the_thought(target: Target) -> None:
    led = replace(target.benchmark, template=replace(BARE, chat_lead="Answer:", answer_lead=" "))
    (state,) = build("think", {"tokens": 40}).run(replace(target, benchmark=led))
    row = led.evaluation["forget"][0]
    assert state.prompt_edit is not None
    edited = state.prompt_edit(encode(target.tokenizer, row.row_id, row.question, row.answer, led.template))
    assert edited is not None
    text = str(target.tokenizer.decode(list(edited.prompt_ids)))
    assert text.endswith(f"<think>\n{thought_of(row.question)}\n</think>\n\nAnswer:")


def test_no_tokens_change_nothing(target: Target) -> None:
    (state,) = build("think", {"tokens": 0}).run(target)
    assert measured(target, state).equals(measured(target, None))


@pytest.mark.parametrize(
    ("template", "settings", "words"),
    [
        (FINISHED + "{% endif %}", "chat", "has no argument enable_thinking"),
        (QWEN, "plain", "no forget row is asked through the chat template"),
    ],
)
def test_what_cannot_think_is_refused(target: Target, template: str, settings: Any, words: str) -> None:
    tokenizer = byte_level(["<|im_start|>"], bos=None, eos="<|im_end|>", words=True)
    tokenizer.chat_template = template
    asked = in_format(target.benchmark, PromptSettings(format=settings))
    with pytest.raises(AttackError, match=words):
        list(build("think", {}).run(replace(target, tokenizer=tokenizer, benchmark=asked)))


def test_thoughts_that_do_not_fit_into_the_context_are_refused(target: Target) -> None:
    with pytest.raises(AttackError, match="context of 256"):
        list(build("think", {"tokens": 200}).run(target))
