"""A benchmark from one's own files: questions and answers, running text, or multiple choice.

Two files are enough: what is to be forgotten and what is to be kept. What a file holds follows from its columns:
`question` and `answer` (with `choices`: multiple choice, `answer` the number or letter of the right one), `text`, or
`messages` (conversations).
Column names that differ are given in `columns`. Everything is checked before anything starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.conversations import ConversationRecord, turn_rows
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.links import content_key, equal_rows_joined
from unlearn_sweep.evaluators.benchmarks.passages import LEAST_DOCUMENTS, continuation_row, document_rows
from unlearn_sweep.evaluators.benchmarks.prompt_format import published_template
from unlearn_sweep.evaluators.benchmarks.records import Record, Text, Written, listed
from unlearn_sweep.evaluators.benchmarks.tables import check_rows, near_columns, raise_mistakes, read_table
from unlearn_sweep.evaluators.multiple_choice import LETTERS, choice_row
from unlearn_sweep.evaluators.rows import Row, Template

SECTION_CHARACTERS = 1600
"""Of a passage where texts are few and long, as a book is, so that there are facts to split."""
UNCUT = 1 << 40


def _place(value: Any) -> Any:
    """A choice given as letter or as the digits of a CSV cell."""
    if isinstance(value, str) and value.strip().upper() in LETTERS:
        return LETTERS.index(value.strip().upper())
    return int(value) if isinstance(value, str) and value.strip().isdigit() else value


class TextRecord(Record):
    """A text, of any length."""

    text: Text


class QuestionRecord(Record):
    """A question with its answer, and what TOFU's perturbed files hold besides."""

    question: Written
    answer: Written
    paraphrased_question: Text | None = None
    paraphrased_answer: Written | None = None
    perturbed_answer: Annotated[list[Written], BeforeValidator(listed)] = Field(default=[])

    @model_validator(mode="after")
    def _check_wrong(self) -> QuestionRecord:
        if {self.answer, self.paraphrased_answer} & set(self.perturbed_answer):
            raise ValueError("perturbed_answer holds the right answer")
        return self


class ChoiceRecord(Record):
    """A question with its options, and which of them is right, counted from 0."""

    question: Text
    choices: Annotated[list[Written], BeforeValidator(listed), Field(min_length=2, max_length=len(LETTERS))]
    answer: Annotated[int, BeforeValidator(_place), Field(ge=0)]

    @model_validator(mode="after")
    def _check_answer(self) -> ChoiceRecord:
        if self.answer >= len(self.choices):
            raise ValueError(f"answer is {self.answer}, and there are {len(self.choices)} choices, counted from 0")
        return self


AnyRecord = TextRecord | QuestionRecord | ChoiceRecord | ConversationRecord
COLUMNS = sorted({name for kind in get_args(AnyRecord) for name in kind.model_fields})


class CustomParams(DataParams):
    """Options of a benchmark of one's own files. Relative paths start where the command runs."""

    forget_path: str = Field(
        description="what is to be forgotten: trained on, and judged by where nothing else is given"
    )
    retain_path: str = Field(description="what is to be kept: trained on, and judged by where nothing else is given")
    forget_judged_path: str | None = Field(default=None, description="rows to judge forgetting by, never trained on")
    retain_judged_path: str | None = Field(default=None, description="rows to judge utility by, never trained on")
    holdout_path: str | None = Field(
        default=None, description="rows like the forget rows that no model ever saw, for membership metrics"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description=f"a file's own column names: {{question: prompt}}; known: {', '.join(COLUMNS)}",
    )
    prompt: str | None = Field(default=None, description="the sweep's `prompt: {question: ...}`, in its older place")
    answer_lead: str | None = Field(default=None, description="the sweep's `prompt: {answer_lead: ...}`, likewise")
    chat: bool | None = Field(default=None, description="the sweep's `prompt: {format: chat}` (false: plain), likewise")
    turns: Literal["last", "all"] = Field(
        default="last", description="turns of a conversation's assistant that are trained on and judged"
    )
    passage_characters: int | None = Field(
        default=None,
        ge=40,
        description="texts are cut into passages of at most so many characters; None: by tokens alone (max_tokens), "
        f"after {SECTION_CHARACTERS} characters where there are fewer than {LEAST_DOCUMENTS} texts",
    )
    evaluation_rows: int | None = Field(default=None, ge=2, description="rows to judge by in each split; None: all")
    max_new_tokens: int = Field(default=64, ge=1, description="tokens a generated answer may have")

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(COLUMNS))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no column of this tool; it reads {', '.join(COLUMNS)}")
        return columns

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, prompt: str | None) -> str | None:
        if prompt is not None and prompt.count("{question}") != 1:
            raise ValueError("must have {question} in it, once")
        return prompt

    @property
    def template(self) -> Template:
        template = published_template("custom", Template())
        if self.prompt is not None:
            before, _, after = self.prompt.partition("{question}")
            template = replace(template, before=before, after=after)
        if self.answer_lead is not None:
            template = replace(template, answer_lead=self.answer_lead)
        plain = self.prompt is not None or self.answer_lead is not None
        chat = False if self.chat is None and plain else self.chat
        return template if chat is None else replace(template, auto=False, chat=chat)


RECIPE = TrainRecipe(
    config={
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
    },
    vocab_size=2000,
    epochs=12.0,
    batch_size=16,
    learning_rate=4e-3,
)
"""A small model built from nothing, to try one's files before a real model is named."""
LEAST_STEPS = 300
"""Of training it: a few rows are read often enough to be known by heart."""


def load(params: CustomParams) -> Benchmark:
    """The benchmark of these files.

    Raises:
        ValueError: a file cannot be read, or rows lack what they need; names file, row and column.
    """
    files = OwnFiles(params)
    forget, retain = files.train("forget", params.forget_path), files.train("retain", params.retain_path)
    evaluation = {
        "forget": files.judged("forget", params.forget_judged_path or params.forget_path, params.forget_judged_path),
        "retain": files.judged("retain", params.retain_judged_path or params.retain_path, params.retain_judged_path),
    }
    if params.holdout_path is not None:
        evaluation["holdout"] = files.judged("holdout", params.holdout_path, params.holdout_path)
    _check_apart(params, evaluation, forget, retain)
    train, evaluation = equal_rows_joined({"forget": forget, "retain": retain}, evaluation)
    _check_enough(params, evaluation["forget"])
    template, trained = params.template, len(forget) + len(retain)
    return Benchmark(
        name="custom",
        train=train,
        evaluation={split: drawn(rows, params.evaluation_rows, salt="custom") for split, rows in evaluation.items()},
        utility_splits=("retain",),
        template=template,
        tokenizer_texts=[whole_text(row, template) for row in (*forget, *retain)],
        recipe=replace(RECIPE, epochs=float(max(RECIPE.epochs, round(LEAST_STEPS * RECIPE.batch_size / trained)))),
        max_new_tokens=params.max_new_tokens,
        sources={name: str(value) for name, value in params if name.endswith("_path") and value is not None},
    )


class OwnFiles:
    """Reads files of rows, each once."""

    def __init__(self, params: CustomParams) -> None:
        self.params = params
        self._read: dict[str, list[AnyRecord]] = {}

    def train(self, split: str, path: str) -> list[Row]:
        """The rows a training reads: questions as they are asked, texts passage by passage."""
        asked = self.asked(split, path, split, held_out=False)
        return asked or document_rows(split, self.texts(path), self.characters(path))

    def asked(self, name: str, path: str, split: str, *, held_out: bool) -> list[Row]:
        """The rows of a file that ask something: questions, choices, the assistant's turns of conversations."""
        rows: list[Row] = []
        for index, record in enumerate(self.records(path)):
            row_id = f"{name}/{index:05d}"
            if isinstance(record, ConversationRecord):
                found = turn_rows(row_id, split, record, self.params.template, held_out=held_out)
                rows += found if self.params.turns == "all" else found[-1:]
            elif not isinstance(record, TextRecord):
                rows.append(asked_row(row_id, split, record, held_out=held_out))
        return rows

    def characters(self, path: str) -> int:
        """Longest passage of a file's texts; `benchmarks.limits` divides it further where it has too many tokens."""
        few = len(self.texts(path)) < LEAST_DOCUMENTS
        return self.params.passage_characters or (SECTION_CHARACTERS if few else UNCUT)

    def texts(self, path: str) -> list[str]:
        """The running texts of a file; a file holds texts or questions, never both."""
        return [record.text for record in self.records(path) if isinstance(record, TextRecord)]

    def judged(self, split: str, path: str, own: str | None) -> list[Row]:
        """The rows metrics are computed on; `own` is None where training reads the same rows, whose names they keep."""
        name, form = (split, False) if own is None else (f"{split}-judged", True)
        rows = self.asked(name, path, split, held_out=form)
        for passage in document_rows(split, self.texts(path), self.characters(path), name=name):
            row = continuation_row(passage.row_id, split, passage.answer)
            rows += [] if row is None else [replace(row, group_id=passage.group_id, divisible=True)]
        if not rows:
            raise ValueError(f"{path}: no text of two words or more, so there is nothing to judge split {split} by")
        return rows

    def records(self, path: str) -> list[AnyRecord]:
        if path not in self._read:
            file = Path(path).expanduser()
            numbered = [(number, self._renamed(value)) for number, value in read_table(file)]
            self._read[path] = self._checked(str(file), numbered)
        return self._read[path]

    def _checked(self, place: str, numbered: Sequence[tuple[int, Any]]) -> list[AnyRecord]:
        columns = dict.fromkeys(str(name) for _, row in numbered if isinstance(row, Mapping) for name in row)
        self._check_named(place, columns)
        kind = record_kind(place, columns)
        strangers = near_columns(columns, kind)
        needed = {name for name, field in kind.model_fields.items() if field.is_required()}
        raise_mistakes(
            [
                f"{place}, column {given}: no such column; did you mean {meant}?"
                for given, meant in strangers.items()
                if meant not in needed
            ]
        )
        return list(check_rows(place, numbered, kind))

    def _check_named(self, place: str, columns: Mapping[str, None]) -> None:
        """A column that `columns:` renames has to be in one of the files; here: it must not hide another."""
        for ours, theirs in self.params.columns.items():
            if theirs in columns and theirs != ours:
                raise ValueError(f"{place}: columns {ours} and {theirs} are both there; {theirs} cannot be renamed")

    def _renamed(self, value: Any) -> Any:
        theirs = {name: ours for ours, name in self.params.columns.items()}
        if not isinstance(value, Mapping) or any(ours in value for ours in theirs.values()):
            return value
        return {theirs.get(str(name), str(name)): cell for name, cell in value.items()}


def record_kind(place: str, columns: Mapping[str, None]) -> type[AnyRecord]:
    """What a file holds, by its columns.

    Raises:
        ValueError: neither texts nor questions; the message has the columns that are there and those that are read.
    """
    if "text" in columns and not {"question", "answer"} & set(columns):
        return TextRecord
    if "messages" in columns and not {"question", "answer"} & set(columns):
        return ConversationRecord
    if "choices" in columns:
        return ChoiceRecord
    if {"question", "answer"} & set(columns):
        return QuestionRecord
    near = {**near_columns(columns, QuestionRecord), **near_columns(columns, TextRecord)}
    hints = [
        f"{given!r} looks like {ours}: rename it, or write columns: {{{ours}: {given}}}" for given, ours in near.items()
    ]
    there = ", ".join(columns) or "none"
    raise ValueError(
        f"{place}: needs columns question and answer (and choices, for multiple choice), or a column text or messages; "
        f"it has: {there}. {'; '.join(hints) or 'Name them: columns: {question: ..., answer: ...}'}"
    )


def asked_row(row_id: str, split: str, record: QuestionRecord | ChoiceRecord, *, held_out: bool) -> Row:
    """A row that asks something. Rows that share a `group` are wordings of one fact."""
    form = "held_out" if held_out else "trained"
    group = row_id if record.group is None else f"{split}/group/{record.group}"
    if isinstance(record, ChoiceRecord):
        return choice_row(
            row_id=row_id,
            group_id=group,
            split=split,
            question=record.question,
            options=record.choices,
            right=record.answer,
            form=form,
        )
    return Row(
        row_id=row_id,
        group_id=group,
        split=split,
        question=record.question,
        answer=record.answer,
        form=form,
        paraphrased_question=record.paraphrased_question,
        paraphrased_answer=record.paraphrased_answer,
        perturbed_answers=tuple(record.perturbed_answer),
    )


def whole_text(row: Row, template: Template) -> str:
    """Prompt and answer as they are joined, for a tokenizer to be trained on."""
    own = row.template or template
    return own.prompt(row.question) + own.answer_lead + row.answer


def _check_apart(
    params: CustomParams, evaluation: Mapping[str, Sequence[Row]], forget: Sequence[Row], retain: Sequence[Row]
) -> None:
    """What is to be forgotten must not be kept as well, and what no model saw must not be trained on.

    Rows that differ only in case or white space are the same row.

    Raises:
        ValueError: a row is in two files; names both.
    """
    pairs = [("forget_path", forget, "retain_path", retain)]
    if params.forget_judged_path is not None:
        pairs.append(("forget_judged_path", evaluation["forget"], "retain_path", [*retain, *evaluation["retain"]]))
    if params.holdout_path is not None:
        pairs += [
            ("holdout_path", evaluation["holdout"], "forget_path", [*forget, *evaluation["forget"]]),
            ("holdout_path", evaluation["holdout"], "retain_path", [*retain, *evaluation["retain"]]),
        ]
    for first, ours, second, others in pairs:
        known = {content_key(row) for row in others}
        both = [row for row in ours if content_key(row) in known]
        if both:
            places = f"{getattr(params, first)} ({first}) and {getattr(params, second)} ({second})"
            what = (both[0].question or both[0].answer)[:60]
            raise ValueError(f"{len(both)} rows are in both {places}, the first is {what!r}; a row belongs to one")


def _check_enough(params: CustomParams, judged: Sequence[Row]) -> None:
    """Raises ValueError where there are fewer facts to judge forgetting by than splits need."""
    found = len({row.group_id for row in judged})
    if found < 4:
        raise ValueError(
            f"{params.forget_judged_path or params.forget_path}: {found} facts to judge forgetting by; at least 4 are "
            "needed, half of them for the search and half for the report, and each of these to be attacked"
        )
