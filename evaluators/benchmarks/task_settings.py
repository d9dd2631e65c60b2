"""Which data a task's rows are read from. Read by `validate`: imports no model library."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

KNOWN = ("gsm8k", "sst2", "mnli")
"""Data sets known by a short name."""


class TaskDataSettings(BaseModel):
    """A task's data: a known name, a local file or a hub data set, and how its columns are read."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    data: str = Field(
        default="gsm8k",
        min_length=1,
        description='"gsm8k", "sst2", "mnli", a local file (.jsonl, .json, .csv, .parquet), or a hub data set id',
    )
    task: Literal["questions", "sst2", "mnli"] | None = Field(
        default=None,
        description="whose columns the data have; null: those of the data named, else questions with answers",
    )
    subset: str | None = Field(default=None, description="configuration name of a hub data set")
    data_split: str = Field(default="train", min_length=1, description="split of a hub data set")
    question_column: str = Field(default="question", min_length=1, description="column asked")
    answer_column: str = Field(default="answer", min_length=1, description="column supervised")
    max_rows: int = Field(default=8000, ge=1, description="rows read at most, drawn with the seed")
    heldout_rows: int = Field(default=64, ge=1, description="rows kept apart to check that the tuning took")

    @property
    def named_task(self) -> str:
        """The task by name: `task`, or what the data's own name says."""
        return self.task or (self.data if self.data in ("sst2", "mnli") else "questions")
