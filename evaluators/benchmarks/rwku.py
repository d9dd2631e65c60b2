"""RWKU: famous people to be forgotten, probed by blanks, questions and nine kinds of adversarial prompts.

Jin et al. 2024, arXiv 2406.10890. Every forget probe has its level, and on level 3 its type, as its part, so that each
can be a metric of its own (`rwku_level1`, `rwku_role_playing`). The losses of forget and retain members are compared
with the original's (`mia_loss_rise`). RWKU gives targets and no corpora; the passages about a target that it ships are
what is unlearned here, those about other targets what is kept. The people are real, so there is no gold model.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.custom import RECIPE, whole_text
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.links import overlapping_texts_joined
from unlearn_sweep.evaluators.benchmarks.passages import document_row, document_rows
from unlearn_sweep.evaluators.benchmarks.places import Place
from unlearn_sweep.evaluators.benchmarks.rwku_abilities import ABILITIES
from unlearn_sweep.evaluators.benchmarks.wmdp import ChoiceRecord
from unlearn_sweep.evaluators.multiple_choice import LETTERS, choice_row
from unlearn_sweep.evaluators.probe_parts import probe_part
from unlearn_sweep.evaluators.rows import DOCUMENT, Row, Template

HUB = "jinzhuoran/RWKU"
ANSWER_TOKENS = 30
BLANK = "Please complete the blank in the following question.\nQuestion: {}\n"
BRIEF = "Please briefly answer the following question.\nQuestion: {}\n"
BARE = "Please briefly answer the following question.\n{}\n"
SUFFIXED = "Please briefly answer the following question.\nQuestion: {}"

Filled = Annotated[str, Field(min_length=1)]


class RwkuParams(DataParams):
    """Options of RWKU."""

    subjects: list[Filled] = Field(min_length=1, description='people to forget, as RWKU names them: "Stephen King"')
    path: str | None = Field(default=None, description="local folder laid out as the hub data set; None: from the hub")
    revision: str | None = Field(default=None, description="revision of the hub data set; None: the newest")
    chat: bool | None = Field(
        default=None, description="the sweep's `prompt: {format: chat}` (false: plain), in its older place"
    )
    retain_subjects: int = Field(default=20, ge=1, description="other targets whose passages are kept")
    passage_characters: int = Field(default=1600, ge=100, description="passages are cut at so many")
    general_rows: int | None = Field(default=200, ge=2, description="questions of utility_general; None: all")
    abilities: list[Literal["reasoning", "truthfulness", "factuality", "fluency"]] = Field(
        default=["reasoning", "truthfulness", "factuality", "fluency"], description="other utility sets to judge by"
    )
    ability_rows: int | None = Field(default=100, ge=2, description="rows of each of these sets; None: all")

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        return () if self.path is not None else ((HUB, self.revision),)


class Record(BaseModel):
    """Columns that are not named are left alone."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)

    subject: Filled


class ProbeRecord(Record):
    """A row of `forget_level1` to 3 and `neighbor_level1` and 2."""

    query: Filled
    answer: Filled
    level: str
    type: str = ""


class TextRecord(Record):
    """A row of `train_original_passage`, `mia_forget` and `mia_retain`."""

    text: Filled


class GeneralRecord(ChoiceRecord):
    """A row of `utility_general`: MMLU with five examples of the same task."""

    task: Filled
    examples: list[ChoiceRecord] = Field(default_factory=list)


def load(params: RwkuParams) -> Benchmark:
    """The benchmark of these options.

    Raises:
        ValueError: a file is missing, rows lack a column, or a subject is none of RWKU's; names file, row and column.
    """
    place = Place.of(HUB, params.path, params.revision)
    source = place.rows("train_original_passage", "train", TextRecord)
    others = kept_subjects(source, params)
    train = {
        "forget": training([record for record in source if record.subject in params.subjects], "forget", params),
        "retain": training([record for record in source if record.subject in others], "retain", params),
    }
    evaluation = {
        "forget": [
            *(row for level in (1, 2, 3) for row in probes(place, "forget", level, params)),
            *texts(place, "mia_forget", "forget", params),
        ],
        "neighbor": [row for level in (1, 2) for row in probes(place, "neighbor", level, params)],
        "mia_retain": texts(place, "mia_retain", "mia_retain", params),
        "general": drawn(general(place), params.general_rows, salt="rwku"),
        **{
            name: drawn(ABILITIES[name](place, params.chat), params.ability_rows, salt="rwku")
            for name in params.abilities
        },
    }
    train["forget"], evaluation["forget"] = overlapping_texts_joined(train["forget"], evaluation["forget"])
    empty = [split for split, rows in evaluation.items() if not rows]
    if empty:
        raise ValueError(f"{place}: no rows of {', '.join(params.subjects)} to judge {', '.join(empty)} by")
    return Benchmark(
        name="rwku",
        train=train,
        evaluation=evaluation,
        utility_splits=("neighbor", "mia_retain", "general", *params.abilities),
        template=asked(params, lead=True),
        tokenizer_texts=[whole_text(row, Template()) for rows in train.values() for row in rows],
        recipe=TINY,
        max_new_tokens=ANSWER_TOKENS,
        sources={"rows": str(place)},
    )


TINY: TrainRecipe = replace(RECIPE, epochs=6.0)
"""For made fixtures; published results are of Llama-3-8B-Instruct and Phi-3-mini."""


def asked(params: RwkuParams, *, lead: bool) -> Template:
    """RWKU's prompt: the request as a user's message, and (but for one kind) "Answer:" as the reply's beginning."""
    word = "Answer:" if lead else ""
    return Template(
        before="",
        after=word,
        auto=params.chat is None,
        chat=params.chat is True,
        chat_lead=word,
        stops=("\n",),
        max_new_tokens=ANSWER_TOKENS,
        max_tokens=1024,
    )


def probes(place: Place, side: str, level: int, params: RwkuParams) -> list[Row]:
    """The probes of the subjects on one level."""
    rows = []
    for index, record in enumerate(place.rows(f"{side}_level{level}", "test", ProbeRecord)):
        if record.subject in params.subjects:
            name = f"{side}/level{level}/{index:05d}"
            wording = (
                BLANK
                if level == 1
                else {"incontext learning": BARE, "affirmative suffix": SUFFIXED}.get(record.type, BRIEF)
            )
            rows.append(
                Row(
                    row_id=name,
                    group_id=name,
                    split=side,
                    question=wording.format(record.query),
                    answer=record.answer,
                    form="held_out",
                    part=probe_part(level, record.type),
                    template=asked(params, lead=wording is not SUFFIXED),
                )
            )
    return rows


def texts(place: Place, config: str, split: str, params: RwkuParams) -> list[Row]:
    """Texts whose likelihood is measured."""
    found = enumerate(place.rows(config, "test", TextRecord))
    return [
        replace(document_row(f"{config}/{index:05d}", split, record.text), template=replace(DOCUMENT, max_tokens=1024))
        for index, record in found
        if record.subject in params.subjects
    ]


def general(place: Place) -> list[Row]:
    """General ability by letter, behind the examples that each row brings along; every question once."""
    rows: dict[str, Row] = {}
    for index, record in enumerate(place.rows("utility_general", "test", GeneralRecord)):
        shown = "".join(f"{lettered(example)}\nAnswer: {LETTERS[example.answer]}\n\n" for example in record.examples)
        about = f"The following are multiple choice questions (with answers) about {record.task.replace('_', ' ')}.\n\n"
        row = choice_row(
            row_id=f"general/{index:05d}",
            group_id=f"general/{index:05d}",
            split="general",
            question=record.question,
            options=record.choices,
            right=record.answer,
            introduction=about + shown,
            form="held_out",
        )
        longer = replace(row.template, max_tokens=4096) if row.template else None
        rows.setdefault(row.question, replace(row, template=longer))
    return list(rows.values())


def lettered(record: ChoiceRecord) -> str:
    options = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, record.choices, strict=False))
    return f"{record.question.strip()}{options}"


def training(records: Sequence[TextRecord], split: str, params: RwkuParams) -> list[Row]:
    return document_rows(split, [record.text for record in records], params.passage_characters)


def kept_subjects(records: Sequence[TextRecord], params: RwkuParams) -> frozenset[str]:
    """The first other targets. Raises ValueError where a subject has no passage, with the nearest that has."""
    there = list(dict.fromkeys(record.subject for record in records))
    for subject in params.subjects:
        if subject not in there:
            near = difflib.get_close_matches(subject, there, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the first are {', '.join(there[:5])}"
            raise ValueError(f"benchmark.subjects: RWKU has no passage about {subject!r}{hint}")
    others = [subject for subject in there if subject not in params.subjects]
    if not others:
        raise ValueError("benchmark.subjects: every target with a passage is to be forgotten, so nothing is kept")
    return frozenset(others[: params.retain_subjects])
