"""Which written views a method or an attack reads: their digests enter the keys of its stages, and of no others.

Reading it imports no torch: plans ask the same functions, with every value that a parameter may take.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from unlearn_sweep.evaluators.attacks.catalog import CHAIN
from unlearn_sweep.evaluators.benchmarks.view_settings import JUDGED, QUESTIONS, WrittenView
from unlearn_sweep.evaluators.benchmarks.written_rows import RELEARN_SET, VIEWS_KEY, ReadView
from unlearn_sweep.methods.catalog import card, defaults

Values = Mapping[str, Collection[Any]]
"""Every value that each parameter of a method may take."""


def fixed(params: Mapping[str, Any]) -> Values:
    """Parameters with one value each."""
    return {name: (value,) for name, value in params.items()}


def method_reads(views: Sequence[WrittenView], method: str, values: Values) -> list[ReadView]:
    """Return the views that a method reads, with the texts of each row that it needs.

    Questions from text are read by methods that refuse or prefer another answer, and by the view's `readers`. Then
    alternate answers and paraphrases are those of the questions.
    """
    if not views:
        return []
    given = {name: tuple(values.get(name, (default,))) for name, default in defaults(method).items()} | dict(values)
    asked = [base for base in ("forget", "retain") if needs_questions(method, given, base)]
    asked += [view.of for view in views if set(view.readers) & names_of(method)]
    needs = card(method).needs
    questions = [view for view in views if view.kind == "questions_from_text" and view.of in asked]
    base = f"forget{QUESTIONS}" if any(view.of == "forget" for view in questions) else "forget"
    alternates = [view for view in views if view.kind == "alternate_answer" and "forget_alternate" in needs]
    vague = [view for view in views if view.kind == "vague_answer" and reads_vague(method, given)]
    others = [view for view in views if view.kind in ("paraphrase", "summary") and "forget_paraphrase" in needs]
    wanted = max((int(value) for value in _values(given, "gao_paraphrases")), default=1)
    return [
        *(_read(view) for view in questions),
        *(_read(view) for view in (*alternates, *vague) if view.of == base),
        *(_read(view, wanted) for view in others if view.of == base),
    ]


def needs_questions(method: str, given: Values, base: str) -> bool:
    """Whether a method trains other answers to the questions of view `base`, so that these have to be questions."""
    other = "forget_alternate" in card(method).needs or reads_vague(method, given)
    return refuses(method, given, base) or (base == "forget" and other)


def reads_vague(method: str, given: Values) -> bool:
    """Whether a method trains written vague answers."""
    return "forget_vague" in card(method).needs and "written" in _values(given, "answers")


def refuses(method: str, given: Values, base: str) -> bool:
    """Whether a method trains refusals of the questions of view `base`."""
    if base == "retain":
        return "retain_idk" in card(method).needs or "ap" in _values(given, "retain")
    fixed_answers = "refusal" in _values(given, "fluency") or "refusals" in _values(given, "answers")
    return "forget_idk" in card(method).needs or fixed_answers


def names_of(method: str) -> set[str]:
    """Return the names by which a method is meant: its own, and those of the methods it is composed of."""
    return {method, *re.split("[+>]", method)}


def _values(given: Values, name: str) -> list[Any]:
    """Return the values of a parameter, in both phases of methods in turn."""
    return [value for full, values in given.items() if full.rpartition(".")[2] == name for value in values]


def attack_reads(views: Sequence[WrittenView], name: str, params: Mapping[str, Any]) -> list[ReadView]:
    """Return the views that an attack reads; a chain reads those of its links."""
    if not views:
        return []
    if name == CHAIN:
        links = [link for step in params.get("steps", []) for link in step.items()]
        found = [read for link, own in links for read in attack_reads(views, link, own or {})]
        return [read for place, read in enumerate(found) if read not in found[:place]]
    kind, of = attack_view(name, params) or ("", "")
    return [_read(view) for view in views if (view.kind, view.of) == (kind, of)]


def attack_view(name: str, params: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return kind and rows of the written view that an attack reads; None if it reads none."""
    if name == "paraphrase" and params.get("source", "own") != "own":
        return str(params["source"]), JUDGED
    return (RELEARN_SET, "forget") if name == "relearn" and params.get("data") == RELEARN_SET else None


def _read(view: WrittenView, needed: int = 1) -> ReadView:
    return ReadView(kind=view.kind, of=view.of, path=view.path, digest=view.digest, needed=needed, missing=view.missing)


def with_reads(params: Mapping[str, Any], reads: Sequence[ReadView]) -> dict[str, Any]:
    """Return the options of a benchmark that is to be loaded with these views."""
    return {**params, VIEWS_KEY: [read.model_dump() for read in reads]} if reads else dict(params)


def read_inputs(reads: Iterable[ReadView]) -> dict[str, Any]:
    """Return what a stage's inputs hold of the views it reads: their content, and which rows are left out."""
    found = {f"{read.kind} of {read.of}": [read.digest, read.needed, read.missing] for read in reads}
    return {"written_views": found} if found else {}
