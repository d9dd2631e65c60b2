"""Which tasks of lm-evaluation-harness a model is measured by, and how each is asked. Plain values, JSON both ways."""

from __future__ import annotations

from pydantic import BaseModel, Field

NO_FILTER = "none"
METRIC = "lm_eval"
"""The metric under which a task's values stand, whatever its own is called."""


class TaskSettings(BaseModel, defer_build=True, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """One task as the sweep file has it. What is left out is as the task itself says, and filled in when it is read."""

    num_fewshot: int | None = Field(default=None, ge=0, le=100, description="examples shown; left out: the task's own")
    limit: int | None = Field(default=None, ge=1, description="first rows of each (sub)task; null: all")
    metric: str | None = Field(
        default=None,
        pattern=r"^[^,\s]+(,[^,\s]+)?$",
        description='metric, or "metric,filter", as the harness prints it; left out: the task\'s first',
    )
    chat: bool = Field(default=False, description="ask through the tokenizer's chat template")
    max_new_tokens: int | None = Field(
        default=None, ge=1, description="tokens a generated answer may have; left out: the task's own"
    )
    chance: float | None = Field(
        default=None, ge=0, lt=1, description="what knowing nothing scores; left out: one in the choices, else 0"
    )
    data: str | None = Field(
        default=None,
        min_length=1,
        description="local rows: a file of those to ask, or a folder with <split>.jsonl (subtasks: <config>/<split>)",
    )
    counts: bool = Field(default=True, description="false: measured and reported beside UT, and no part of it")


class AskedTask(TaskSettings, frozen=True):
    """One task as it is asked: `metric` and `num_fewshot` filled in, paths absolute.

    `folder`: of task definitions of one's own, besides the harness's. `pinned`: where the rows come from is fixed.
    """

    name: str
    folder: str | None = None
    pinned: bool = True

    @property
    def split(self) -> str:
        """The split its rows stand under in the table of rows."""
        return f"task:{self.name}"

    @property
    def metric_name(self) -> str:
        return (self.metric or "").partition(",")[0]

    @property
    def filter_name(self) -> str:
        return (self.metric or "").partition(",")[2] or NO_FILTER

    def described(self) -> str:
        """In words: "gsm8k (5 examples, first 200 rows, exact_match,strict-match)"."""
        rows = "all rows" if self.limit is None else f"first {self.limit} rows"
        shots = "its own examples" if self.num_fewshot is None else f"{self.num_fewshot} examples"
        return f"{self.name} ({shots}, {rows}, {self.metric})"
