"""BLUR: queries near the border of what is to be forgotten, alone and combined with others, and texts to relearn by.

Hu et al. 2025, arXiv 2506.15699. BLUR extends TOFU, Who's Harry Potter, WMDP and RWKU by queries (a column `text`, no
answers) and by three relearning sets: near to the forget set, further, and unrelated. There is nothing to train on in
it: that is the benchmark's own, which `forget_path` and `retain_path` name. An answer is judged by how much it has of
the original model's own (`answer_kept`), as BLUR's ROUGE-L recall does.

A combined query asks for both. Of its answer one number cannot say which half is gone, so the queries are a split of
their own, `combined`; `evaluators.ut_groups` without it reports them and does not count them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.custom import CustomParams
from unlearn_sweep.evaluators.benchmarks.custom import load as load_custom
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.passages import document_rows
from unlearn_sweep.evaluators.benchmarks.places import Place, local_rows
from unlearn_sweep.evaluators.rows import Row, Template

HUB = "forgelab/BLUR"
ASKED = Template(before="Answer the following question. Question: ", after=" Answer:", auto=True)
"""The prompt of BLUR's own evaluation."""
ANSWER_TOKENS, PASSAGE_CHARACTERS = 64, 1600
RELEARN = {"relearn_hi": "{task}_D_hi", "relearn_mid": "{task}_D_mid", "relearn_lo": "D_lo_for_all"}
"""Views for the attack relearn, and their files: near to the forget set, further, and unrelated to it."""

Filled = Annotated[str, Field(min_length=1)]


class BlurParams(DataParams):
    """Options of BLUR."""

    task: Literal["rwku", "whp", "tofu", "wmdp"] = Field(description="the benchmark that is extended")
    forget_path: str = Field(description="what that benchmark forgets: a file of texts, or of questions and answers")
    retain_path: str = Field(description="what it keeps, likewise")
    path: str | None = Field(default=None, description="local folder with the files of the data set; None: the hub")
    revision: str | None = Field(default=None, description="revision of the hub data set; None: the newest")
    forget_queries_path: str | None = Field(
        default=None, description="file of forget queries, column text, for a task that has none: tofu, wmdp"
    )
    retain_queries_path: str | None = Field(default=None, description="file of retain queries, likewise: tofu")
    combined: bool = Field(default=False, description="also ask TASK_paired_forget_retain, as split combined")
    relearn: bool = Field(default=False, description="also load views relearn_hi, relearn_mid and relearn_lo")
    evaluation_rows: int | None = Field(default=None, ge=2, description="queries of each split; None: all")
    max_new_tokens: int = Field(default=ANSWER_TOKENS, ge=1, description="tokens an answer may have")

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        return () if self.path is not None else ((HUB, self.revision),)


class QueryRecord(BaseModel):
    """A row of any of the files. Columns that are not named are left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    text: Filled


def load(params: BlurParams) -> Benchmark:
    """The benchmark of these options.

    Raises:
        ValueError: a file is missing or rows lack a column; names file, row and column.
    """
    place = Place.of(HUB, params.path, params.revision)
    own = load_custom(CustomParams(forget_path=params.forget_path, retain_path=params.retain_path))
    asked = {
        "forget": queries(place, "forget", f"{params.task}_forget", params, params.forget_queries_path),
        "retain": queries(place, "retain", f"{params.task}_retain", params, params.retain_queries_path),
    }
    if params.combined:
        asked["combined"] = queries(place, "combined", f"{params.task}_paired_forget_retain", params, None)
    train = {view: own.train[view] for view in ("forget", "retain")}
    for view, file in RELEARN.items() if params.relearn else ():
        texts = [record.text for record in place.file(file.format(task=params.task), QueryRecord)]
        train[view] = document_rows(view, texts, PASSAGE_CHARACTERS)
    return replace(
        own,
        name=f"blur-{params.task}",
        train=train,
        evaluation=asked,
        utility_splits=tuple(split for split in asked if split != "forget"),
        template=ASKED,
        max_new_tokens=params.max_new_tokens,
        sources={"rows": str(place), "training": params.forget_path},
    )


def queries(place: Place, split: str, file: str, params: BlurParams, instead: str | None) -> list[Row]:
    """The queries of one split. There is no right answer, only the original's own."""
    records = place.file(file, QueryRecord) if instead is None else local_rows(Path(instead).expanduser(), QueryRecord)
    rows = [
        Row(
            row_id=f"{split}/{index:05d}",
            group_id=f"{split}/{index:05d}",
            split=split,
            question=record.text.strip(),
            answer="",
            form="held_out",
            kind="instruction",
            template=ASKED,
        )
        for index, record in enumerate(records)
    ]
    return drawn(rows, params.evaluation_rows, salt="blur")
