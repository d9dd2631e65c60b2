"""Rows as they are put to a model: tokenised, changed by an attack's prompt edit, the unaskable ones left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn_sweep.evaluators.rows import MAX_TOKENS, Example, PromptEdit, Row, Template, encode_many

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DROPPED_BY_EDIT = "dropped by the prompt edit"
NO_ANSWER_TOKEN = "no answer token within the token limit"
EXCEEDS_CONTEXT = "longer than the model's context"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRow:
    """One row's examples after the prompt edit. `reference` is the text that is still to be answered.

    `paraphrase` is None and `perturbed` is shorter where the row has no such answer or it cannot be asked. `choices`
    are the letters of a choice row, all of them or none.
    """

    row: Row
    answer: Example
    reference: str
    paraphrase: Example | None = None
    perturbed: tuple[Example, ...] = ()
    choices: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEncoder:
    """How rows are asked. `context` is the model's longest sequence in tokens, None where it has no limit."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    prompt_edit: PromptEdit | None = None
    context: int | None = None

    def ask(self, rows: Sequence[Row], *, alternatives: bool) -> tuple[list[AskedRow], dict[str, int]]:
        """The rows that can be asked, in order, and how many cannot, by reason; alternatives only where wanted.

        Raises ValueError where a row_id is given twice: results are matched by it.
        """
        twice = [row_id for row_id, count in Counter(row.row_id for row in rows).items() if count > 1]
        if twice:
            raise ValueError(
                f"row_id {twice[0]!r} is given more than once ({len(twice)} such ids); results are matched by row_id"
            )
        answers = [list(_answers(row, alternatives)) for row in rows]
        wanted = [(row.row_id, row.question, text) for row, texts in zip(rows, answers, strict=True) for text in texts]
        templates = [self._template(row) for row, texts in zip(rows, answers, strict=True) for _ in texts]
        examples = iter(encode_many(self.tokenizer, wanted, templates, max_tokens=MAX_TOKENS))
        asked: list[AskedRow] = []
        dropped: Counter[str] = Counter()
        for row, texts in zip(rows, answers, strict=True):
            found = self._asked(row, [next(examples) for _ in texts])
            if isinstance(found, str):
                dropped[found] += 1
            else:
                asked.append(found)
        return asked, dict(dropped)

    def _template(self, row: Row) -> Template:
        """The row's own template, or the benchmark's, within the model's context."""
        template = row.template or self.template
        limit = template.max_tokens or MAX_TOKENS
        return template if self.context is None else replace(template, max_tokens=min(limit, self.context))

    def _asked(self, row: Row, plain: Sequence[Example]) -> AskedRow | str:
        """One row from its examples: the answer, then the choices, or the paraphrase and the perturbed answers."""
        answer = self._edited(plain[0], open_ended=row.kind == "instruction")
        if isinstance(answer, str):
            return answer
        unedited = answer.answer_ids == plain[0].answer_ids
        others = [found if isinstance(found, Example) else None for found in map(self._edited, plain[1:])]
        if row.choices:
            letters = tuple(found for found in others if found is not None)
            complete = letters if len(letters) == len(row.choices) else ()
            return AskedRow(row=row, answer=answer, reference=row.answer, choices=complete)
        paraphrase = others.pop(0) if others and row.paraphrased_answer is not None else None
        return AskedRow(
            row=row,
            answer=answer,
            reference=row.answer if unedited else self._text(answer.content_ids),
            paraphrase=paraphrase,
            perturbed=tuple(wrong for wrong in others if wrong is not None),
        )

    def _edited(self, plain: Example, *, open_ended: bool = False) -> Example | str:
        """The example as it is asked, or why it cannot be; `open_ended` has no answer of its own."""
        edited = self.prompt_edit(plain) if self.prompt_edit is not None else plain
        if edited is None:
            return DROPPED_BY_EDIT
        if not edited.answer_ids and not open_ended:
            return NO_ANSWER_TOKEN
        if self.context is not None and len(edited.prompt_ids) + len(edited.answer_ids) > self.context:
            return EXCEEDS_CONTEXT
        return edited

    def _text(self, token_ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True)).strip()


def _answers(row: Row, alternatives: bool) -> Iterator[str]:
    yield row.answer
    if row.choices:
        yield from row.choices
    elif alternatives:
        if row.paraphrased_answer is not None:
            yield row.paraphrased_answer
        yield from row.perturbed_answers
