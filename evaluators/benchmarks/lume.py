"""LUME: synthetic creative documents, biographies with personal data, and real biographies, to be forgotten.

Ramakrishna et al. 2025, arXiv 2502.15097; the data of SemEval-2025 task 4. Every document is asked twice: the rest of
it behind its beginning (`regurgitation`), and questions about it (`exact_answer`). Prompts are the rows' own texts,
with nothing around them, as the published scorer asks. The tasks are the parts of the forget rows, and a utility split
each. MMLU, the third of SemEval's scores, is a task of lm-evaluation-harness; its membership score needs `mia_path`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.custom import RECIPE, whole_text
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.passages import document_row
from unlearn_sweep.evaluators.benchmarks.places import Place, local_rows
from unlearn_sweep.evaluators.benchmarks.tables import find_table
from unlearn_sweep.evaluators.rows import DOCUMENT, PASSAGE, Row, Template

HUB = "llmunlearningsemeval2025organization/semeval25-unlearning-dataset-public"
GATED = (
    "SemEval's rows are given out by a form (llmunlearningsemeval2025.github.io); LUME's own are in folder data of "
    "github.com/amazon-science/lume-llm-unlearning: give benchmark.path and release: lume"
)
TASKS = {"Task1": "creative", "Task2": "pii", "Task3": "biographies"}
"""Each task as the rows name it, and its part."""
COMPLETION, QUESTION = "sc", "qa"
"""A row's id is its document's, one of these, and a digit."""
REST_TOKENS, ANSWER_TOKENS, PROMPT_TOKENS = 256, 64, 2048
REST = replace(PASSAGE, ends=True, max_new_tokens=REST_TOKENS, max_tokens=PROMPT_TOKENS)
ASKED = Template(before="", after="", document=True, max_new_tokens=ANSWER_TOKENS, max_tokens=PROMPT_TOKENS)
SCORED = replace(DOCUMENT, max_tokens=PROMPT_TOKENS)

Filled = Annotated[str, Field(min_length=1)]


class LumeParams(DataParams):
    """Options of LUME."""

    path: str | None = Field(default=None, description="local folder with the files of the release; None: from the hub")
    revision: str | None = Field(default=None, description="revision of the hub data set; None: the newest")
    release: Literal["semeval", "lume"] = Field(
        default="semeval", description="semeval: forget_train, retain_train and _validation; lume: forget, retain"
    )
    fold: Literal["train", "validation"] = Field(
        default="train", description="of semeval: which documents are forgotten and judged; train: those of the task"
    )
    tasks: list[Literal["creative", "pii", "biographies"]] = Field(
        default=["creative", "pii", "biographies"], min_length=1, description="tasks to forget and to judge by"
    )
    retain_rows: int | None = Field(default=None, ge=1, description="retain rows to train on, drawn by hash; None: all")
    evaluation_rows: int | None = Field(
        default=None, ge=2, description="rows to judge by of each task and side; None: all"
    )
    mia_path: str | None = Field(
        default=None, description="folder with SemEval's member.jsonl and nonmember.jsonl, for mia_loss_auc"
    )

    @model_validator(mode="after")
    def _check_release(self) -> LumeParams:
        if self.release == "lume" and self.path is None:
            raise ValueError("release lume is no data set of the hub: give path, its folder data")
        if self.release == "lume" and self.fold != "train":
            raise ValueError(f"release lume has no folds; fold is {self.fold}")
        return self

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        return () if self.path is not None else ((HUB, self.revision),)


class LumeRecord(BaseModel):
    """A row of any of the files. Columns that are not named (`split`) are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: Filled
    input: Filled
    output: Filled
    task: Literal["Task1", "Task2", "Task3"]

    @model_validator(mode="after")
    def _check_id(self) -> LumeRecord:
        if self.id[-3:-1] not in (COMPLETION, QUESTION) or not self.id[-1].isdigit():
            raise ValueError(f"id must end with sc or qa and a digit; it is {self.id!r}")
        return self


class MemberRecord(BaseModel):
    """A row of `member` and `nonmember`."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    document: Filled


def load(params: LumeParams) -> Benchmark:
    """The benchmark of these options.

    Raises:
        ValueError: a file is missing or rows lack a column; names file, row and column.
    """
    place = Place.of(HUB, params.path, params.revision)
    sides = {side: side_rows(place, side, params) for side in ("forget", "retain")}
    evaluation = {"forget": [row for task in params.tasks for row in judged(sides["forget"], task, params)]}
    kept = {f"retain_{task}": judged(sides["retain"], task, params) for task in params.tasks}
    evaluation |= {split: [replace(row, split=split) for row in rows] for split, rows in kept.items()}
    if params.mia_path is not None:
        evaluation["forget"] += membership(params.mia_path, "member", "forget")
        evaluation["holdout"] = membership(params.mia_path, "nonmember", "holdout")
    empty = [split for split, rows in evaluation.items() if not rows]
    if empty:
        raise ValueError(f"{place}: no rows to judge {', '.join(empty)} by; choose benchmark.tasks that have rows")
    train = {"forget": sides["forget"], "retain": drawn(sides["retain"], params.retain_rows, salt="lume")}
    return Benchmark(
        name="lume",
        train=train,
        evaluation=evaluation,
        utility_splits=tuple(kept),
        tokenizer_texts=[whole_text(row, Template()) for rows in train.values() for row in rows],
        recipe=TINY,
        max_new_tokens=REST_TOKENS,
        sources={"rows": str(place)},
    )


TINY: TrainRecipe = replace(RECIPE, config={**RECIPE.config, "max_position_embeddings": PROMPT_TOKENS}, epochs=6.0)
"""For made fixtures; the published models are OLMo-7B-0724-Instruct and OLMo-1B-0724, tuned on all documents."""


def side_rows(place: Place, side: str, params: LumeParams) -> list[Row]:
    """All rows of one side in the chosen tasks."""
    if params.release == "lume":
        records = place.whole(side, LumeRecord)
    else:
        records = place.whole(f"{side}_{params.fold}", LumeRecord)
    return [lume_row(record, side) for record in records if TASKS[record.task] in params.tasks]


def lume_row(record: LumeRecord, side: str) -> Row:
    """The rest of a document, or a question about it. All rows of a document are one group."""
    document, asks = f"{side}/{record.id[:-3]}", record.id[-3:-1] == QUESTION
    return Row(
        row_id=f"{side}/{record.id}",
        group_id=document,
        fact_id=f"{side}/{record.id}",
        split=side,
        part=TASKS[record.task],
        question=record.input if asks else record.input.rstrip(),
        answer=record.output.strip(),
        kind="question" if asks else "continuation",
        template=ASKED if asks else REST,
    )


def judged(rows: Sequence[Row], task: str, params: LumeParams) -> list[Row]:
    """The judged rows of one task."""
    return drawn([row for row in rows if row.part == task], params.evaluation_rows, salt="lume")


def membership(folder: str, name: str, split: str) -> list[Row]:
    """Documents whose losses are compared: trained on (member) and not (nonmember)."""
    records = local_rows(find_table(Path(folder).expanduser(), name), MemberRecord)
    return [
        replace(document_row(f"{split}/{name}/{index:05d}", split, record.document), template=SCORED)
        for index, record in enumerate(records)
    ]
