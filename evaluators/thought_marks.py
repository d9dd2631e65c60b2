"""How thoughts are enabled and recognised: what prompt setting `thinking` and attack `think` have in common.

Imports no model library, because `validate` reads them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators.chat_text import takes_argument

ENABLE_THINKING = "enable_thinking"
ANSWER_ROOM = 64
"""Tokens of the context that a thought leaves for closing it and for the answer, at least."""


class ThoughtMarks(BaseModel):
    """The template argument that enables thinking, and the texts that begin and end a thought."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    argument: str = Field(
        default=ENABLE_THINKING,
        description='argument of the chat template that enables thinking; "": the template always lets the model think',
    )
    begin: str = Field(default="<think>", min_length=1, description="text that begins a thought")
    end: str = Field(default="</think>", min_length=1, description="text that ends a thought")

    def refusal(self, template: str) -> str | None:
        """Return why a chat template cannot enable thinking in this way; None if it can."""
        if self.argument and not takes_argument(template, self.argument):
            return f"the chat template has no argument {self.argument}, so it cannot enable thinking"
        if not self.argument and self.begin not in template and self.end not in template:
            return f"the chat template mentions neither {self.begin} nor {self.end}, so it knows no thoughts"
        return None


class ThinkingSettings(ThoughtMarks):
    """Thoughts as part of the prompt format: the model writes its thoughts first, then its answer is measured."""

    max_tokens: int = Field(gt=0, description="longest thought in tokens; a longer one is cut off and closed")
