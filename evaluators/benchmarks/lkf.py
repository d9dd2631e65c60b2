"""LKF, Lesser Known Facts: each fact asked in up to sixteen wordings, with and without unrelated questions before it.

JensUn, arXiv 2509.02820. Forgetting is judged by the worst case: a fact is known as long as any wording brings it out
(`contained_worst` by a string rule, `judge_worst*` by a judge). The facts are real, so there is no gold model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.custom import RECIPE, whole_text
from unlearn_sweep.evaluators.benchmarks.drawing import drawn
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.benchmarks.places import Place
from unlearn_sweep.evaluators.benchmarks.rwku import HUB as RWKU
from unlearn_sweep.evaluators.benchmarks.rwku import general
from unlearn_sweep.evaluators.benchmarks.rwku_abilities import ABILITIES
from unlearn_sweep.evaluators.rows import Row, Template
from unlearn_sweep.evaluators.words import folded_text, word_list

OWNER = "nmndeep/LKF-forget_standard"
SHOWN = (
    ("Where were the Summer Olympics of 2012 held?", "London"),
    ("What is the capital of Australia?", "Canberra"),
    ("In which year did the Second World War end?", "1945"),
)
INSTRUCTION = "Answer each question with a short answer and nothing else.\n\n"
IN_CONTEXT = 3
ANSWER_TOKENS = 50

Filled = Annotated[str, Field(min_length=1)]
RwkuSet = Literal["general", "reasoning", "truthfulness", "factuality", "fluency"]


class LkfParams(DataParams):
    """Options of LKF."""

    path: str | None = Field(default=None, description="local folder with files named as the hub data sets")
    revision: str | None = Field(default=None, description="revision of the hub data sets; None: the newest")
    train_paraphrases: bool = Field(default=True, description="train on the paraphrased questions, too")
    in_context: bool = Field(default=True, description="ask each forget wording behind unrelated questions as well")
    retain_facts: int | None = Field(default=400, ge=2, description="first facts to judge utility by; None: all")
    relearn: bool = Field(default=False, description="also load view relearn, for the attack of that name")
    rwku: list[RwkuSet] = Field(
        default=[],
        description="utility sets of RWKU to judge by as well, as JensUn does: general is MMLU, fluency AlpacaEval's "
        "instructions",
    )
    rwku_path: str | None = Field(default=None, description="local folder of RWKU's sets; None: from the hub")
    rwku_revision: str | None = Field(default=None, description="revision of RWKU's hub data set; None: the newest")
    rwku_rows: int | None = Field(default=100, ge=2, description="rows of each of these sets, drawn by hash; None: all")

    def hub_sets(self) -> tuple[tuple[str, str | None], ...]:
        owner = OWNER.partition("/")[0]
        pairs = [(side, part) for side in ("forget", "retain") for part in ("standard", "eval_para")]
        own = [] if self.path is not None else [(f"{owner}/LKF-{side}_{part}", self.revision) for side, part in pairs]
        beside = [(RWKU, self.rwku_revision)] if self.rwku and self.rwku_path is None else []
        return (*own, *beside)


class FactRecord(BaseModel):
    """A row of the training sets."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)

    question: Filled
    answer: Filled


class WordingsRecord(FactRecord):
    """A row of the evaluation sets: every other column whose name begins with q_ is a wording of the question."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    @property
    def wordings(self) -> dict[str, str]:
        """Wordings by column, the question itself first; empty ones are left out."""
        extra: Mapping[str, Any] = self.model_extra or {}
        others = {
            name: text for name, text in extra.items() if name.startswith("q_") and isinstance(text, str) and text
        }
        return {"question": self.question, **others}


def load(params: LkfParams) -> Benchmark:
    """The benchmark of these options.

    Raises:
        ValueError: a file is missing or rows lack a column; names file, row and column.
    """
    place = Place.of(OWNER, params.path, params.revision)
    standard = {side: place.alone(f"LKF-{side}_standard", FactRecord) for side in ("forget", "retain")}
    judged = {side: place.alone(f"LKF-{side}_eval_para", WordingsRecord) for side in ("forget", "retain")}
    train = {side: training(place, side, standard[side], judged[side], params) for side in standard}
    if params.relearn:
        found = place.alone("LKF-relearn_standard", FactRecord)
        train["relearn"] = [
            fact_row(f"relearn/{index:04d}", "", "relearn", record) for index, record in enumerate(found)
        ]
    forget = wording_rows("forget", judged["forget"])
    if params.in_context:
        forget += [behind_others(row, standard["retain"]) for row in forget]
    evaluation = {
        "forget": forget,
        "retain": wording_rows("retain", judged["retain"][: params.retain_facts]),
        **rwku_sets(params),
    }
    return Benchmark(
        name="lkf",
        train=train,
        evaluation=evaluation,
        utility_splits=("retain", *params.rwku),
        template=TEMPLATE,
        tokenizer_texts=[whole_text(row, TEMPLATE) for rows in train.values() for row in rows],
        recipe=TINY,
        max_new_tokens=ANSWER_TOKENS,
        sources={"rows": str(place)},
    )


TINY: TrainRecipe = replace(RECIPE, epochs=10.0)
"""For made fixtures; published results are of Llama-3.2-3B-Instruct."""


def rwku_sets(params: LkfParams) -> dict[str, list[Row]]:
    """The rows of RWKU's utility sets that are judged by as well, by split; nothing of them is trained on.

    Raises:
        ValueError: a file is missing or rows lack a column; names file, row and column.
    """
    place = Place.of(RWKU, params.rwku_path, params.rwku_revision)
    found = {name: general(place) if name == "general" else ABILITIES[name](place, None) for name in params.rwku}
    return {name: drawn(rows, params.rwku_rows, salt="rwku") for name, rows in found.items()}


def shots(pairs: Sequence[tuple[str, str]]) -> str:
    return "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in pairs)


TEMPLATE = Template(before=f"{INSTRUCTION}{shots(SHOWN)}Question: ", stops=("\n",), max_tokens=1024)
"""A short-answer instruction with three examples, as JensUn asks, in our own words."""


def facts_behind(facts: Sequence[FactRecord], records: Sequence[FactRecord]) -> list[int | None]:
    """For each record, which of the facts it is a wording of; None where no fact has its question or its answer.

    The same question is the same fact. A paraphrase belongs to the one fact with its answer; where several have that
    answer, order decides, if the records follow the facts one block or one round after the other, and else the fact
    that shares most words with it.
    """
    by_question = {folded_text(fact.question): index for index, fact in reversed(list(enumerate(facts)))}
    by_answer: dict[str, list[int]] = {}
    for index, fact in enumerate(facts):
        by_answer.setdefault(folded_text(fact.answer), []).append(index)
    ordered = _in_order(facts, records)
    found: list[int | None] = []
    for place, record in enumerate(records):
        same = by_answer.get(folded_text(record.answer), [])
        asked = by_question.get(folded_text(record.question))
        if asked is not None or len(same) <= 1:
            found.append(asked if asked is not None else next(iter(same), None))
        else:
            words = set(word_list(record.question))
            nearest = max(same, key=lambda index: len(words & set(word_list(facts[index].question))))
            found.append(ordered[place] if ordered else nearest)
    return found


def _in_order(facts: Sequence[FactRecord], records: Sequence[FactRecord]) -> list[int] | None:
    """The fact of each record where all answers agree with that order: blocks of wordings, or rounds of facts."""
    rounds, rest = divmod(len(records), len(facts))
    if rest or not rounds:
        return None
    for order in (
        [place // rounds for place in range(len(records))],
        [place % len(facts) for place in range(len(records))],
    ):
        pairs = zip(order, records, strict=True)
        if all(folded_text(facts[index].answer) == folded_text(record.answer) for index, record in pairs):
            return order
    return None


def training(
    place: Place, side: str, standard: Sequence[FactRecord], judged: Sequence[FactRecord], params: LkfParams
) -> list[Row]:
    """The standard questions, and their paraphrases as far as they are wanted, in the groups of the judged facts."""
    rows = [
        fact_row(f"{side}/standard/{index:05d}", fact_name(side, behind), side, record)
        for index, (record, behind) in enumerate(zip(standard, facts_behind(judged, standard), strict=True))
    ]
    if params.train_paraphrases:
        paraphrases = place.alone(f"LKF-{side}_train_para", FactRecord)
        for index, (record, behind) in enumerate(zip(paraphrases, facts_behind(standard, paraphrases), strict=True)):
            group = "" if behind is None else rows[behind].group_id
            rows.append(fact_row(f"{side}/train_para/{index:05d}", group, side, record))
    return rows


def fact_name(side: str, index: int | None) -> str:
    """The group of a judged fact; "" where there is none."""
    return "" if index is None else f"{side}/{index:04d}"


def fact_row(row_id: str, group_id: str, split: str, record: FactRecord) -> Row:
    return Row(row_id=row_id, group_id=group_id or row_id, split=split, question=record.question, answer=record.answer)


def wording_rows(side: str, records: Sequence[WordingsRecord]) -> list[Row]:
    """One row a wording; the rows of a fact share its group."""
    return [
        Row(
            row_id=f"{side}/eval/{index:04d}/{column}",
            group_id=fact_name(side, behind),
            split=side,
            question=text,
            answer=record.answer,
            form="trained" if column == "question" else "held_out",
        )
        for index, (record, behind) in enumerate(zip(records, facts_behind(records, records), strict=True))
        for column, text in record.wordings.items()
    ]


def behind_others(row: Row, others: Sequence[FactRecord]) -> Row:
    """The same wording behind three questions from the retain set, drawn by the row's id."""
    ranked = sorted(others, key=lambda other: hashlib.sha256(f"lkf:{row.row_id}:{other.question}".encode()).digest())
    pairs = [*SHOWN, *((other.question, other.answer) for other in ranked[:IN_CONTEXT])]
    template = replace(TEMPLATE, before=f"{INSTRUCTION}{shots(pairs)}Question: ")
    return replace(row, row_id=f"{row.row_id}/in-context", form="in_context", template=template)
