"""What is asked of a model: question rows, how they become tokens, and how they are halved.

A `Row` is one question with its answer(s). `encode` turns it into an `Example`: prompt ids and answer ids kept apart,
so that what is supervised never depends on how a tokenizer merges across the border.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Half = Literal["search", "report"]
Kind = Literal["question", "continuation", "text", "choice", "quiz", "instruction", "task"]
"""What a row asks: an answer, the rest of a passage, nothing (a text that is only scored), one of some choices, one of
several short answers that are right, anything that fits (there is no reference), or what a task of
lm-evaluation-harness asks; no `Row` is of that last kind, only lines of a table are."""
Form = Literal["trained", "held_out", "in_context"]

CHAT_DATE = "26 Jul 2024"
"""Chat templates that print today's date get this one, so that a prompt is the same tomorrow."""


@dataclass(frozen=True, slots=True)
class Template:
    """How a question becomes a prompt. `chat` uses the tokenizer's own chat template instead of the first two strings.

    `chat_lead` is written behind the chat template's header, as the beginning of the answer. `ends`: the answer closes
    with end-of-text. `document`: where a prompt has no token at all, it is the tokenizer's begin (or end-of-text)
    token, as before a document in pre-training. A generated answer is cut at the first of `stops`, and has at most
    `max_new_tokens` tokens (None: the benchmark's); where `extract`, a regular expression with one group, is found in
    it, that is the answer. Prompt and answer are cut at `max_tokens` in total (None: the
    caller's limit).
    """

    before: str = "Question: "
    after: str = "\nAnswer:"
    answer_lead: str = " "
    chat: bool = False
    chat_lead: str = ""
    ends: bool = True
    document: bool = False
    stops: tuple[str, ...] = ()
    extract: str = ""
    max_new_tokens: int | None = None
    max_tokens: int | None = None

    def prompt(self, question: str) -> str:
        return f"{self.before}{question}{self.after}"

    @property
    def lead(self) -> str:
        """What stands between prompt and answer: nothing behind a chat header, which ends where the answer begins."""
        return "" if self.chat and not self.chat_lead else self.answer_lead


PASSAGE = Template(before="", after="", answer_lead=" ", ends=False, document=True)
"""The rest of a passage after its beginning, as running text."""
DOCUMENT = Template(before="", after="", answer_lead="", ends=False, document=True)
"""A whole text, nothing asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a benchmark: a question with its answer, or, by `kind`, a passage, a text or a multiple choice.

    `group_id` names what must not be parted: halves are drawn by group, so that nothing a row tells is on both sides of
    a split. It is one fact in all its wordings, or more where rows tell of each other: all questions about one author,
    all passages of one document. `fact_id` ("": the group) names the one fact whose wordings share an answer.
    `form` is "trained" where a model saw this wording, "held_out" else, "in_context" where unrelated questions with
    answers stand before it. `template` None: the benchmark's. A choice row has its letters, or whole answers, in
    `choices`, and `answer` is one of them; a quiz row has all right answers in `accepted`.
    """

    row_id: str
    group_id: str
    split: str
    question: str
    answer: str
    form: Form = "trained"
    kind: Kind = "question"
    paraphrased_question: str | None = None
    paraphrased_answer: str | None = None
    perturbed_answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    template: Template | None = None
    fact_id: str = ""

    @property
    def fact(self) -> str:
        """The fact that a row asks for: rows with the same one are wordings of it."""
        return self.fact_id or self.group_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Token ids of one row: the prompt (never supervised) and the answer (all supervised, end-of-text included)."""

    row_id: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


PromptEdit = Callable[[Example], Example | None]
"""Changes what is asked (a prefill, a jailbreak prefix); None drops the row because nothing is left to score."""


def encode(
    tokenizer: PreTrainedTokenizerBase,
    row_id: str,
    question: str,
    answer: str,
    template: Template,
    *,
    max_tokens: int = 512,
) -> Example:
    """Prompt and answer ids of one question, cut at `max_tokens` in total; the answer ends as the template says."""
    text = _prompt_text(tokenizer, question, template)
    prompt_ids = tuple(tokenizer.encode(text, add_special_tokens=not template.chat)) or _opening(tokenizer, template)
    answer_ids = tuple(tokenizer.encode(template.lead + answer, add_special_tokens=False))
    room = max(0, (template.max_tokens or max_tokens) - len(prompt_ids))
    return Example(row_id=row_id, prompt_ids=prompt_ids, answer_ids=(*answer_ids, *_ending(tokenizer, template))[:room])


def encode_many(
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[str, str, str]],
    template: Template | Sequence[Template],
    *,
    max_tokens: int = 512,
) -> list[Example]:
    """`encode` of each (row_id, question, answer), with every distinct text tokenised once.

    `template` holds for all of them, or is one for each.
    """
    templates = [template] * len(asked) if isinstance(template, Template) else list(template)
    pairs = dict.fromkeys((question, own) for (_, question, _), own in zip(asked, templates, strict=True))
    prompts: dict[tuple[str, Template], tuple[int, ...]] = {}
    for chat in (False, True):
        keys = [pair for pair in pairs if pair[1].chat == chat]
        ids = _token_ids(tokenizer, [_prompt_text(tokenizer, *key) for key in keys], special=not chat)
        prompts |= {key: found or _opening(tokenizer, key[1]) for key, found in zip(keys, ids, strict=True)}
    texts = [own.lead + answer for (_, _, answer), own in zip(asked, templates, strict=True)]
    distinct = list(dict.fromkeys(texts))
    answers = dict(zip(distinct, _token_ids(tokenizer, distinct), strict=True))
    examples = []
    for (row_id, question, _), own, text in zip(asked, templates, texts, strict=True):
        prompt = prompts[question, own]
        supervised = (*answers[text], *_ending(tokenizer, own))[: max(0, (own.max_tokens or max_tokens) - len(prompt))]
        examples.append(Example(row_id=row_id, prompt_ids=prompt, answer_ids=supervised))
    return examples


def _prompt_text(tokenizer: PreTrainedTokenizerBase, question: str, template: Template) -> str:
    if not template.chat:
        return template.prompt(question)
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, date_string=CHAT_DATE)
    return str(text) + template.chat_lead


def _opening(tokenizer: PreTrainedTokenizerBase, template: Template) -> tuple[int, ...]:
    """What stands before a text that has no prompt."""
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return next(((found,) for found in ids if isinstance(found, int)), ()) if template.document else ()


def _ending(tokenizer: PreTrainedTokenizerBase, template: Template) -> tuple[int, ...]:
    end = tokenizer.eos_token_id
    return (end,) if template.ends and isinstance(end, int) else ()


def _token_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Any], *, special: bool = False
) -> list[tuple[int, ...]]:
    if not texts:
        return []
    batch = tokenizer(list(texts), add_special_tokens=special, return_attention_mask=False)
    return [tuple(ids) for ids in batch["input_ids"]]


def halves(group_ids: Iterable[str], *, salt: str) -> tuple[frozenset[str], frozenset[str]]:
    """Two halves of the groups, drawn by hash; the first has the odd one. Same groups and salt, same halves."""
    ranked = sorted(set(group_ids), key=lambda group: hashlib.sha256(f"{salt}:{group}".encode()).digest())
    cut = (len(ranked) + 1) // 2
    return frozenset(ranked[:cut]), frozenset(ranked[cut:])


def search_groups(rows: Sequence[Row]) -> frozenset[str]:
    """The groups whose scores the search may see; all others are kept for the report."""
    return halves((row.group_id for row in rows), salt="search")[0]


def relearn_groups(rows: Sequence[Row]) -> frozenset[str]:
    """The groups an attacker gets to see again. Independent of the search half, so each scored quarter is non-empty."""
    return halves((row.group_id for row in rows), salt="relearn")[0]
