"""Choice questions against lm-evaluation-harness: `python bench/speed_choices.py --tofu DIR --truthfulqa FILE`.

Questions are made of rows that have wrong answers: the right one and three of these, at places drawn by seed. They are
asked by letter, as MMLU and WMDP are, and as whole answers behind the question alone, as ARC is. TruthfulQA's own
(FILE: its CSV table) are asked as whole answers behind six examples that all questions share. The plain way is the
harness's own model class (HFLM): requests sorted by length, padded batches of 8, logits at all places, and one pass
for all letters of a question, as its default has it. Both ways begin with texts and tokenise them. Accuracy must be
equal, and the log-likelihoods of all choices agree.
"""

from __future__ import annotations

import argparse
import csv
import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from side_by_side import Result, World, options, pairs, show, world
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_sweep.engine.models.loading import load_model, load_tokenizer
from unlearn_sweep.evaluators.benchmarks.rwku_abilities import TRUTHFUL
from unlearn_sweep.evaluators.evaluate import evaluate_rows
from unlearn_sweep.evaluators.likelihood import score
from unlearn_sweep.evaluators.multiple_choice import choice_accuracy, choice_row
from unlearn_sweep.evaluators.row_encoder import RowEncoder
from unlearn_sweep.evaluators.rows import Row, Template, led

CHOICES, BATCH = 4, 8
WHOLE = Template(before="Question: ", ends=False)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--truthfulqa", type=Path, help="TruthfulQA's table of questions; left out: not measured")
    given = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with world(given) as made:
        source = [row for row in made.benchmark.evaluation["forget"] if len(row.perturbed_answers) >= CHOICES - 1]
        asked = {"letters": list(by_letter(source)), "whole answers": list(by_answer(source))}
        if given.truthfulqa is not None:
            asked["TruthfulQA behind six examples"] = list(truthful(given.truthfulqa, given.rows))
        show((line(made, given, kind, rows) for kind, rows in asked.items() if given.only in kind), given)


def by_letter(source: Sequence[Row]) -> Iterator[Row]:
    for row in source:
        texts, right = shuffled(row)
        yield choice_row(
            row_id=row.row_id,
            group_id=row.group_id,
            split="forget",
            question=row.question,
            options=texts,
            right=right,
            introduction="The following are multiple choice questions (with answers) about authors.\n\n",
        )


def by_answer(source: Sequence[Row]) -> Iterator[Row]:
    for row in source:
        texts, right = shuffled(row)
        yield Row(
            row_id=row.row_id,
            group_id=row.group_id,
            split="forget",
            question=row.question,
            answer=texts[right],
            kind="choice",
            choices=tuple(texts),
            template=WHOLE,
        )


def truthful(file: Path, count: int) -> Iterator[Row]:
    """Yield questions with the best answer and all wrong ones, as `mc1` asks them."""
    with file.open(newline="", encoding="utf-8") as table:
        for place, record in zip(range(count), csv.DictReader(table), strict=False):
            wrong = [text.strip() for text in record["Incorrect Answers"].split(";") if text.strip()]
            yield Row(
                row_id=f"truthful/{place}",
                group_id=f"truthful/{place}",
                split="forget",
                question=f"{TRUTHFUL}\n\nQ: {record['Question']}",
                answer=record["Best Answer"],
                kind="choice",
                choices=(record["Best Answer"], *dict.fromkeys(wrong)),
                template=Template(before="", after="\nA:", ends=False),
            )


def shuffled(row: Row) -> tuple[list[str], int]:
    """Return the answers in an order of their own for each row, and the place of the right one."""
    texts = [row.answer, *row.perturbed_answers[: CHOICES - 1]]
    order = random.Random(row.row_id).sample(range(CHOICES), CHOICES)
    return [texts[place] for place in order], order.index(0)


def line(made: World, given: argparse.Namespace, kind: str, rows: Sequence[Row]) -> Result:
    model, tokenizer = load_model(made.model).eval(), load_tokenizer(made.model)
    make: Any = HFLM  # its decorator hides the parameters
    harness = make(pretrained=model, tokenizer=load_tokenizer(made.model), backend="causal", batch_size=BATCH)
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=texts, idx=place)
        for place, texts in enumerate(harness_texts(rows))
    ]
    found: dict[str, list[float]] = {}
    accuracy: dict[str, float] = {}

    def ours() -> None:
        table = evaluate_rows(
            model, tokenizer, rows, metrics=["choice_accuracy"], template=made.benchmark.template, max_new_tokens=1
        ).table
        accuracy["ours"] = float(table["choice_accuracy"].to_numpy().mean())

    def plain() -> None:
        found["plain"] = [value for value, _ in harness.loglikelihood(requests, disable_tqdm=True)]
        accuracy["plain"] = right_share(rows, found["plain"])

    timed = pairs(given, ours, plain)
    found["ours"] = log_likelihoods(model, tokenizer, rows)
    apart = max(abs(one - other) for one, other in zip(found["ours"], found["plain"], strict=True))
    if accuracy["ours"] != accuracy["plain"] or right_share(rows, found["ours"]) != accuracy["ours"]:
        raise SystemExit(f"{kind}: the accuracies differ: {accuracy}")
    return timed.result(
        name=f"choice questions, {kind}, {len(rows)} rows",
        difference=apart,
        equal="nats, equal accuracy",
        aim=3,
        notes=f"accuracy {accuracy['ours']:.2f}",
    )


def harness_texts(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield context and continuation of every choice, as the harness's tasks give them."""
    for row in rows:
        template = row.template
        if template is None:
            raise ValueError(f"row {row.row_id} has no template of its own")
        for choice in row.choices:
            yield template.prompt(row.question), led(template.answer_lead, choice)


def log_likelihoods(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> list[float]:
    """Return the log-likelihoods that `choice_accuracy` compares, row by row."""
    asked, _ = RowEncoder(tokenizer=tokenizer, template=WHOLE).ask(rows, alternatives=False)
    done = score(model, [choice for item in asked for choice in item.choices], pad_id=0)
    return [float(scores.logp.sum(dtype="float64")) for scores in done.scores]


def right_share(rows: Sequence[Row], values: Sequence[float]) -> float:
    left = iter(values)
    marks = [choice_accuracy([next(left) for _ in row.choices], row.choices.index(row.answer)) for row in rows]
    return sum(marks) / len(marks)


if __name__ == "__main__":
    main()
