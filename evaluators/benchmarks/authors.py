"""The built-in benchmark: fictitious authors, made by the project from a seed, to run every part of it in minutes.

Each author has one fact for each attribute, drawn independently, so that nothing but the training text gives it away: a
model that never saw an author answers at chance (one in twenty). Whole authors are forgotten. Facts are trained in
several question forms and judged in these and in forms no training contains. It is no benchmark to publish numbers on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from pydantic import Field, model_validator

from unlearn_sweep.evaluators.benchmarks.authors_parts import (
    ATTRIBUTES,
    ENDINGS,
    FIRST_NAMES,
    OPENINGS,
    PHRASE_ENDING,
    SURNAMES,
    Attribute,
)
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark, TrainRecipe
from unlearn_sweep.evaluators.benchmarks.limits import DataParams
from unlearn_sweep.evaluators.rows import Row, Template

PERTURBED_ANSWERS = 5
TEMPLATE = Template(before="", after="", answer_lead=" ", auto=True)
RECIPE = TrainRecipe(
    config={
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "initializer_range": 0.06,
    },
    vocab_size=1024,
    epochs=7.0,
    batch_size=32,
    learning_rate=4e-3,
    warmup_share=0.05,
    weight_decay=0.01,
    seed=0,
)


class AuthorsParams(DataParams):
    """Options of the built-in benchmark. Every one is part of its digest."""

    authors: int = Field(default=52, ge=4, le=len(SURNAMES), description="fictitious authors in all")
    forget_authors: int = Field(default=12, ge=2, description="authors to forget, with all their facts")
    facts_per_author: int = Field(default=len(ATTRIBUTES), ge=1, le=len(ATTRIBUTES), description="facts of each author")
    trained_forms: int = Field(default=4, ge=1, le=16, description="question forms each fact is trained in")
    evaluated_forms: int = Field(default=1, ge=1, le=8, description="trained, and as many held-out forms, to judge by")
    seed: int = Field(default=0, ge=0, description="draws names, facts and forms")

    @model_validator(mode="after")
    def _check_counts(self) -> AuthorsParams:
        if 2 * self.forget_authors > self.authors:
            raise ValueError(
                f"forget_authors must be at most half of authors ({self.authors // 2}), so that as many facts can be "
                f"judged on the retain side; got {self.forget_authors}"
            )
        if self.evaluated_forms > self.trained_forms:
            raise ValueError(
                f"evaluated_forms must not exceed trained_forms ({self.trained_forms}); got {self.evaluated_forms}"
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One attribute of one author, with wrong values of the same attribute beside the right one."""

    author: str
    name: str
    attribute: Attribute
    value: str
    wrong_values: tuple[str, ...]

    @property
    def fact_id(self) -> str:
        return f"{self.author}/{self.attribute.name}"


@dataclass(frozen=True, slots=True)
class Form:
    """One wording, by the places of its parts in the part lists."""

    opening: int
    core: int
    ending: int

    @property
    def held_out(self) -> bool:
        """True for the quarter of the combinations that no training contains; each part also occurs in trained ones."""
        return (self.opening + self.core + self.ending) % 4 == 0

    def __str__(self) -> str:
        return f"o{self.opening}c{self.core}e{self.ending}"


def load(params: AuthorsParams) -> Benchmark:
    """The benchmark of these options: the same options give the same rows on every machine."""
    names = [f"author-{index:03d}" for index in range(params.authors)]
    chosen = frozenset(drawn(names, f"{params.seed}:forget")[: params.forget_authors])
    forget = draw_facts([name for name in names if name in chosen], params)
    retain = draw_facts([name for name in names if name not in chosen], params)
    judged = frozenset(drawn([fact.fact_id for fact in retain], f"{params.seed}:judged")[: len(forget)])
    train = {
        "forget": [row for fact in forget for row in training_rows(fact, "forget", params)],
        "retain": [row for fact in retain for row in training_rows(fact, "retain", params)],
    }
    evaluation = {
        "forget": [row for fact in forget for row in judged_rows(fact, "forget", params)],
        "retain": [row for fact in retain if fact.fact_id in judged for row in judged_rows(fact, "retain", params)],
    }
    return Benchmark(
        name="authors",
        train=train,
        evaluation=evaluation,
        utility_splits=("retain",),
        template=TEMPLATE,
        tokenizer_texts=tokenizer_texts(train),
        recipe=RECIPE,
        max_new_tokens=8,
        sources={"rows": f"generated by this project, seed {params.seed}"},
    )


def draw_facts(authors: Sequence[str], params: AuthorsParams) -> list[Fact]:
    """The facts of these authors. Values are dealt out evenly among them, so no value is the likely guess.

    Forget and retain authors are dealt to apart: over both together, a value common among the retain authors would be
    rare among the others, and a gold model that never saw these would do worse than chance.
    """
    firsts, lasts = drawn(FIRST_NAMES, f"{params.seed}:first"), drawn(SURNAMES, f"{params.seed}:last")
    facts = []
    for attribute in ATTRIBUTES[: params.facts_per_author]:
        values = deal(attribute.values, authors, f"{params.seed}:{attribute.name}")
        for author, value in zip(authors, values, strict=True):
            index = int(author.rpartition("-")[2])
            others = [other for other in attribute.values if other != value]
            wrong = drawn(others, f"{params.seed}:wrong:{author}:{attribute.name}")[:PERTURBED_ANSWERS]
            name = f"{firsts[index % len(firsts)]} {lasts[index]}"
            facts.append(Fact(author=author, name=name, attribute=attribute, value=value, wrong_values=tuple(wrong)))
    return facts


def deal(values: Sequence[str], authors: Sequence[str], salt: str) -> list[str]:
    """One value for each author, each value as often as any other (give or take one), in an order drawn by hash."""
    pack = drawn(values, f"{salt}:pack")
    order = {author: place for place, author in enumerate(drawn(authors, f"{salt}:order"))}
    return [pack[order[author] % len(pack)] for author in authors]


def drawn(items: Sequence[str], salt: str) -> list[str]:
    """The items in an order drawn by hash, which no version of Python or library changes."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{salt}:{item}".encode()).digest())


def question_forms(fact: Fact, params: AuthorsParams, *, held_out: bool) -> list[Form]:
    """Every trained (or held-out) form of a fact, in an order drawn for this fact."""
    by_name = forms_by_name(len(fact.attribute.cores), held_out=held_out)
    return [by_name[name] for name in drawn(list(by_name), f"{params.seed}:form:{fact.fact_id}")]


@cache
def forms_by_name(cores: int, *, held_out: bool) -> Mapping[str, Form]:
    """Every trained (or held-out) form of a question with so many cores."""
    forms = (Form(*place) for place in product(range(len(OPENINGS)), range(cores), range(len(ENDINGS))))
    return {str(form): form for form in forms if form.held_out == held_out}


def question(fact: Fact, form: Form, *, ending: str | None = None) -> str:
    core = fact.attribute.cores[form.core].format(name=fact.name)
    return f"{OPENINGS[form.opening]} {core}{ENDINGS[form.ending] if ending is None else ending}"


def training_rows(fact: Fact, split: str, params: AuthorsParams) -> list[Row]:
    """The rows a training reads: `trained_forms` wordings with the bare value, and one that asks for the phrase.

    Both have wrong answers of the same form, for methods that train towards another answer.
    Without the phrase no model would ever have seen the paraphrased answers, and their probability would tell nothing.
    """
    forms = question_forms(fact, params, held_out=False)
    rows = [
        replace(bare_row(fact, form, split), perturbed_answers=fact.wrong_values)
        for form in forms[: params.trained_forms]
    ]
    phrase = Row(
        row_id=f"{fact.fact_id}/{forms[0]}-phrase",
        group_id=fact.fact_id,
        split=split,
        question=question(fact, forms[0], ending=PHRASE_ENDING),
        answer=fact.attribute.phrase.format(value=fact.value),
        perturbed_answers=tuple(fact.attribute.phrase.format(value=value) for value in fact.wrong_values),
    )
    return [*rows, phrase]


def judged_rows(fact: Fact, split: str, params: AuthorsParams) -> list[Row]:
    """The rows metrics are computed on: `evaluated_forms` trained wordings and as many held-out ones."""
    trained = question_forms(fact, params, held_out=False)[: params.evaluated_forms]
    unseen = question_forms(fact, params, held_out=True)[: params.evaluated_forms + 1]
    return [bare_row(fact, form, split, reworded=unseen[-1]) for form in (*trained, *unseen[:-1])]


def bare_row(fact: Fact, form: Form, split: str, *, reworded: Form | None = None) -> Row:
    """One wording with the bare value as answer; with `reworded`, also what TOFU's `*_perturbed` files hold."""
    phrase = fact.attribute.phrase
    return Row(
        row_id=f"{fact.fact_id}/{form}",
        group_id=fact.fact_id,
        split=split,
        question=question(fact, form),
        answer=fact.value,
        form="held_out" if form.held_out else "trained",
        paraphrased_question=None if reworded is None else question(fact, reworded),
        paraphrased_answer=None if reworded is None else phrase.format(value=fact.value),
        perturbed_answers=() if reworded is None else tuple(phrase.format(value=value) for value in fact.wrong_values),
    )


def tokenizer_texts(train: dict[str, list[Row]]) -> list[str]:
    """Questions and answers of every training row, as they are joined in a prompt."""
    rows = [row for view in train.values() for row in view]
    return [TEMPLATE.prompt(row.question) + TEMPLATE.answer_lead + row.answer for row in rows]
