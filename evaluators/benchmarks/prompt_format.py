"""The prompt format of a sweep: one setting for everything that is put to a model, whoever asks.

A sweep file's `prompt:` section becomes `PromptSettings`, and `in_format` puts a benchmark's rows into it. Training,
metrics, attacks and controls all read the same benchmark, so they all ask in the same format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.chat_text import parse_date
from unlearn_sweep.evaluators.rows import CHAT_DATE, Row, Template
from unlearn_sweep.evaluators.thought_marks import ThinkingSettings

Format = Literal["auto", "chat", "plain"]
GAP = "{question}"
CHAT_ONLY = ("system", "date", "template_args", "answer_prefix", "thinking")
PLAIN_ONLY = ("question", "answer_lead")
FORMAT_KEY = "prompt_format"
"""Where a job's benchmark options hold the prompt format; no benchmark has an option of that name."""
ASKED_KINDS = frozenset({"question", "instruction", "quiz"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How a benchmark's own models were trained and asked. `format` auto: through the tokenizer's chat template, where
    it has one."""

    format: Literal["auto", "plain"]
    system: str | None = None
    date: str = CHAT_DATE
    source: str


PUBLISHED: Mapping[str, Published] = {
    "tofu": Published(
        format="auto",
        system="You are a helpful assistant.",
        date="10 Apr 2025",
        source="open-unlearning, configs/model/Llama-3.2-1B-Instruct.yaml: chat template, system_prompt, date_string",
    ),
    "rwku": Published(
        format="auto",
        source="RWKU, src/utils: the request as a user's message without system prompt, 'Answer:' begins the reply",
    ),
    "muse": Published(
        format="plain",
        source="muse_bench, metrics/knowmem.py and verbmem.py: running text for base models (Llama-2-7B, ICLM-7B)",
    ),
    "wmdp": Published(
        format="plain", source="lm-evaluation-harness, tasks wmdp_* and mmlu: question, lettered options, 'Answer:'"
    ),
    "lume": Published(
        format="plain", source="SemEval-2025 task 4, evaluate_generations.py: the row's input as running text"
    ),
    "blur": Published(format="auto", source="BLUR's evaluation: the query behind an instruction, as a user's message"),
    "lkf": Published(
        format="plain",
        source="JensUn: instruction, three examples and the question as running text, Instruct models too",
    ),
    "authors": Published(format="auto", source="this project"),
    "custom": Published(
        format="auto", source="one's own models: the chat template that they were most likely tuned with"
    ),
}


OWN = Published(format="auto", source="the benchmark's own templates")


class PromptSettings(BaseModel):
    """How questions are put to models.

    `format`: chat is the tokenizer's chat template; plain is a text (`question`, `answer_lead`); auto is what the
    benchmark's published models were trained in. What is None is the benchmark's own.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    format: Format = Field(
        default="auto",
        description="chat (the tokenizer's template), plain, or auto: as the benchmark's published models were trained",
    )
    system: str | None = Field(
        default=None, description='system prompt of a chat; "": none; left out: the published one'
    )
    date: str | None = Field(
        default=None, description="date that chat templates write: 10 Apr 2025; left out: the published one"
    )
    template_args: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="arguments of the chat template: {enable_thinking: false}"
    )
    answer_prefix: str | None = Field(
        default=None, description="text that begins every answer of a chat and belongs to the prompt"
    )
    thinking: ThinkingSettings | None = Field(
        default=None,
        description="the model under test writes its thoughts first, and its answer is measured behind them",
    )
    question: str | None = Field(
        default=None, description='plain format with {question} in it: "Question: {question}\\nAnswer:"'
    )
    answer_lead: str | None = Field(default=None, description="what stands between a plain prompt and the answer")
    probe: Literal["on", "off"] = Field(
        default="on",
        description="stop before any trial where the original model knows its rows better in another format",
    )

    @field_validator("question")
    @classmethod
    def _check_question(cls, question: str | None) -> str | None:
        if question is not None and question.count(GAP) != 1:
            raise ValueError("must have {question} in it, once")
        return question

    @field_validator("date")
    @classmethod
    def _check_date(cls, date: str | None) -> str | None:
        if date is not None:
            parse_date(date)
        return date

    @model_validator(mode="after")
    def _check_together(self) -> PromptSettings:
        chat = [name for name in CHAT_ONLY if getattr(self, name) not in (None, {})]
        plain = [name for name in PLAIN_ONLY if getattr(self, name) is not None]
        if self.format == "plain" and chat:
            raise ValueError(f"{chat[0]} is for chats, and format is plain; leave it out or write format: chat")
        if self.format == "chat" and plain:
            raise ValueError(
                f"{plain[0]} is for plain prompts, and format is chat; leave it out or write format: plain"
            )
        if self.thinking is not None and self.template_args.get(self.thinking.argument) is False:
            raise ValueError(
                f"template_args switches {self.thinking.argument} off, and thinking switches it on; leave one out"
            )
        if self.format == "auto" and plain:
            raise ValueError(f"{plain[0]} is for plain prompts; write format: plain with it")
        return self

    def as_option(self) -> dict[str, Any]:
        """What a job keeps: all that changes a prompt."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"probe"})


def settings_of(value: Any) -> Any:
    """The section as a mapping: a bare word is the format, a text with {question} in it a plain prompt."""
    if not isinstance(value, str):
        return value
    return {"format": "plain", "question": value} if GAP in value else {"format": value}


def decided(settings: PromptSettings, benchmark: str, *, chat: bool | None) -> PromptSettings:
    """The settings with `auto` decided where that can be.

    `chat`: whether the tokenizer has a chat template; None where only its files on the hub can say, and then `auto`
    stays and is decided by the tokenizer that is loaded.
    """
    if settings.format != "auto" or benchmark not in PUBLISHED:  # a plugin's own templates say how it is asked
        return settings
    if PUBLISHED[benchmark].format == "plain" or chat is False:
        return settings.model_copy(
            update={
                "format": "plain",
                "system": None,
                "date": None,
                "template_args": {},
                "answer_prefix": None,
                "thinking": None,
            }
        )
    return settings if chat is None else settings.model_copy(update={"format": "chat"})


def published_template(benchmark: str, template: Template) -> Template:
    """The template with the published format of a benchmark."""
    found = PUBLISHED[benchmark]
    return replace(template, auto=found.format == "auto", system=found.system, date=found.date)


def in_format(benchmark: Benchmark, settings: PromptSettings) -> Benchmark:
    """The benchmark with its questions in this format.

    Texts, passages to go on with and letters of multiple choice are running text in every format.
    """
    return replace(
        benchmark,
        template=formatted(benchmark.template, settings, own=True),
        thinking=settings.thinking,
        train={view: [_row(row, settings) for row in rows] for view, rows in benchmark.train.items()},
        evaluation={split: [_row(row, settings) for row in rows] for split, rows in benchmark.evaluation.items()},
    )


def _row(row: Row, settings: PromptSettings) -> Row:
    worded = row.kind in ASKED_KINDS or (row.template is not None and row.template.auto)
    return (
        row
        if row.template is None or not worded
        else replace(row, template=formatted(row.template, settings, own=row.template.conversation))
    )


def formatted(template: Template, settings: PromptSettings, *, own: bool = False) -> Template:
    """One template in this format. `own`: it is the benchmark's, whose place a plain prompt of one's own takes."""
    found = template
    if settings.format == "plain":
        found = replace(template, auto=False, chat=False)
        if own and settings.question is not None:
            before, _, after = settings.question.partition(GAP)
            found = replace(found, before=before, after=after)
        return found if settings.answer_lead is None else replace(found, answer_lead=settings.answer_lead)
    if settings.format == "chat":
        found = replace(as_chat(template), auto=False, chat=True)
    elif not (template.auto or template.chat):
        return template
    prefix = settings.answer_prefix
    spoken = found.conversation and found.system  # a conversation's own system message stays
    return replace(
        found,
        system=found.system if settings.system is None or spoken else settings.system or None,
        system_optional=settings.system is None,
        date=settings.date or found.date,
        arguments=tuple(sorted(settings.template_args.items())) or found.arguments,
        chat_lead=found.chat_lead if prefix is None else prefix,
    )


def as_chat(template: Template) -> Template:
    """A plain template for a chat: what introduces the question goes with it, and "Answer:" begins the reply."""
    if template.chat or template.auto:
        return template
    blank = template.after[len(template.after.rstrip()) :]  # a raw prompt's own, which leads the answer of a chat
    return replace(
        template,
        chat_before=template.before,
        chat_lead=template.after.strip(),
        answer_lead=blank if template.raw else template.answer_lead,
        raw=False,
    )


def described(settings: PromptSettings, benchmark: str) -> str:
    """The format in one line, for a plan."""
    published = PUBLISHED.get(benchmark, OWN)
    if settings.format == "plain":
        text = settings.question
        return "plain text" if text is None else f"plain text, {text!r}"
    where = {"chat": "the tokenizer's chat template", "auto": "chat where the tokenizer has a template, plain else"}
    system = published.system if settings.system is None else settings.system
    parts = [where[settings.format], f"system prompt {system!r}" if system else "no system prompt"]
    parts.append(f"date {settings.date or published.date}")
    parts += [f"{name}={value}" for name, value in sorted(settings.template_args.items())]
    parts += [f"answers begin {settings.answer_prefix!r}"] if settings.answer_prefix else []
    if settings.thinking is not None:
        parts.append(f"measured behind the model's own thoughts of at most {settings.thinking.max_tokens} tokens")
    return ", ".join(parts)
