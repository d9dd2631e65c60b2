"""The views a method reads, tokenised: the questions of each view, and the answer each row is trained towards.

    forget, retain, ...   the benchmark's own training views
    train                 the views of `train_groups`, concatenated
    forget_idk, retain_idk  the same questions with a refusal as the answer, drawn by (seed, epoch, row)
    forget_alternate      the same questions with one of the row's perturbed answers, drawn by (seed, row)
    forget_vague          one of the row's written answers that give nothing away, with its question, drawn by (seed,
                          epoch, row)
    forget_continuation   the same questions plus a change of subject, with the start model's own continuation as answer
    forget_expert, forget_novice  the same questions after a prefix that the method sets, with the same answers
    task:gsm8k, task:FILE  the rows of another task, as fine-tuning attacks train on them
    forget_paraphrase_k   the same facts in their k-th other wording: written ones (`benchmarks.written_rows`), the
                          row's own paraphrases, then rows of its fact

All views except the benchmark's own, "train" and tasks follow "forget" or "retain" row by row: in each step, row i of
both batches asks the same question.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearn_sweep.engine.training.batches import BatchPlan, Pick, seed_of
from unlearn_sweep.engine.training.refusals import REFUSALS
from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark
from unlearn_sweep.evaluators.benchmarks.task_data import TASK_VIEW, TaskDataError, task_rows
from unlearn_sweep.evaluators.benchmarks.task_settings import TaskDataSettings
from unlearn_sweep.evaluators.benchmarks.written_rows import VAGUE, WORDINGS, row_of
from unlearn_sweep.evaluators.rows import Example, Row, Template, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLLOWS: Mapping[str, str] = {
    "forget_idk": "forget",
    "retain_idk": "retain",
    "forget_alternate": "forget",
    "forget_vague": "forget",
    "forget_continuation": "forget",
    "forget_expert": "forget",
    "forget_novice": "forget",
}
"""Views that reuse the questions of another view, mapped to that view."""

CONTINUATION = "forget_continuation"
VAGUE_VIEW = "forget_vague"
PARAPHRASE = "forget_paraphrase_"
TASK_ROWS = 8000

Key = tuple[str, int, int]
"""View, row and index of its answer: the key of values cached for the frozen start model."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question and answer of a view, tokenised for one step."""

    key: Key
    example: Example

    @property
    def tokens(self) -> int:
        return len(self.example.prompt_ids) + len(self.example.answer_ids)

    @property
    def supervised(self) -> int:
        return supervised_tokens(self.example)


def supervised_tokens(example: Example) -> int:
    """Return the number of answer tokens that have a preceding token to predict them from."""
    return len(example.answer_ids) - (0 if example.prompt_ids else 1)


class Encoder:
    """Tokenise rows, and cache each question and answer. Create one per benchmark, tokenizer and length limit.

    `max_tokens` applies to templates without a limit of their own.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template, max_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.max_tokens = max_tokens
        self._examples: dict[tuple[str, str, str], Example] = {}

    def example(self, row: Row, answer: str) -> Example:
        """Tokenise a row's question with `answer`.

        Raises:
            ValueError: the prompt leaves no room for a single answer token.
        """
        key = (row.row_id, row.question, answer)
        if key not in self._examples:
            template = row.template or self.template
            example = encode(self.tokenizer, row.row_id, row.question, answer, template, max_tokens=self.max_tokens)
            self._examples[key] = self._checked(row, example)
        return self._examples[key]

    def fits(self, row: Row) -> bool:
        """Whether the prompt leaves room for an answer token."""
        try:
            self.example(row, row.answer)
        except ValueError:
            return False
        return True

    def limit(self, row: Row) -> int:
        """Return the limit on prompt plus answer of a row, in tokens: its template's limit, else the encoder's."""
        return (row.template or self.template).max_tokens or self.max_tokens

    def refusal(self, row: Row, index: int) -> Example:
        """Tokenise the row's question with refusal `index` as the answer."""
        return self.example(row, REFUSALS[index])

    def _checked(self, row: Row, example: Example) -> Example:
        if supervised_tokens(example) < 1:
            raise ValueError(
                f"row {row.row_id!r} of split {row.split!r}: no answer token to train on, its prompt has "
                f"{len(example.prompt_ids)} tokens and max_tokens is {self.limit(row)}; raise benchmark.max_tokens or "
                "leave the row out"
            )
        return example


class Views:
    """Every view a method reads, tokenised.

    Attributes:
        names: All views, including those with a prefix.
        rows: The rows of each base view (`base_view`).
        vague: For each forget row, its written vague answers with their questions; empty unless a view needs them.
        wordings: For each forget row, its other wordings; empty unless a view needs paraphrases.
        continuations: Answer tokens of view "forget_continuation"; empty until `write_continuations` sets them.

    Raises:
        ValueError: the benchmark does not have a view, a view has no rows, a row has no room for its answer, a row
            has no perturbed answer for "forget_alternate", no vague one for "forget_vague", or too few paraphrases for
            "forget_paraphrase_k".
    """

    def __init__(
        self,
        benchmark: Benchmark,
        encoder: Encoder,
        names: Sequence[str],
        *,
        train_groups: Sequence[str],
        seed: int,
        prefixes: Sequence[tuple[str, str]] = (),
        rows_a_step: Sequence[tuple[str, int]] = (),
        subject_change: str = "",
    ) -> None:
        self.names = (*names, *(view for view, _ in prefixes))
        self.seed = seed
        self.encoder = encoder
        self.prefixes = dict(prefixes)
        self.rows_a_step = dict(rows_a_step)
        self.rows = {base: self._base_rows(benchmark, base, train_groups) for base in map(base_view, self.names)}
        for base, rows in self.rows.items():
            for row in rows:
                encoder.example(row, row.answer)
            if f"{base}_alternate" in self.names:
                check_alternates(rows)
            if f"{base}_idk" in self.names:
                check_questions(f"{base}_idk", rows)
        self.wordings = self._wordings(benchmark.train.get(WORDINGS, ()))
        self.vague = vague_answers(self.rows["forget"], benchmark.train.get(VAGUE, ())) if VAGUE_VIEW in names else []
        self.subject_change = subject_change
        self.continuations: Sequence[tuple[int, ...]] = ()

    @property
    def anchor(self) -> str:
        """The view that defines epochs: one pass over it is one epoch."""
        return next((base for base in ("train", "forget") if base in self.rows), next(iter(self.rows)))

    def plan(self, batch_size: int) -> BatchPlan:
        sizes = {base: len(rows) for base, rows in self.rows.items()}
        return BatchPlan(
            anchor=self.anchor, sizes=sizes, batch_size=batch_size, seed=self.seed, rows_a_step=self.rows_a_step
        )

    def batch(self, plan: BatchPlan, step: int) -> dict[str, tuple[Item, ...]]:
        """Return the global batch of a step: the items of each view, longest row of its base view first."""
        picks = {base: self._by_length(base, plan.picks(base, step)) for base in self.rows}
        return {view: tuple(self.item(view, pick) for pick in picks[base_view(view)]) for view in self.names}

    def item(self, view: str, pick: Pick) -> Item:
        row = self.rows[base_view(view)][pick.row]
        if view.endswith("_idk"):
            choice = seed_of(self.seed, "refusal", view, pick.epoch, row.row_id) % len(REFUSALS)
            return Item((view, pick.row, choice), self.encoder.refusal(row, choice))
        if view.endswith("_alternate"):
            choice = seed_of(self.seed, "alternate", row.row_id) % len(row.perturbed_answers)
            return Item((view, pick.row, choice), self.encoder.example(row, row.perturbed_answers[choice]))
        if view == VAGUE_VIEW:
            choice = seed_of(self.seed, "vague", pick.epoch, row.row_id) % len(self.vague[pick.row])
            vague = self.vague[pick.row][choice]
            return Item((view, pick.row, choice), self.encoder.example(vague, vague.answer))
        if view == CONTINUATION:
            continuation = self.continuations[pick.row]
            example = Example(row_id=row.row_id, prompt_ids=self._continuation_prompt(row), answer_ids=continuation)
            return Item((view, pick.row, 0), example)
        if view in self.prefixes:
            changed = replace(row, question=f"{self.prefixes[view]}{row.question}")
            return Item((view, pick.row, 0), self.encoder.example(changed, row.answer))
        if view.startswith(PARAPHRASE):
            other = self.wordings[pick.row][int(view.removeprefix(PARAPHRASE))]
            return Item((view, pick.row, 0), self.encoder.example(other, other.answer))
        return Item((view, pick.row, 0), self.encoder.example(row, row.answer))

    def continuation_prompts(self) -> list[tuple[int, ...]]:
        """Return the prompt that the start model continues, for every forget row in order."""
        return [self._continuation_prompt(row) for row in self.rows["forget"]]

    def _continuation_prompt(self, row: Row) -> tuple[int, ...]:
        changed = replace(row, question=f"{row.question}{self.subject_change}")
        return self.encoder.example(changed, row.answer).prompt_ids

    def _base_rows(self, benchmark: Benchmark, base: str, train_groups: Sequence[str]) -> tuple[Row, ...]:
        if base.startswith(TASK_VIEW):
            return task_view(base.removeprefix(TASK_VIEW), self.encoder, self.seed)
        return base_rows(benchmark, base, train_groups)

    def _wordings(self, written: Sequence[Row]) -> list[list[Row]]:
        """Return the other wordings of each forget row; [] if no view needs them."""
        wanted = [int(view.removeprefix(PARAPHRASE)) for view in self.names if view.startswith(PARAPHRASE)]
        if not wanted:
            return []
        found = other_wordings(self.rows["forget"], written)
        fewest = min(range(len(found)), key=lambda place: len(found[place]))
        if len(found[fewest]) <= max(wanted):
            raise ValueError(
                f"view {PARAPHRASE}{max(wanted)}: row {self.rows['forget'][fewest].row_id!r} has "
                f"{len(found[fewest])} other wordings; ask for fewer paraphrases, or give it more"
            )
        return found

    def mean_answer_tokens(self) -> float:
        """Return the mean supervised tokens per row of the anchor view."""
        rows = self.rows[self.anchor]
        return sum(supervised_tokens(self.encoder.example(row, row.answer)) for row in rows) / len(rows)

    def _by_length(self, base: str, picks: Sequence[Pick]) -> list[Pick]:
        return sorted(picks, key=lambda pick: (-self.item(base, pick).tokens, pick.row, pick.epoch))


def base_view(view: str) -> str:
    """Return the view whose rows `view` uses."""
    return "forget" if view.startswith(PARAPHRASE) else FOLLOWS.get(view, view)


def other_wordings(rows: Sequence[Row], written: Sequence[Row] = ()) -> list[list[Row]]:
    """Return, for each row, other wordings of its fact: written ones, its own paraphrase, the other rows of the fact.

    The other rows begin after the row itself and wrap around. A part of a divided text has the wordings of the whole.
    """
    texts: dict[str, list[Row]] = {}
    for wording in written:
        texts.setdefault(row_of(wording), []).append(wording)
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(row.fact, []).append(place)
    found = []
    for place, row in enumerate(rows):
        own = list(texts.get(row.row_id) or texts.get(row.row_id.rpartition("/")[0], ()))
        if row.paraphrased_question is not None or row.paraphrased_answer is not None:
            question, answer = row.paraphrased_question or row.question, row.paraphrased_answer or row.answer
            own.append(replace(row, question=question, answer=answer))
        group = groups[row.fact]
        here = group.index(place)
        found.append([*own, *(rows[other] for other in (*group[here + 1 :], *group[:here]))])
    return found


def vague_answers(rows: Sequence[Row], written: Sequence[Row]) -> list[list[Row]]:
    """Return, for each row, its written vague answers.

    Raises:
        ValueError: a row has none.
    """
    texts: dict[str, list[Row]] = {}
    for one in written:
        texts.setdefault(row_of(one), []).append(one)
    without = [row.row_id for row in rows if row.row_id not in texts]
    if without:
        raise ValueError(
            f"view {VAGUE_VIEW!r}: {len(without)} of {len(rows)} rows have no vague answer, the first is "
            f"{without[0]!r}; write view vague_answer, or set answers: refusals"
        )
    return [texts[row.row_id] for row in rows]


def base_rows(benchmark: Benchmark, base: str, train_groups: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows of a base view of the benchmark.

    Raises:
        ValueError: the benchmark has no such view, or the view has no rows.
    """
    groups = train_groups if base == "train" else (base,)
    for group in groups:
        if group not in benchmark.train:
            near = difflib.get_close_matches(group, benchmark.train, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(benchmark.train)
            raise ValueError(f"benchmark {benchmark.name!r} has no training view {group!r}; it has {known}{hint}")
    rows = tuple(row for group in groups for row in benchmark.train[group])
    if not rows:
        raise ValueError(f"benchmark {benchmark.name!r}: view {base!r} has no rows to train on")
    return rows


def task_view(data: str, encoder: Encoder, seed: int) -> tuple[Row, ...]:
    """Return the rows of a task's data that have room for an answer token; at most TASK_ROWS, drawn with the seed.

    Raises:
        ValueError: the data cannot be read, or no row fits.
    """
    try:
        found = task_rows(TaskDataSettings(data=data, max_rows=TASK_ROWS, heldout_rows=1), seed=seed)
    except TaskDataError as error:
        raise ValueError(f"view {TASK_VIEW}{data}: {error}") from error
    fitting = tuple(row for row in found if encoder.fits(row))
    if not fitting:
        limit = encoder.limit(found[0])
        raise ValueError(f"view {TASK_VIEW}{data}: none of {len(found)} rows fits into max_tokens={limit}")
    return fitting


def check_questions(view: str, rows: Sequence[Row]) -> None:
    without = [row.row_id for row in rows if not row.question.strip()]
    if without:
        raise ValueError(
            f"view {view!r}: {len(without)} of {len(rows)} rows are running text without a question, the first is "
            f"{without[0]!r}; a refusal of nothing would be trained; give questions, or choose another method"
        )


def check_alternates(rows: Sequence[Row]) -> None:
    without = [row.row_id for row in rows if not row.perturbed_answers]
    if without:
        raise ValueError(
            f"view 'forget_alternate': {len(without)} of {len(rows)} rows have no perturbed answer, the first is "
            f"{without[0]!r}; give them one, or choose a method that does not train towards alternate answers"
        )
