"""Views that a language model writes: which kinds there are, what each is written for, and the options of each.

A view is a table of texts written for some rows of a benchmark (`written_rows`): paraphrases of the forget rows, wrong
answers to them, questions about running text. This module is read by sweep files and plans and imports no model
library.

Sources of the kinds: paraphrases and summaries, GAO (released code, repository Zhong-Zhengyi/Ignore); alternate
answers, AltPO (Mekala et al. 2024, arXiv 2409.13474); vague answers, ReLearn (arXiv 2502.11190); questions from text,
Full-Stack (arXiv 2510.07626); relearning sets and paraphrased questions, JensUn (arXiv 2509.02820); aliases, RWKU
(arXiv 2406.10890); questions of several hops, MQuAKE (arXiv 2305.14795).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "paraphrase",
    "summary",
    "alternate_answer",
    "vague_answer",
    "questions_from_text",
    "relearn_set",
    "alias",
    "multi_hop",
]
JUDGED = "judged"
"""The forget rows that are judged, where views of training rows name a training view."""
QUESTIONS = "_questions"
"""Ends the name of the questions that were written for a training view: forget_questions."""
WRITER_PATTERN = r"^[a-z][a-z0-9]{0,19}$"
WriterName = Annotated[str, Field(pattern=WRITER_PATTERN)]
Writers = Annotated[list[WriterName], Field(min_length=1)]
DEFAULT_WRITER = "main"


class ViewOptions(BaseModel):
    """Options that every kind has."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)

    writers: Writers = Field(
        default=[DEFAULT_WRITER],
        description="who writes: main is named by UNLEARN_SWEEP_WRITER_URL and its sisters, any other NAME by "
        "UNLEARN_SWEEP_WRITER_NAME_URL",
    )
    check: Literal["rule", "judge"] = Field(
        default="rule", description="what a text has to pass: the kind's rule, or the rule and then the judge"
    )
    attempts: int = Field(default=3, ge=1, le=50, description="answers a writer is asked for until one passes")
    missing: Literal["refuse", "leave_out"] = Field(
        default="refuse", description="rows without enough texts: refuse to run, or train without them and say so"
    )
    path: str | None = Field(
        default=None,
        min_length=1,
        description="parquet, CSV or JSON lines file of the view; left out: a parquet file below storage",
    )


class ParaphraseOptions(ViewOptions):
    """Questions with answers in other words."""

    of: Literal["forget", "forget_questions", "judged"] = Field(
        default="forget", description="rows: forget, the questions written for it, or the forget rows that are judged"
    )
    number: int = Field(default=6, ge=1, le=64, description="wordings of each row by each writer")
    part: Literal["answer", "question", "both"] | None = Field(
        default=None, description="what is worded again; left out: the question of judged rows, else the answer"
    )


class SummaryOptions(ViewOptions):
    """Running text, said shorter."""

    of: Literal["forget"] = Field(default="forget", description="rows: the running text of forget")
    number: int = Field(default=6, ge=1, le=64, description="summaries of each row by each writer")


class AlternateAnswerOptions(ViewOptions):
    """Plausible wrong answers."""

    of: Literal["forget", "forget_questions"] = Field(
        default="forget", description="rows: forget, or the questions written for it"
    )
    number: int = Field(default=3, ge=1, le=64, description="wrong answers to each row by each writer")


class VagueAnswerOptions(ViewOptions):
    """Answers that stay on the subject and give nothing away."""

    of: Literal["forget", "forget_questions"] = Field(
        default="forget", description="rows: forget, or the questions written for it"
    )
    number: int = Field(default=5, ge=1, le=64, description="vague answers to each row by each writer")
    part: Literal["answer", "both"] = Field(
        default="both", description="what is written: the answer, or the question in other words and the answer"
    )


class QuestionsOptions(ViewOptions):
    """Questions about running text, with their answers."""

    of: Literal["forget", "retain"] = Field(default="forget", description="rows: the running text of forget or retain")
    number: int = Field(default=3, ge=1, le=32, description="questions about each passage by each writer, at most")
    readers: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[],
        description="methods that train on these questions in place of the text, besides those that need a question",
    )


class RelearnSetOptions(ViewOptions):
    """Harmless questions on the subjects of the forget rows, for relearning attacks."""

    of: Literal["forget"] = Field(default="forget", description="rows whose subjects are written about")
    number: int = Field(default=10, ge=1, le=64, description="questions on each topic by each writer")
    topics: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="subjects to write about; left out: the subject of each group of forget rows"
    )


class JudgedQuestionOptions(ViewOptions):
    """The judged questions, asked in another way."""

    of: Literal["judged"] = Field(default="judged", description="rows: the forget rows that are judged")
    number: int = Field(default=3, ge=1, le=64, description="questions for each row by each writer")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewKind:
    """A kind of view. `gives`: the columns that its texts fill. `pairs`: one call gives several questions."""

    name: Kind
    summary: str
    options: type[ViewOptions]
    gives: tuple[str, ...]
    source: str
    pairs: bool = False


KINDS: Mapping[str, ViewKind] = {
    kind.name: kind
    for kind in (
        ViewKind(
            name="paraphrase",
            summary="questions with answers in other words: GAO, attack paraphrase",
            options=ParaphraseOptions,
            gives=("question", "answer"),
            source="GAO, released code; JensUn, arXiv 2509.02820",
        ),
        ViewKind(
            name="summary",
            summary="running text, said shorter: GAO on texts",
            options=SummaryOptions,
            gives=("answer",),
            source="GAO, released code",
        ),
        ViewKind(
            name="alternate_answer",
            summary="plausible wrong answers: AltPO",
            options=AlternateAnswerOptions,
            gives=("answer",),
            source="AltPO, arXiv 2409.13474",
        ),
        ViewKind(
            name="vague_answer",
            summary="answers that give nothing away: ReLearn",
            options=VagueAnswerOptions,
            gives=("answer",),
            source="ReLearn, arXiv 2502.11190",
        ),
        ViewKind(
            name="questions_from_text",
            summary="questions about running text, with answers: methods that refuse or prefer an answer",
            options=QuestionsOptions,
            gives=("question", "answer"),
            source="Full-Stack, arXiv 2510.07626",
            pairs=True,
        ),
        ViewKind(
            name="relearn_set",
            summary="harmless questions on the same subjects: attack relearn with data: relearn_set",
            options=RelearnSetOptions,
            gives=("question", "answer"),
            source="JensUn, arXiv 2509.02820",
            pairs=True,
        ),
        ViewKind(
            name="alias",
            summary="judged questions that do not name their subject: attack paraphrase with source: alias",
            options=JudgedQuestionOptions,
            gives=("question",),
            source="the idea of RWKU's adversarial probes, arXiv 2406.10890",
        ),
        ViewKind(
            name="multi_hop",
            summary="judged questions that need one more step: attack paraphrase with source: multi_hop",
            options=JudgedQuestionOptions,
            gives=("question",),
            source="the idea of multi-hop probes of edited knowledge, MQuAKE, arXiv 2305.14795",
        ),
    )
}


class WrittenView(BaseModel):
    """A view of a sweep with every option filled in, and where its texts are.

    Attributes:
        path: absolute path of its file.
        digest: content digest of its texts (`written_rows.content_digest`); None where there is no readable file.
        part: paraphrases and vague answers only: what is written.
        topics: relearning sets only: subjects to write about; empty for those of the forget rows.
        readers: questions from text only: methods that train on them besides those that need a question.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)

    kind: Kind
    of: str
    number: int
    writers: list[str]
    check: Literal["rule", "judge"]
    attempts: int
    missing: Literal["refuse", "leave_out"]
    path: str
    digest: str | None = None
    part: Literal["answer", "question", "both"] | None = None
    topics: list[str] = []
    readers: list[str] = []

    @property
    def label(self) -> str:
        return f"{self.kind} of {self.of}"

    @property
    def card(self) -> ViewKind:
        return KINDS[self.kind]

    @property
    def wordings(self) -> int:
        """Texts of one row by all writers together."""
        return self.number * len(self.writers)

    @property
    def words_question(self) -> bool:
        """Whether its texts are questions alone, whose answer stays the row's."""
        return self.card.gives == ("question",) or self.part == "question"

    def settings(self) -> dict[str, object]:
        """What decides which texts the file should hold, besides the rows: the name of a file is made of it."""
        kept = {"kind", "of", "number", "writers", "check", "attempts", "part", "topics"}
        return self.model_dump(mode="json", include=kept)
