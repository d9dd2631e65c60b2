"""Chat templates as text: what stands before an answer, and how the template ends the turn.

A whole conversation is rendered, the answer included, because templates write things around an answer that the
generation prompt alone does not show: a blank, an empty think block, the token that ends the turn. (Of a template that
writes no answers, the generation prompt is all there is; the answer ends with end-of-text.) The date that a
template writes is always given, through `date_string` and `strftime_now`, so that a prompt is the same tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE_FORMATS = ("%d %b %Y", "%d %B %Y", "%B %d, %Y", "%Y-%m-%d")
DIRECTIVES = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBdeHIjmMpSyY"))
FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{%- set written = namespace(text=format) -%}"
    "{%- for code, text in fixed_date.items() -%}{%- set written.text = written.text|replace(code, text) -%}"
    "{%- endfor -%}{{ written.text }}{%- endmacro -%}{{ '' }}"
)
"""Put before a template: `strftime_now` writes the date that is given. The empty output at its end keeps what follows
it as it is (a block tag would take a newline away)."""
ANSWER = "xANSWERx7f3ax"
"""Stands for the answer while a conversation is rendered."""

TemplateArgument = str | int | float | bool


class ChatTemplateError(UserError, ValueError):
    """The tokenizer's chat template cannot say what is asked of it."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation around an answer.

    `before` is all text before the answer, `after` all text behind it. `border` is the character at which what the
    model has to write begins: where the generation prompt ends, or, where the template writes more than blanks behind
    it (an empty think block), the end of `before`. `strips`: the template takes white space off the answer's ends.
    """

    before: str
    border: int
    after: str
    strips: bool


class ChatText:
    """One tokenizer's chat template with a system prompt, a date and arguments of its own."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        system: str | None,
        date: str,
        arguments: Mapping[str, TemplateArgument],
    ) -> None:
        template = default_template(tokenizer)
        self._template = FIXED_DATE + template if "strftime_now" in template else template
        self._system = system
        self._arguments = {"date_string": date, "fixed_date": _written(date), **arguments}
        self._turns: dict[tuple[tuple[str, str], ...], Rendered] = {}
        self._habits: tuple[int, bool] | None = None
        self._takes_system: bool | None = None

    def around(self, tokenizer: PreTrainedTokenizerBase, question: str, shown: Sequence[tuple[str, str]]) -> Rendered:
        """The conversation that asks `question`, behind other questions with their answers.

        Raises:
            ChatTemplateError: the template refuses the conversation, or writes the answer more than once.
        """
        key = (*shown, (question, ""))
        if key not in self._turns:
            if len(self._turns) > 20000:
                self._turns.clear()
            self._turns[key] = self._rendered(tokenizer, question, shown)
        return self._turns[key]

    def opened(self, tokenizer: PreTrainedTokenizerBase, question: str, shown: Sequence[tuple[str, str]]) -> str:
        """All text before what the model writes by itself: the generation prompt, without any answer's think block."""
        return self._apply(tokenizer, self._turns_of(question, shown), generation=True)

    def takes_system(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether the template accepts a conversation that begins with the system prompt."""
        if self._takes_system is None:
            try:
                self.around(tokenizer, "?", ())
            except ChatTemplateError:
                self._takes_system = False
            else:
                self._takes_system = True
        return self._takes_system

    def _rendered(
        self, tokenizer: PreTrainedTokenizerBase, question: str, shown: Sequence[tuple[str, str]]
    ) -> Rendered:
        turns = self._turns_of(question, shown)
        before, answer, after = self._parts(tokenizer, turns, ANSWER)
        if not answer:  # a template of the prompt alone
            opened = self._apply(tokenizer, turns, generation=True)
            return Rendered(opened, len(opened), "", strips=False)
        if self._habits is None:
            strips = self._parts(tokenizer, turns, f" {ANSWER} ") == (before, ANSWER, after)
            opened = self._apply(tokenizer, turns, generation=True)
            goes_on = before.startswith(opened) and not before[len(opened) :].strip()
            self._habits = len(before) - len(opened) if goes_on else 0, strips
        blanks, strips = self._habits
        return Rendered(before, len(before) - blanks, after, strips)

    def _turns_of(self, question: str, shown: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        turns = [] if self._system is None else [{"role": "system", "content": self._system}]
        for asked, answered in shown:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return [*turns, {"role": "user", "content": question}]

    def _parts(
        self, tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], answer: str
    ) -> tuple[str, str, str]:
        whole = self._apply(tokenizer, [*turns, {"role": "assistant", "content": answer}], generation=False)
        if whole.count(ANSWER) > 1:
            raise ChatTemplateError(
                f"the chat template writes the assistant's answer {whole.count(ANSWER)} times in a conversation that "
                "has it once; ask plainly (prompt: {format: plain})"
            )
        return whole.partition(ANSWER)

    def _apply(self, tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], *, generation: bool) -> str:
        from jinja2.exceptions import TemplateError

        try:
            text = tokenizer.apply_chat_template(
                turns,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=generation,
                **self._arguments,
            )
        except TemplateError as error:
            roles = " with a system prompt" if self._system is not None else ""
            raise ChatTemplateError(f"the chat template refuses the conversation{roles}: {error}") from error
        return cast("str", text)


def default_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template that is used where none is named.

    Raises:
        ChatTemplateError: there is none, or several with names of which none is the default.
    """
    if isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
        raise ChatTemplateError(no_default(tokenizer.chat_template))
    if not tokenizer.chat_template:
        raise ChatTemplateError(
            "the tokenizer has no chat template; ask plainly (prompt: {format: plain}) or give a tokenizer with one"
        )
    return tokenizer.get_chat_template()


def takes_argument(template: str, name: str) -> bool:
    """Whether a chat template reads an argument of this name anywhere."""
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def no_default(names: Iterable[str]) -> str:
    """Why chat templates with names alone cannot be used, and what to do."""
    return (
        f"the tokenizer has chat templates with names ({', '.join(sorted(names))}) and none is the default, so the one "
        "that the model was trained with is unknown; save it as chat_template.jinja in the tokenizer's folder, or ask "
        "plainly (prompt: {format: plain})"
    )


_KNOWN: WeakKeyDictionary[PreTrainedTokenizerBase, dict[tuple[object, ...], ChatText]] = WeakKeyDictionary()


def chat_text(
    tokenizer: PreTrainedTokenizerBase,
    system: str | None,
    date: str,
    arguments: tuple[tuple[str, TemplateArgument], ...],
) -> ChatText:
    """The chat text of these settings, made once for each tokenizer and template."""
    known = _KNOWN.setdefault(tokenizer, {})
    key = (str(tokenizer.chat_template), system, date, arguments)
    if key not in known:
        known[key] = ChatText(tokenizer, system, date, dict(arguments))
    return known[key]


def parse_date(text: str) -> datetime:
    """A date as people write it: 10 Apr 2025, 10 April 2025, April 10, 2025 or 2025-04-10.

    Raises:
        ValueError: it is none of these.
    """
    for form in DATE_FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    raise ValueError(f"{text!r} is no date; write it like 10 Apr 2025 or 2025-04-10")


@lru_cache(maxsize=64)
def _written(date: str) -> dict[str, str]:
    """What each `strftime` directive writes for this date."""
    day = parse_date(date)
    found = {code: day.strftime(code) for code in DIRECTIVES}
    return found | {"%-d": str(day.day), "%-m": str(day.month), "%e": f"{day.day:2d}"}
