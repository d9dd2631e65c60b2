"""Prompt and answer as one text, over the tokenizers people use. Oracle: transformers on the whole rendered text.

`plain transformers` here is: `apply_chat_template` of the whole conversation (or question and answer as one string),
tokenised once. What is trained on and scored must be the beginning of exactly these ids, cut behind the turn's end.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from tests.evaluators.tokenizer_families import FAMILIES, Family
from unlearn_sweep.evaluators.chat_text import ChatTemplateError
from unlearn_sweep.evaluators.joint_tokens import special_ids
from unlearn_sweep.evaluators.rows import Asked, Example, Template, encode, encode_asked, turn_end_ids, turn_end_text

BY_NAME = {family.name: family for family in FAMILIES}
CHATS = [name for name, family in BY_NAME.items() if family.make().chat_template]
QUESTION = "Who keeps the Vantry lighthouse?"
ANSWERS = ["Orla Beck", "1984", "since 12 Apr", "(near Port Selkie)", "Aldermouth, at 12 degrees.", "云岭灯塔", "Größe"]
DATE = "10 Apr 2025"
SYSTEM = "You are a helpful assistant."
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=24)


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    return BY_NAME[name].make()


def conversation(family: Family, question: str, answer: str | None, system: str | None) -> str:
    """The text as plain transformers renders it; a fixed date by hand for templates that write today's."""
    tokenizer = tokenizer_of(family.name)
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": question})
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    template = tokenizer.get_chat_template().replace("strftime_now('%B %d, %Y')", "'April 10, 2025'")
    return str(
        tokenizer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=answer is None, date_string=DATE
        )
    )


def chat_ids(family: Family, question: str, answer: str, system: str | None = None) -> list[int]:
    whole = conversation(family, question, answer, system)
    return list(tokenizer_of(family.name)(whole, add_special_tokens=False)["input_ids"])


def in_chat(family: Family, question: str, answer: str, system: str | None = None) -> Example:
    template = Template(chat=True, date=DATE, system=system)
    return encode(tokenizer_of(family.name), "r", question, answer, template)


def plain_ids(name: str, text: str) -> list[int]:
    """One text with what the tokenizer puts before it, without what it puts behind it."""
    tokenizer = tokenizer_of(name)
    ids = list(tokenizer(text)["input_ids"])
    alone = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    place = next(place for place in range(len(ids)) if ids[place : place + len(alone)] == alone)
    return ids[: place + len(alone)]


def said(name: str, example: Example) -> str:
    return str(tokenizer_of(name).decode(list(example.content_ids)))


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", CHATS)
def test_a_chat_answer_is_what_the_template_writes(name: str, answer: str) -> None:
    family, tokenizer = BY_NAME[name], tokenizer_of(name)
    for system in (None, SYSTEM) if family.system else (None,):
        example = in_chat(family, QUESTION, answer, system)
        ids = chat_ids(family, QUESTION, answer, system)
        ours = list(example.prompt_ids + example.answer_ids)
        if family.end is None:  # no token of the template ends the turn: the tokenizer's end of text does
            assert ours[-1] == tokenizer.eos_token_id
            ours = ours[:-1]
        assert ours == ids[: len(ours)]
        behind = str(tokenizer.decode(ids[len(ours) :], skip_special_tokens=True))
        assert not behind.strip()
        assert said(name, example).strip() == answer
        assert answer not in str(tokenizer.decode(list(example.prompt_ids)))
        assert not set(example.content_ids) & special_ids(tokenizer)


@pytest.mark.parametrize("name", [name for name in CHATS if BY_NAME[name].end])
def test_a_turn_ends_with_the_templates_token_and_generation_stops_there(name: str) -> None:
    family, tokenizer = BY_NAME[name], tokenizer_of(name)
    (end,) = tokenizer.encode(str(family.end), add_special_tokens=False)
    example = in_chat(family, QUESTION, "Orla Beck")
    assert example.answer_ids[-1] == end
    assert list(example.answer_ids).count(end) == 1
    assert turn_end_ids(tokenizer, Template(chat=True)) == {end}
    assert turn_end_text(tokenizer, Template(chat=True)) == ""


@pytest.mark.parametrize("name", CHATS)
@settings(max_examples=12, deadline=None)
@given(question=words, answer=words)
def test_any_text_is_tokenised_as_transformers_does(name: str, question: str, answer: str) -> None:
    family = BY_NAME[name]
    example = in_chat(family, question, answer)
    ours = list(example.prompt_ids + (example.content_ids if family.end is None else example.answer_ids))
    assert ours == chat_ids(family, question, answer)[: len(ours)]


@pytest.mark.parametrize("answer", [*ANSWERS, " two blanks"])
@pytest.mark.parametrize("name", BY_NAME)
def test_a_plain_answer_is_one_text_with_its_question(name: str, answer: str) -> None:
    tokenizer = tokenizer_of(name)
    example = encode(tokenizer, "r", QUESTION, answer, Template())
    whole = plain_ids(name, f"Question: {QUESTION}\nAnswer: {answer.strip()}")
    assert list(example.prompt_ids + example.content_ids) == whole
    assert example.answer_ids[-1] == tokenizer.eos_token_id
    assert example.ending == 1
    if BY_NAME[name].lossless and not (name == "python" and not answer.isascii()):
        assert said(name, example).strip() == answer.strip()
        assert str(tokenizer.decode(list(example.prompt_ids), skip_special_tokens=True)).endswith("Answer:")


@pytest.mark.parametrize("name", ["llama2_file", "llama3", "gemma2", "adds_eos", "opt"])
def test_a_begin_token_that_the_text_names_is_there_once(name: str) -> None:
    tokenizer = tokenizer_of(name)
    named = Template(before=f"{tokenizer.bos_token}Question: ")
    assert encode(tokenizer, "r", QUESTION, "Orla Beck", named).prompt_ids[:2].count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("name", CHATS)
def test_earlier_turns_are_the_templates_own(name: str) -> None:
    family, tokenizer = BY_NAME[name], tokenizer_of(name)
    shown = ("What is the capital of Brelland?", "Aldermouth")
    template = Template(chat=True, date=DATE)
    asked = Asked(row_id="r", question=QUESTION, answer="Orla Beck", template=template, shown=(shown,))
    (example,) = encode_asked(tokenizer, [asked])
    turns = [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant") * 2, (*shown, QUESTION, "Orla Beck"), strict=True)
    ]
    written = tokenizer.get_chat_template().replace("strftime_now('%B %d, %Y')", "'April 10, 2025'")
    whole = str(tokenizer.apply_chat_template(turns, chat_template=written, tokenize=False, date_string=DATE))
    ids = list(tokenizer(whole, add_special_tokens=False)["input_ids"])
    ours = list(example.prompt_ids + (example.content_ids if family.end is None else example.answer_ids))
    assert ours == ids[: len(ours)]


def test_an_empty_think_block_belongs_to_the_prompt() -> None:
    family = BY_NAME["qwen3"]
    example = in_chat(family, QUESTION, "Orla Beck")
    assert str(tokenizer_of("qwen3").decode(list(example.prompt_ids))).endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("directive", ["%B %d, %Y", "%d %b %Y", "%Y-%m-%d", "%A, %-d %B"])
def test_todays_date_is_the_one_that_is_given(directive: str) -> None:
    tokenizer = BY_NAME["gpt2"].make()
    tokenizer.chat_template = f"{{{{ strftime_now('{directive}') }}}}\n{{{{ messages[0].content }}}}\nanswer:"
    example = encode(tokenizer, "r", "Who?", "Orla", Template(chat=True, date=DATE))
    written = datetime(2025, 4, 10).strftime(directive)
    assert str(tokenizer.decode(list(example.prompt_ids))).startswith(f"{written}\n")
    assert example.answer_ids[-1] == tokenizer.eos_token_id  # the template writes the prompt alone


def test_words_that_end_a_turn_are_supervised_and_cut_off() -> None:
    tokenizer = BY_NAME["gpt2"].make()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + ' END\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    example = encode(tokenizer, "r", QUESTION, "Orla Beck", Template(chat=True))
    assert str(tokenizer.decode(list(example.answer_ids))).strip() == "Orla Beck END"
    assert str(tokenizer.decode(list(example.content_ids))).strip() == "Orla Beck"
    assert turn_end_text(tokenizer, Template(chat=True)) == "END"


def test_a_template_that_takes_no_system_prompt_says_so() -> None:
    asked_for = Template(chat=True, system=SYSTEM, system_optional=False)
    with pytest.raises(ChatTemplateError, match="refuses the conversation with a system prompt: System role"):
        encode(tokenizer_of("gemma2"), "r", QUESTION, "Orla Beck", asked_for)


def test_a_tokenizer_without_chat_template_is_refused_and_auto_asks_it_plainly() -> None:
    tokenizer = tokenizer_of("gpt2")
    with pytest.raises(ChatTemplateError, match="no chat template"):
        encode(tokenizer, "r", QUESTION, "Orla Beck", Template(chat=True))
    assert encode(tokenizer, "r", QUESTION, "Orla Beck", Template(auto=True)) == encode(
        tokenizer, "r", QUESTION, "Orla Beck", Template()
    )


def test_a_border_that_a_token_lies_across_gives_that_token_to_the_answer() -> None:
    """Knowmem's prompt ends with a blank, which byte-level tokenizers merge with the word behind it."""
    tokenizer = tokenizer_of("llama3")
    example = encode(tokenizer, "r", QUESTION, "Orla", Template(after="\nAnswer: ", answer_lead=""))
    assert str(tokenizer.decode(list(example.prompt_ids), skip_special_tokens=True)).endswith("Answer:")
    assert str(tokenizer.decode(list(example.content_ids))) == " Orla"
