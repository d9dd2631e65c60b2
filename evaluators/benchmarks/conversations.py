"""Conversations as rows: each turn of the assistant is an answer, and what was said before it stands in its prompt.

A row has `messages`, a list of {role, content} as chat endpoints take it: an optional system message, then the user and
the assistant in turn, the assistant last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from unlearn_sweep.evaluators.benchmarks.records import Record, Text, listed
from unlearn_sweep.evaluators.rows import Row, Template

SYSTEM = ("system", "developer")


class Message(BaseModel):
    """One turn."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Text


class ConversationRecord(Record):
    """A conversation of any number of turns."""

    messages: Annotated[list[Message], BeforeValidator(listed), Field(min_length=2)]

    @model_validator(mode="after")
    def _check_turns(self) -> ConversationRecord:
        roles = [message.role for message in self.messages]
        spoken = roles[1:] if roles[0] in SYSTEM else roles
        if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
            raise ValueError(
                "messages must be the user and the assistant in turn, the assistant last, behind at most one system "
                f"message; the roles are {', '.join(roles)}"
            )
        return self


def turn_rows(row_id: str, split: str, record: ConversationRecord, template: Template, *, held_out: bool) -> list[Row]:
    """One row for each turn of the assistant, in order. They share a group: one may give away what the next asks."""
    first, *_ = record.messages
    system = first.content if first.role in SYSTEM else template.system
    spoken = [message.content for message in record.messages if message.role not in SYSTEM]
    pairs = list(zip(spoken[::2], spoken[1::2], strict=True))
    group = row_id if record.group is None else f"{split}/group/{record.group}"
    return [
        Row(
            row_id=row_id if len(pairs) == 1 else f"{row_id}/{turn:02d}",
            group_id=group,
            fact_id=f"{row_id}/{turn:02d}",
            split=split,
            question=question,
            answer=answer,
            form="held_out" if held_out else "trained",
            template=replace(template, system=system, turns=tuple(pairs[:turn]), conversation=True),
        )
        for turn, (question, answer) in enumerate(pairs)
    ]
