"""What is asked of a model: question rows, and how they become tokens.

A `Row` is one question with its answer(s). `Asked` says as text what is put to a model, and `encode` turns it into an
`Example`: the ids of prompt and answer, tokenised as one text (see `joint_tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from unlearn_sweep.evaluators.chat_text import Rendered, TemplateArgument, chat_text
from unlearn_sweep.evaluators.joint_tokens import Ids, Tokens, Whole, closing_ids, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Kind = Literal["question", "continuation", "text", "choice", "quiz", "instruction", "task"]
"""What a row asks: an answer, the rest of a passage, nothing (a text that is only scored), one of some choices, one of
several short answers that are right, anything that fits (there is no reference), or what a task of
lm-evaluation-harness asks; no `Row` is of that last kind, only lines of a table are."""
Form = Literal["trained", "held_out", "in_context"]

CHAT_DATE = "26 Jul 2024"
"""Chat templates that print today's date get this one, so that a prompt is the same tomorrow."""
MAX_TOKENS = 512
"""Prompt and answer together are cut here where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Template:
    """How a question becomes a prompt: as `before`, question, `after`, or through the tokenizer's chat template.

    `chat`: the question is a user's message, behind `chat_before`, and the answer the assistant's; `chat_lead` is
    written as the beginning of that answer and belongs to the prompt. `auto`: chat where the tokenizer has a chat
    template, plain else (`resolved` decides). `system`, `date` and `arguments` go to the chat template; None: no
    system prompt; `system_optional`: left out where the chat template takes none. `conversation`: the row is a turn of
    one; `turns` is what was asked and answered in it before, and `system` its own, which a plain prompt has, too.

    `answer_lead` stands between a plain prompt (or `chat_lead`) and the answer. `ends`: the answer closes as the
    template ends a turn, or with end-of-text. `document`: where a prompt has no token at all, it is the tokenizer's
    begin (or end-of-text) token, as before a document in pre-training. A generated answer is cut at the first of
    `stops`, and has at most `max_new_tokens` tokens (None: the benchmark's); where `extract`, a regular expression
    with one group, is found in it, that is the answer. Prompt and answer are cut at `max_tokens` in total (None: the
    caller's limit).

    `raw`, for plain prompts: as pipelines do that write a prompt, generate and compare texts. The prompt is tokenised
    alone, a blank at its end included, and the answer apart; a stop counts at the very beginning of an answer too; the
    rest of a passage is compared with as many of its own tokens as may be written, begin-of-text token included.
    """

    before: str = "Question: "
    after: str = "\nAnswer:"
    answer_lead: str = " "
    chat: bool = False
    auto: bool = False
    chat_before: str = ""
    chat_lead: str = ""
    system: str | None = None
    system_optional: bool = True
    date: str = CHAT_DATE
    arguments: tuple[tuple[str, TemplateArgument], ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    conversation: bool = False
    ends: bool = True
    document: bool = False
    raw: bool = False
    stops: tuple[str, ...] = ()
    extract: str = ""
    max_new_tokens: int | None = None
    max_tokens: int | None = None

    def prompt(self, question: str) -> str:
        return f"{self.before}{question}{self.after}"

    def resolved(self, tokenizer: PreTrainedTokenizerBase) -> Template:
        """The template for this tokenizer: `auto` decided, and an optional system prompt taken or left."""
        chat = bool(tokenizer.chat_template) if self.auto else self.chat
        left_out = chat and self.system is not None and self.system_optional
        if left_out and chat_text(tokenizer, self.system, self.date, self.arguments).takes_system(tokenizer):
            left_out = False
        if not self.auto and not left_out:
            return self
        return replace(self, auto=False, chat=chat, system=None if left_out else self.system)

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
    `part` ("": none) names the task, level or kind of probe that a benchmark reports apart, as "level3/role_playing".
    `request` (0: none) numbers the request to forget that a forget row belongs to.
    `form` is "trained" where a model saw this wording, "held_out" else, "in_context" where unrelated questions with
    answers stand before it. `template` None: the benchmark's. A choice row has its letters, or whole answers, in
    `choices`, and `answer` is one of them; a quiz row has all right answers in `accepted`. A `divisible` row is running
    text of any length, which `benchmarks.limits` divides into rows that a model can read.
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
    part: str = ""
    request: int = 0
    divisible: bool = False

    @property
    def stratum(self) -> str:
        """Kind, part and request of the row: halves of a split are drawn so that each has rows of every stratum."""
        return "/".join(str(name) for name in (self.kind, self.part, self.request) if name)

    @property
    def fact(self) -> str:
        """The fact that a row asks for: rows with the same one are wordings of it."""
        return self.fact_id or self.group_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is put to a model, as text; `encode_asked` makes an `Example` of it.

    `shown` are questions with their answers that stand before the question. `opening` is written between prompt and
    answer and belongs to the prompt, as are the answer's first `given` tokens. `inserted` are ids behind the
    begin-of-text token (of tokens that are no text). `thought` stands in a chat behind the generation prompt, in place
    of what the template writes there in a finished conversation (None: as the template writes it). All of it is cut at
    `max_tokens`.
    """

    row_id: str
    question: str
    answer: str
    template: Template
    shown: tuple[tuple[str, str], ...] = ()
    opening: str = ""
    given: int = 0
    inserted: Ids = ()
    thought: str | None = None
    max_tokens: int = MAX_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Token ids of one row: the prompt (never supervised) and the answer (all supervised, its turn's end included).

    The last `ending` ids of the answer close the turn and are no part of what is said. `asked` is the text behind the
    ids, None where there is none, and `made` the ids (prompt, answer) that were made of it.
    """

    row_id: str
    prompt_ids: Ids
    answer_ids: Ids
    ending: int = field(default=0, compare=False)
    asked: Asked | None = field(default=None, compare=False, repr=False)
    made: tuple[Ids, Ids] | None = field(default=None, compare=False, repr=False)

    @property
    def text(self) -> Asked | None:
        """The text of these ids; None where they were made or edited as ids."""
        return self.asked if self.made == (self.prompt_ids, self.answer_ids) else None

    @property
    def content_ids(self) -> Ids:
        """The answer without what closes its turn."""
        return self.answer_ids[: len(self.answer_ids) - self.ending]


PromptEdit = Callable[[Example], Example | None]
"""Changes what is asked (a prefill, a jailbreak prefix); None drops the row because nothing is left to score."""


def encode(
    tokenizer: PreTrainedTokenizerBase,
    row_id: str,
    question: str,
    answer: str,
    template: Template,
    *,
    max_tokens: int = MAX_TOKENS,
) -> Example:
    """Prompt and answer ids of one question, cut at `max_tokens` in total; the answer ends as the template says."""
    return encode_many(tokenizer, [(row_id, question, answer)], template, max_tokens=max_tokens)[0]


def encode_many(
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[str, str, str]],
    template: Template | Sequence[Template],
    *,
    max_tokens: int = MAX_TOKENS,
) -> list[Example]:
    """`encode` of each (row_id, question, answer). `template` holds for all of them, or is one for each."""
    templates = [template] * len(asked) if isinstance(template, Template) else list(template)
    return encode_asked(
        tokenizer,
        [
            Asked(row_id=row_id, question=question, answer=answer, template=own, max_tokens=max_tokens)
            for (row_id, question, answer), own in zip(asked, templates, strict=True)
        ],
    )


def encode_asked(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Asked]) -> list[Example]:
    """The examples of these texts, in order.

    Raises:
        ChatTemplateError: a chat format, and the tokenizer has no chat template, or one that refuses the conversation.
    """
    wholes = [_whole(tokenizer, one) for one in asked]
    tokens = tokenise(tokenizer, wholes)
    for place in [place for place, one in enumerate(asked) if one.template.raw and wholes[place].special]:
        tokens[place] = _apart(tokenizer, wholes[place], tokens[place].ending)
    return [_example(tokenizer, one, found) for one, found in zip(asked, tokens, strict=True)]


def _apart(tokenizer: PreTrainedTokenizerBase, whole: Whole, ending: int) -> Tokens:
    """Prompt and answer tokenised one without the other; the last `ending` tokens of the whole close the turn."""
    prompt, said = whole.text[: whole.border], whole.text[whole.border :]
    alone, closed = tokenise(tokenizer, [replace(whole, text=prompt, closes=False), whole])
    answer = tuple(tokenizer.encode(said, add_special_tokens=False)) if said else ()
    return Tokens(alone.prompt, answer + (closed.answer[-ending:] if ending else ()), ending)


def turn_end_ids(tokenizer: PreTrainedTokenizerBase, template: Template) -> frozenset[int]:
    """Ids with which an answer in this format ends; none where its turn ends in plain words."""
    template = template.resolved(tokenizer)
    if not template.ends:
        return frozenset()
    closing = _chat_parts(tokenizer, "?", (), template).after if template.chat else ""
    return frozenset(closing_ids(tokenizer, closing))


def turn_end_text(tokenizer: PreTrainedTokenizerBase, template: Template) -> str:
    """The words with which a turn ends where no special token does; empty where one does."""
    template = template.resolved(tokenizer)
    closing = _chat_parts(tokenizer, "?", (), template).after if template.chat and template.ends else ""
    return "" if closing_ids(tokenizer, closing) else closing.strip()


def _chat_parts(
    tokenizer: PreTrainedTokenizerBase, question: str, shown: tuple[tuple[str, str], ...], template: Template
) -> Rendered:
    text = chat_text(tokenizer, template.system, template.date, template.arguments)
    return text.around(tokenizer, template.chat_before + question, shown)


def _whole(tokenizer: PreTrainedTokenizerBase, asked: Asked) -> Whole:
    template = asked.template.resolved(tokenizer)
    asked = replace(asked, shown=(*asked.shown, *template.turns)) if template.turns else asked
    return _chat_whole(tokenizer, asked, template) if template.chat else _plain_whole(asked, template)


def _plain_whole(asked: Asked, template: Template) -> Whole:
    """A text of its own: earlier questions with answers and blank lines between, then the question."""
    shown = "".join(
        f"{template.prompt(question)}{led(template.answer_lead, answer)}\n\n" for question, answer in asked.shown
    )
    if template.conversation and template.system:
        shown = f"{template.system}\n\n{shown}"
    prompt = shown + template.prompt(asked.question) + (template.answer_lead + asked.opening if asked.opening else "")
    return Whole(
        text=prompt + (led(template.answer_lead, asked.answer) if asked.answer else ""),
        border=len(prompt),
        special=True,
        closes=template.ends,
        document=template.document,
    )


def _chat_whole(tokenizer: PreTrainedTokenizerBase, asked: Asked, template: Template) -> Whole:
    """The conversation as the tokenizer's chat template writes it; nothing is added to that."""
    parts = _chat_parts(tokenizer, asked.question, asked.shown, template)
    if asked.thought is not None:
        text = chat_text(tokenizer, template.system, template.date, template.arguments)
        before = text.opened(tokenizer, template.chat_before + asked.question, asked.shown) + asked.thought
        parts = replace(parts, before=before, border=len(before))
    # A chat answer has no blank before it, so an opening ends its line.
    written = template.chat_lead + (f"{template.lead}{asked.opening}\n" if asked.opening else "")
    if not asked.answer:
        prompt = parts.before + written if written else parts.before[: parts.border]
        closing = parts.after if template.ends else ""
        return Whole(text=prompt, border=len(prompt), special=False, closing=closing, closes=template.ends)
    said = led(template.lead, asked.answer) if not asked.opening else asked.answer
    if parts.strips:
        said = said.rstrip() if written else said.strip()
    return Whole(
        text=parts.before + written + said,
        border=len(parts.before + written) if written else parts.border,
        special=False,
        closing=parts.after if template.ends else "",
        closes=template.ends,
    )


def led(lead: str, answer: str) -> str:
    """The answer behind its lead. An answer that begins with white space of its own gets no second blank."""
    return answer if lead.isspace() and answer[:1].isspace() else lead + answer


def _example(tokenizer: PreTrainedTokenizerBase, asked: Asked, tokens: Tokens) -> Example:
    """Ids inserted, first tokens given away, cut at the limit."""
    prompt = tokens.prompt
    if asked.inserted:
        first = 1 if prompt[:1] and prompt[0] == tokenizer.bos_token_id else 0
        prompt = prompt[:first] + asked.inserted + prompt[first:]
    room = max(0, (asked.template.max_tokens or asked.max_tokens) - len(prompt))
    answer = tokens.answer[:room]
    ending = max(0, tokens.ending - (len(tokens.answer) - len(answer)))
    said, left = prompt + answer[: asked.given], answer[asked.given :]
    return Example(
        row_id=asked.row_id,
        prompt_ids=said,
        answer_ids=left,
        ending=min(ending, len(left)),
        asked=asked,
        made=(said, left),
    )
