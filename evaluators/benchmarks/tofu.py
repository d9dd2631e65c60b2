"""TOFU: 200 fictitious authors with 20 questions each, some of the authors to be forgotten.

Maini et al. 2024, arXiv 2401.06121. Rows come from a local folder of JSON-lines files named as the hub's configurations
(`forget10.json`, `retain90.json`, `forget10_perturbed.json`, ...), or from the hub. Every row is a fact of its own.
The twenty questions about one author tell of each other, so an author is a group: row 0 to 19 of a file, 20 to 39, ...,
since every file begins with an author. forget01 has two authors, too few to be halved twice: there each row is a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.prompt_format import published_template
from unlearn_sweep.evaluators.benchmarks.tables import (
    Numbered,
    check_rows,
    find_table,
    hub_table,
    raise_mistakes,
    read_table,
)
from unlearn_sweep.evaluators.rows import Row, Template

RETAIN_OF: Mapping[str, str] = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}

AUTHOR_ROWS = 20
LEAST_AUTHORS = 4
"""With fewer, rows are groups: half for the search, half for the report, and half of each for an attacker."""

Text = Field(min_length=1)


class TofuParams(DataParams):
    """Options of TOFU."""

    path: str | None = Field(default=None, description="local folder of JSON-lines files; None: from the hub")
    hub: str = Field(default="locuslab/TOFU", description="hub id of the data set, where no path is given")
    revision: str | None = Field(default=None, description="revision of the hub data set; None: the newest")
    forget: Literal["forget01", "forget05", "forget10"] = Field(default="forget10", description="authors to forget")
    retain_rows: int | None = Field(default=None, ge=1, description="retain rows to train on, drawn by hash; None: all")
    evaluation_rows: int | None = Field(default=None, ge=2, description="rows to judge by in each split; None: all")
    extra_splits: bool = Field(default=False, description="also judge utility by real authors and world facts")
    holdout: bool = Field(default=False, description="also measure holdoutNN, authors that no model saw, for mia_*_auc")
    wordings: bool = Field(
        default=False, description="also ask each judged forget row as its paraphrased question, as form held_out"
    )
    max_new_tokens: int = Field(default=200, ge=1, description="tokens a generated answer may have")

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        return () if self.path is not None else ((self.hub, self.revision),)


class TofuRow(BaseModel):
    """One line of `forget*.json` and `retain*.json`."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    question: str = Text
    answer: str = Text


class AlternativesRow(TofuRow):
    """One line of `real_authors_perturbed.json` and `world_facts_perturbed.json`."""

    perturbed_answer: list[str] = Field(min_length=1)


class PerturbedRow(AlternativesRow):
    """One line of `forget*_perturbed.json` and `retain_perturbed.json`."""

    paraphrased_answer: str = Text
    paraphrased_question: str = Text


Kind = TypeVar("Kind", bound=TofuRow)


def load(params: TofuParams) -> Benchmark:
    """The benchmark of these options.

    Raises:
        ValueError: a folder or file is missing, or rows do not have TOFU's columns; names file, row and column.
    """
    return load_from(Source(params), params)


class Rows(Protocol):
    """The rows of TOFU's files, by the name of a file."""

    @property
    def place(self) -> str: ...

    def rows(self, name: str, kind: type[Kind], *, option: str | None = None) -> list[Kind]: ...


def load_from(source: Rows, params: TofuParams) -> Benchmark:
    """The benchmark of these options, made of the rows of `source`."""
    retain_name = RETAIN_OF[params.forget]
    forget, retain = train_rows(source, params.forget, "forget"), train_rows(source, retain_name, "retain")
    judged_forget = some(judged_rows(source, f"{params.forget}_perturbed", forget), params.evaluation_rows)
    judged_forget += other_wordings(judged_forget) if params.wordings else []
    judged_retain = judged_rows(source, "retain_perturbed", retain)
    limits = [limit for limit in (params.evaluation_rows, params.retain_rows) if limit is not None]
    judged_retain = some(judged_retain, min(limits, default=None))
    trained = trained_retain(retain, judged_retain, params.retain_rows)
    extra = {split: extra_rows(source, split) for split in ("real_authors", "world_facts") if params.extra_splits}
    evaluation = {"forget": judged_forget, "retain": judged_retain}
    evaluation |= {split: some(rows, params.evaluation_rows) for split, rows in extra.items()}
    if params.holdout:
        unseen = train_rows(source, params.forget.replace("forget", "holdout"), "holdout", option="holdout")
        evaluation["holdout"] = some(unseen, params.evaluation_rows)
    template = published_template("tofu", Template())
    return Benchmark(
        name="tofu",
        train={"forget": forget, "retain": trained},
        evaluation=evaluation,
        utility_splits=("retain", *extra),
        template=template,
        tokenizer_texts=[template.prompt(row.question) + template.answer_lead + row.answer for row in forget + trained],
        recipe=RECIPE,
        max_new_tokens=params.max_new_tokens,
        sources={"rows": source.place},
    )


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
    vocab_size=3000,
    epochs=13.0,
    batch_size=16,
    learning_rate=4e-3,
)
"""A model built from nothing that learns a few hundred rows by heart: give `retain_rows`, all of TOFU is too much."""


class Source:
    """Where the files are, and their checked rows."""

    def __init__(self, params: TofuParams) -> None:
        self.folder = None if params.path is None else Path(params.path).expanduser()
        self.hub, self.revision = params.hub, params.revision
        if self.folder is not None and not self.folder.is_dir():
            raise ValueError(f"benchmark.path: no folder {self.folder}; it should hold {params.forget}.json and others")

    @property
    def place(self) -> str:
        return self.hub if self.folder is None else str(self.folder)

    def rows(self, name: str, kind: type[Kind], *, option: str | None = None) -> list[Kind]:
        """The rows of one file, checked; row numbers in messages count from 1, as line numbers do.

        `option` is the option without which this file is not read. The message about a missing file names it.
        """
        if self.folder is None:
            return check(f"{self.hub} {name}", hub_table(self.hub, name, "train", revision=self.revision), kind)
        try:
            file = find_table(self.folder, name)
        except ValueError as error:
            asked = f"; benchmark.{option}: true asks for this file: add it, or set {option}: false"
            raise ValueError(f"{error}{asked if option else ''}") from error
        return check(str(file), read_table(file), kind)


def check(place: str, numbered: Numbered, kind: type[Kind]) -> list[Kind]:
    """Checked rows whose wrong answers are wrong.

    Raises:
        ValueError: a row lacks a column, has one too many or of another type, or a wrong answer that is the right one.
    """
    found = list(numbered)
    rows = check_rows(place, found, kind)
    raise_mistakes(
        [
            f"{place}, row {number}, column perturbed_answer: holds the right answer"
            for (number, _), row in zip(found, rows, strict=True)
            if isinstance(row, AlternativesRow) and right_answers(row) & set(row.perturbed_answer)
        ]
    )
    return rows


def right_answers(row: AlternativesRow) -> set[str]:
    return {row.answer, row.paraphrased_answer} if isinstance(row, PerturbedRow) else {row.answer}


def train_rows(source: Rows, name: str, split: str, *, option: str | None = None) -> list[Row]:
    """The rows of a training file, grouped by author."""
    found = source.rows(name, TofuRow, option=option)
    by_author = len(found) >= LEAST_AUTHORS * AUTHOR_ROWS
    return [
        Row(
            row_id=f"{name}/{i:04d}",
            group_id=f"{name}/author-{i // AUTHOR_ROWS:03d}" if by_author else f"{name}/{i:04d}",
            fact_id=f"{name}/{i:04d}",
            split=split,
            question=row.question,
            answer=row.answer,
        )
        for i, row in enumerate(found)
    ]


def judged_rows(source: Rows, name: str, trained: Sequence[Row]) -> list[Row]:
    """The rows of a perturbed file, under the ids of the training rows they belong to.

    Raises:
        ValueError: a row has no training row with the same question and answer.
    """
    by_text = {(row.question, row.answer): row for row in reversed(trained)}
    rows = []
    for number, found in enumerate(source.rows(name, PerturbedRow), start=1):
        row = by_text.get((found.question, found.answer))
        if row is None:
            training_file = trained[0].row_id.partition("/")[0]
            raise ValueError(
                f"{source.place} {name}, row {number}, column question: no row of {training_file} has this question "
                f"with this answer ({found.question[:60]!r}); both files must be of one version of TOFU"
            )
        rows.append(
            replace(
                row,
                paraphrased_question=found.paraphrased_question,
                paraphrased_answer=found.paraphrased_answer,
                perturbed_answers=tuple(found.perturbed_answer),
            )
        )
    return rows


def other_wordings(rows: Sequence[Row]) -> list[Row]:
    """The same facts asked as their paraphrased questions; rows without one are left out."""
    return [
        replace(row, row_id=f"{row.row_id}/paraphrased", question=row.paraphrased_question, form="held_out")
        for row in rows
        if row.paraphrased_question
    ]


def extra_rows(source: Rows, split: str) -> list[Row]:
    """Questions about the real world: no training saw them, and there is no paraphrase."""
    return [
        Row(
            row_id=f"{split}/{i:04d}",
            group_id=f"{split}/{i:04d}",
            split=split,
            question=row.question,
            answer=row.answer,
            form="held_out",
            perturbed_answers=tuple(row.perturbed_answer),
        )
        for i, row in enumerate(source.rows(f"{split}_perturbed", AlternativesRow, option="extra_splits"))
    ]


def trained_retain(retain: Sequence[Row], judged: Sequence[Row], limit: int | None) -> list[Row]:
    """At most `limit` retain rows, the judged ones always among them, the others drawn by hash."""
    if limit is None or limit >= len(retain):
        return list(retain)
    judged_ids = {row.row_id for row in judged}
    others = some([row for row in retain if row.row_id not in judged_ids], limit - len(judged_ids))
    kept = judged_ids | {row.row_id for row in others}
    return [row for row in retain if row.row_id in kept]


def some(rows: Sequence[Row], limit: int | None) -> list[Row]:
    """At most `limit` rows, drawn by the hash of their id, in the order given."""
    return drawn(rows, limit, salt="tofu")
