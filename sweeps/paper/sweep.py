"""`unlearn-sweep compare-paper`: read a sweep's folder and lay it beside the paper whose file it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_sweep.engine.answers import QUESTIONS_FILE
from unlearn_sweep.engine.job import SweepJob
from unlearn_sweep.engine.search_space import share_of
from unlearn_sweep.engine.store.damaged import DamagedFileError
from unlearn_sweep.engine.store.records import TrialRecord
from unlearn_sweep.engine.store.snapshot import Snapshot
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.catalog import METRICS, row_metrics
from unlearn_sweep.evaluators.judge.questions import Compared as ComparedAnswers
from unlearn_sweep.evaluators.judge.settings import NAMED_RULES
from unlearn_sweep.evaluators.paper_cards import PAPER_CARDS, Line, MeanOf, PaperCard, Reading, paper_card
from unlearn_sweep.evaluators.papers import published_numbers
from unlearn_sweep.methods.composed_card import canonical_name
from unlearn_sweep.sweeps.file.problems import near_miss
from unlearn_sweep.sweeps.paper.comparing import NO_TRIAL, Compared, Source, compare
from unlearn_sweep.sweeps.paper.settings import (
    PaperSettings,
    other_attack,
    other_gold,
    other_model,
    other_prompt,
    other_rows,
    other_settings,
    paper_settings,
)
from unlearn_sweep.sweeps.paper.values import NotMeasuredError, OwnValue, Tables, own_value
from unlearn_sweep.sweeps.report.method_table import published_name
from unlearn_sweep.sweeps.report.records import read_sweep
from unlearn_sweep.user_error import UserError

if TYPE_CHECKING:
    import pandas as pd

NAMED = "paper-"
AGAINST_GOLD = frozenset({"forget_quality", "forget_quality_p", "privleak", "mia_reference_auc"})
JUDGED = ("judge", "comparison")
OUR_RULES = "other judge prompt: this project's words (UNLEARN_SWEEP_JUDGE_RULES takes a file of the paper's own)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperComparison:
    """The paper, each of its published numbers beside the sweep's, and what the paper defines without a number.

    `superficial` holds superficial forgetting by published line; empty if the paper does not look at it.
    """

    card: PaperCard
    compared: list[Compared]
    superficial: dict[str, OwnValue]


def compare_paper(directory: Path, name: str | None = None, *, rows_are_published: bool = False) -> PaperComparison:
    """Return the comparison of the sweep in `directory` with a paper.

    Args:
        directory: Folder of the sweep.
        name: Name of the paper's file; None for the paper that the sweep's name or benchmark tells.
        rows_are_published: Whether rows read from a folder are the published ones.

    Raises:
        SweepNotFoundError: the folder is not a sweep.
        UserError: no paper has this name, or none or several fit the sweep.
        ValueError: an older version wrote the sweep's settings.
    """
    snapshot = read_sweep(directory).snapshot
    text = directory / "spec.yaml"
    own = {"spec_text": text.read_text(encoding="utf-8")} if text.is_file() else {}
    job = SweepJob.model_validate({**(snapshot.spec.get("job") or snapshot.spec), **own})
    card = _card_of(job, name)
    paper = paper_settings(card.name)
    tables = _Tables(snapshot, job)
    general = [
        *other_model(paper, job),
        *other_rows(paper, job, rows_are_published=rows_are_published),
        *other_prompt(paper, job),
    ]

    def source_of(line: Line) -> Source | None:
        return _source(line, card, paper, job, snapshot.records, tables, general)

    return PaperComparison(
        card=card,
        compared=compare(card, published_numbers(), source_of),
        superficial=_superficial(card, snapshot, tables) if card.superficial else {},
    )


def _superficial(card: PaperCard, snapshot: Snapshot, tables: _Tables) -> dict[str, OwnValue]:
    """Return superficial forgetting of each line, from the questions that the sweep's folder keeps."""
    import pandas as pd

    from unlearn_sweep.evaluators.superficial import superficial_forgetting

    kept = pd.read_parquet(snapshot.folder / QUESTIONS_FILE)
    references = dict(zip(kept["row_id"].map(str), kept["reference"].map(str), strict=True))
    found: dict[str, OwnValue] = {}
    for name, line in card.lines.items():
        record = trial_of(line, snapshot.records) if line.model == "trial" else None
        model = line.model if record is None else f"trial {record.number}"
        try:
            if model == "trial":
                raise NotMeasuredError(NO_TRIAL)
            own = superficial_forgetting(tables.at(model, "", None)["unlearned"], references, seed=tables.job.seed)
        except (NotMeasuredError, ValueError) as error:
            found[name] = OwnValue(value=None, reason=str(error))
        else:
            found[name] = OwnValue(value=own.value, error=own.error, rows=own.facts)
    return found


def _card_of(job: SweepJob, name: str | None) -> PaperCard:
    known = ", ".join(card.name for card in PAPER_CARDS)
    if name is not None:
        found = paper_card(name)
        if found is None:
            nearest = near_miss(name, [card.name for card in PAPER_CARDS])
            hint = f"; did you mean {nearest}?" if nearest else ""
            raise UserError(f"no paper {name!r}; there are {known}{hint}", advice="Give one of them with --paper.")
        return found
    named = paper_card(job.name.removeprefix(NAMED).replace("-", "_"))
    if named is not None:
        return named
    benchmark = published_name(job.benchmark.name, job.benchmark.params)
    fitting = [card for card in PAPER_CARDS if card.benchmark == benchmark]
    if len(fitting) != 1:
        why = f"{len(fitting)} papers here use {benchmark or job.benchmark.name}"
        raise UserError(f"{why}; there are {known}", advice="Name one with --paper.")
    return fitting[0]


def _source(
    line: Line,
    card: PaperCard,
    paper: PaperSettings,
    job: SweepJob,
    records: Sequence[TrialRecord],
    tables: _Tables,
    general: Sequence[str],
) -> Source | None:
    """Return the model of the sweep behind a line; of several trials that run it `trial_of`'s."""
    record = None if line.model != "trial" else trial_of(line, records)
    if line.model == "trial" and record is None:
        return None
    model = line.model if record is None else f"trial {record.number}"
    own = [] if record is None else list(other_settings(paper, job, line, record.params))

    def reasons(reading: Reading) -> list[str]:
        gold = list(other_gold(paper, job)) if reading.metric in AGAINST_GOLD or line.model == "gold" else []
        return [*other_attack(paper, job, reading.attack), *gold, *tables.other_judge(card, reading, model)]

    def read(reading: Reading | MeanOf) -> OwnValue:
        return own_value(reading, lambda attack, strength: tables.at(model, attack, strength), seed=job.seed)

    return Source(trial=None if record is None else record.number, why_not=[*general, *own], read=read, reasons=reasons)


def trial_of(line: Line, records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the trial that runs a line: the one trained the furthest, and of those the first."""
    method = canonical_name(line.method)
    for record in sorted(records, key=lambda record: (-share_of(record.params), record.number)):
        runs = record.method == method and all(record.params.get(key) == value for key, value in line.params.items())
        if runs and record.state in ("complete", "collapsed"):
            return record
    return None


@dataclass(slots=True)
class _Tables:
    """The measured rows of a sweep's models, read once."""

    snapshot: Snapshot
    job: SweepJob
    _read: dict[str, pd.DataFrame] = field(default_factory=dict)

    def at(self, model: str, attack: str, strength: float | None) -> Tables:
        """Return the rows of a model ("original", "gold", "trial N") and of both controls under an attack.

        Raises:
            NotMeasuredError: the stage did not run, or its rows cannot be read.
        """
        found = {"unlearned": self._rows(model, attack, strength)}
        for which in ("original", "gold"):
            try:
                found[which] = self._rows(which, attack, strength)
            except NotMeasuredError:
                continue
        return found

    def other_judge(self, card: PaperCard, reading: Reading, model: str) -> list[str]:
        """Return how the judge of a reading differs from the paper's; empty if none is asked."""
        asked = {METRICS[name].needs for name in row_metrics([reading.metric])} & set(JUDGED)
        if not asked:
            return []
        key = self._keys(model).get("evaluate")
        result = None if key is None else self._store.result(key)
        own = "" if result is None else str(result.inputs.get(asked.pop(), ""))
        found = (
            [OUR_RULES]
            if any(question.prompt_id in own for question in (*NAMED_RULES.values(), ComparedAnswers))
            else []
        )
        if card.judge and card.judge in own:
            return found
        return [f"other judge: {own.partition(':')[0] or 'none'}, the paper's is {card.judge or 'not printed'}", *found]

    @property
    def _store(self) -> StageStore:
        return StageStore(self.snapshot.folder.resolve().parent)

    def _rows(self, model: str, attack: str, strength: float | None) -> pd.DataFrame:
        if model == "gold" and self.job.gold.floor is not None:
            from unlearn_sweep.evaluators.floor import at_chance

            return at_chance(self._rows("original", attack, strength))
        name = f"attack:{attack}" if attack else "evaluate"
        key = self._keys(model).get(name)
        if key is None:
            raise NotMeasuredError(f"{model} was not measured" + (f" under {attack}" if attack else ""))
        rows = self._table(key, model)
        return rows if not attack else _at_strength(rows, attack, strength)

    def _table(self, key: str, model: str) -> pd.DataFrame:
        if key not in self._read:
            try:
                self._read[key] = self._store.rows(key)
            except FileNotFoundError as error:
                raise NotMeasuredError(f"rows of {model} are not in this storage") from error
            except DamagedFileError as error:
                raise NotMeasuredError(f"rows of {model} are damaged: {error}") from error
        return self._read[key]

    def _keys(self, model: str) -> Mapping[str, str]:
        controls = self.snapshot.controls
        if model in ("original", "gold"):
            return {} if controls is None else getattr(controls, model).stage_keys
        return next(record.stage_keys for record in self.snapshot.records if f"trial {record.number}" == model)


def _at_strength(rows: pd.DataFrame, attack: str, strength: float | None) -> pd.DataFrame:
    strengths = list(dict.fromkeys(rows["strength"].tolist()))
    wanted = strengths[-1] if strength is None else strength
    if wanted not in strengths:
        raise NotMeasuredError(f"{attack} was run at {', '.join(f'{at:g}' for at in strengths)}, not at {wanted:g}")
    return rows.loc[rows["strength"] == wanted]
