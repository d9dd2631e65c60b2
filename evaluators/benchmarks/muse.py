"""MUSE: news articles or the Harry Potter books, to be forgotten as text and as knowledge.

Shi et al. 2024, arXiv 2407.06460. Forgetting is judged by how much of a passage a model goes on with (`verbmem`), what
it answers to questions behind ten examples (`knowmem`), and whether its texts can be told from unseen ones (`mia_*`,
`privleak`). The target values are those of the gold model, not 0. A judged text shares its group with the training
passages that it is taken from, so that no attack that trains on one half is scored on texts it has seen.

A question's prompt ends with "Answer:", and the answer's first token has the blank, as in all examples before it. The
published scorer ends it with "Answer: ", which most tokenizers make a token of its own that no example shows, and takes
an answer that begins with a blank line for empty; `compat: muse_bench` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.custom import RECIPE, whole_text
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.links import overlapping_texts_joined
from unlearn_sweep.evaluators.benchmarks.passages import document_row, document_rows
from unlearn_sweep.evaluators.benchmarks.places import Place
from unlearn_sweep.evaluators.rows import DOCUMENT, PASSAGE, Row, Template

HUBS = {"news": "muse-bench/MUSE-News", "books": "muse-bench/MUSE-Books"}
TEXT_TOKENS = 2048
"""Tokens of a text or a prompt that are read, as in MUSE."""
PASSAGE_TOKENS, ANSWER_TOKENS = 128, 32
VERBATIM = replace(PASSAGE, max_new_tokens=PASSAGE_TOKENS, max_tokens=TEXT_TOKENS)
SCORED = replace(DOCUMENT, max_tokens=TEXT_TOKENS)
REQUEST_SETS = 4
"""Forget sets of `sust`, and of `scal`."""
STOPS = ("\n\n", "\nQuestion", "Question:")

Filled = Annotated[str, Field(min_length=1)]


class MuseParams(DataParams):
    """Options of MUSE."""

    corpus: Literal["news", "books"] = Field(description="which of the two data sets")
    path: str | None = Field(default=None, description="local folder laid out as the hub data set; None: from the hub")
    revision: str | None = Field(default=None, description="revision of the hub data set; None: the newest")
    passage_characters: int = Field(default=1600, ge=100, description="texts to train on are cut at so many")
    retain_documents: int | None = Field(default=None, ge=1, description="first documents of retain1; None: all")
    evaluation_rows: int | None = Field(default=None, ge=2, description="rows to judge by of each kind; None: all 100")
    compat: Literal["none", "muse_bench"] = Field(
        default="none",
        description="muse_bench: knowmem and verbmem as the published scorer asks and compares, to meet its numbers",
    )

    request_sets: Literal["sust", "scal"] | None = Field(
        default=None,
        description="the published sets of requests, up to four: sust, as many articles each; scal, forget sets of "
        "growing size. None: raw/forget, divided by requests where that is given",
    )

    @model_validator(mode="after")
    def _check_requests(self) -> MuseParams:
        if self.request_sets is None:
            return self
        if self.requests is None or self.requests > REQUEST_SETS:
            raise ValueError(f"request_sets: give requests, from 2 to {REQUEST_SETS}")
        return self

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        return () if self.path is not None else ((HUBS[self.corpus], self.revision),)


class Record(BaseModel):
    """Columns that are not named are left alone."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)


class TextRecord(Record):
    """A row of `raw` and `privleak`."""

    text: Filled


class VerbatimRecord(Record):
    """A row of `verbmem`."""

    prompt: Filled
    gt: Filled


class QuestionRecord(Record):
    """A row of `knowmem`."""

    question: Filled
    answer: Filled


def load(params: MuseParams) -> Benchmark:
    """The benchmark of these options.

    Raises:
        ValueError: a file is missing or rows lack a column; names file, row and column.
    """
    place, raw = Place.of(HUBS[params.corpus], params.path, params.revision), params.compat == "muse_bench"
    train = {
        "forget": forget_rows(place, params),
        "retain": training(place.rows("raw", "retain1", TextRecord)[: params.retain_documents], "retain", params),
    }
    verbatim = [
        verbatim_row(index, record, raw=raw)
        for index, record in enumerate(place.rows("verbmem", "forget", VerbatimRecord))
    ]
    kinds = {
        "forget": [verbatim, questions(place, "forget", raw=raw), scored(place, "forget", "forget")],
        "retain": [questions(place, "retain", raw=raw)],
        "holdout": [scored(place, "holdout", "holdout")],
    }
    evaluation = {
        split: [row for rows in parts for row in drawn(rows, params.evaluation_rows, salt="muse")]
        for split, parts in kinds.items()
    }
    train["forget"], evaluation["forget"] = overlapping_texts_joined(train["forget"], evaluation["forget"])
    if params.request_sets is not None:
        evaluation["forget"] = of_their_requests(evaluation["forget"], train["forget"])
    trained = [*train["forget"], *train["retain"]]
    return Benchmark(
        name=f"muse-{params.corpus}",
        train=train,
        evaluation=evaluation,
        utility_splits=("retain",),
        tokenizer_texts=[whole_text(row, Template()) for row in (*trained, *evaluation["retain"])],
        recipe=TINY,
        max_new_tokens=ANSWER_TOKENS,
        sources={"rows": str(place)},
    )


TINY: TrainRecipe = replace(RECIPE, config={**RECIPE.config, "max_position_embeddings": TEXT_TOKENS}, epochs=4.0)
"""For made fixtures; the published models are Llama-2-7B (News) and ICLM-7B (Books)."""


def training(records: Sequence[TextRecord], split: str, params: MuseParams) -> list[Row]:
    """Every document, passage by passage."""
    return document_rows(split, [record.text for record in records], params.passage_characters)


def forget_rows(place: Place, params: MuseParams) -> list[Row]:
    """The passages to forget. Of the published sets each text belongs to the first set that has it."""
    if params.request_sets is None:
        return training(place.rows("raw", "forget", TextRecord), "forget", params)
    rows: list[Row] = []
    seen: set[str] = set()
    for number in range(1, (params.requests or 0) + 1):
        found = place.rows(params.request_sets, f"forget_{number}", TextRecord)
        texts = [text for text in dict.fromkeys(record.text for record in found) if text not in seen]
        seen.update(texts)
        own = document_rows("forget", texts, params.passage_characters, name=f"forget/request{number}")
        rows += [replace(row, request=number) for row in own]
    return rows


def of_their_requests(judged: Sequence[Row], trained: Sequence[Row]) -> list[Row]:
    """Judged rows under the request of the passages they are taken from; what is taken from none, under the first.

    MUSE's questions and texts to judge by are those of raw/forget, the first set of both kinds.
    """
    number = {row.group_id: row.request for row in trained}
    return [replace(row, request=number.get(row.group_id, 1)) for row in judged]


def verbatim_row(index: int, record: VerbatimRecord, *, raw: bool) -> Row:
    name = f"forget/verbmem/{index:03d}"
    return Row(
        row_id=name,
        group_id=name,
        split="forget",
        question=record.prompt,
        answer=record.gt if raw else record.gt.lstrip(),
        kind="continuation",
        template=replace(VERBATIM, raw=raw, answer_lead="" if raw else VERBATIM.answer_lead),
    )


def questions(place: Place, split: str, *, raw: bool) -> list[Row]:
    """Questions behind the ten examples of the same side. `raw`: the prompt ends with a blank, as the published one."""
    shown = place.rows("knowmem", f"{split}_qa_icl", QuestionRecord)
    examples = "".join(f"Question: {record.question}\nAnswer: {record.answer}\n\n" for record in shown)
    template = Template(
        before=f"{examples}Question: ", stops=STOPS, max_new_tokens=ANSWER_TOKENS, max_tokens=TEXT_TOKENS
    )
    if raw:
        template = replace(template, after=f"{template.after} ", answer_lead="", raw=True)
    return [
        Row(
            row_id=f"{split}/knowmem/{index:03d}",
            group_id=f"{split}/knowmem/{index:03d}",
            split=split,
            question=record.question,
            answer=record.answer,
            form="held_out",
            template=template,
        )
        for index, record in enumerate(place.rows("knowmem", f"{split}_qa", QuestionRecord))
    ]


def scored(place: Place, source: str, split: str) -> list[Row]:
    """Texts whose likelihood is compared: members (forget) and texts that no model saw (holdout)."""
    return [
        replace(document_row(f"{split}/privleak/{index:03d}", split, record.text), template=SCORED)
        for index, record in enumerate(place.rows("privleak", source, TextRecord))
    ]
