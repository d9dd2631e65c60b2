"""What the models of a sweep answer: generations in the store, joined with the questions of the benchmark.

A stage that generates keeps the text of each row in its table. This module reads those tables and measures nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_sweep.engine.job import BenchmarkSettings
from unlearn_sweep.engine.privacy.error_text import first_line
from unlearn_sweep.engine.store.damaged import DamagedFileError, why_unreadable
from unlearn_sweep.engine.store.records import Control, TrialRecord
from unlearn_sweep.engine.store.snapshot import Snapshot
from unlearn_sweep.engine.store.stages import StageStore
from unlearn_sweep.evaluators.scores import FORGET_SPLIT

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_sweep.evaluators.benchmarks.benchmark import Benchmark

ATTACK = "attack:"
COLUMNS = (
    "model", "trial", "attack", "strength", "unit", "split", "row_id", "question", "reference", "answer",
    "thought",
)  # fmt: skip
ASKED = ("split", "row_id", "question", "reference")
Asked = tuple[str, str, str | None, str | None]
QUESTIONS_FILE = "questions.parquet"
FORGET_ROWS = 100
OTHER_ROWS = 40
OLD_RECORD = "an older version measured it and did not note the stages in controls.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers as a long table, one line for each model, attack strength and row, and what is missing from it.

    Columns of `table`: `model` ("original", "gold" or "trial N"), `trial` (number; missing for controls), `attack`
    (label; "" before any attack), `strength` and `unit` of the attack (NaN and "" before any), `split`, `row_id`,
    `question` and `reference` (None if the row is not in the benchmark), `answer` (the greedy generation),
    `thought` (what a thinking model wrote before it, None where it did not think).
    `problems` names every model or text that cannot be shown, with the reason.
    """

    table: pd.DataFrame
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """A measurement of one model; `attack` is "" for the evaluation before any attack."""

    model: str
    trial: int | None
    attack: str
    key: str


def read_answers(snapshot: Snapshot, trials: Sequence[int] | None = None) -> Answers:
    """Read the answers of original, gold and these trials (None: every trial with a record), without Ray or a GPU.

    Rows whose metrics need no generation have no answer and are left out.

    Raises:
        ValueError: A trial has no record.
    """
    import pandas as pd

    store = StageStore(snapshot.folder.resolve().parent)
    problems: list[str] = []
    tables: list[pd.DataFrame] = []
    data: dict[str, None] = {}
    for stage in _stages(snapshot, trials, problems):
        try:
            result = store.result(stage.key)
            rows = store.rows(stage.key)
        except FileNotFoundError:
            problems.append(f"{stage.model}: rows of its stages are not in this storage")
            continue
        except DamagedFileError as error:
            problems.append(f"{_named(stage)}: {error}")
            continue
        if "generation" not in rows.columns:
            problems.append(f"{stage.model}: no metric of the sweep generates an answer")
            continue
        data |= dict.fromkeys([str(result.inputs.get("data"))] if result is not None else [])
        tables.append(_long(rows, stage))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    texts = _texts(snapshot, list(data), problems) if tables else {}
    for place, name in enumerate(("question", "reference")):
        table[name] = [texts[row][place] if row in texts else None for row in table["row_id"]]
    return Answers(table=table.reindex(columns=list(COLUMNS)), problems=tuple(dict.fromkeys(problems)))


def strongest(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the answers before any attack and those at the last strength of each attack (tables run weak to strong)."""
    last = table.groupby(["model", "attack"], sort=False)["strength"].transform("last")
    return table.loc[(table["attack"] == "") | (table["strength"] == last)]


def sampled_rows(table: pd.DataFrame, *, forget: int = FORGET_ROWS, others: int = OTHER_ROWS) -> list[Asked]:
    """Return (split, row_id, question, reference) of a fixed sample of rows: forget rows, then others.

    Rows are drawn by a hash of their ids, so every sweep over the same data shows the same questions.
    """
    unique = table.drop_duplicates(["split", "row_id"])
    rows: list[Asked] = list(zip(*(unique[name] for name in ASKED), strict=True))
    rows.sort(key=lambda row: hashlib.sha256(row[1].encode()).hexdigest())
    return [row for row in rows if row[0] == FORGET_SPLIT][:forget] + [row for row in rows if row[0] != FORGET_SPLIT][
        :others
    ]


def _stages(snapshot: Snapshot, trials: Sequence[int] | None, problems: list[str]) -> Iterator[_Stage]:
    if snapshot.controls is None:
        problems.append("original and gold: not measured yet")
    else:
        for control in (snapshot.controls.original, snapshot.controls.gold):
            yield from _of_control(control, problems)
    records = {record.number: record for record in snapshot.records}
    for number in records if trials is None else trials:
        if number not in records:
            known = ", ".join(map(str, records)) or "none"
            raise ValueError(f"no record of trial {number}; trials with one: {known}")
        yield from _of_trial(records[number])


def _of_control(control: Control, problems: list[str]) -> Iterator[_Stage]:
    if not control.stage_keys:
        there_is_one = not control.model_path.startswith("none:")
        problems.append(f"{control.model}: {OLD_RECORD if there_is_one else 'the sweep has no such model'}")
    yield from _of_keys(control.model, None, control.stage_keys)


def _of_trial(record: TrialRecord) -> Iterator[_Stage]:
    yield from _of_keys(f"trial {record.number}", record.number, record.stage_keys)


def _of_keys(model: str, trial: int | None, keys: Mapping[str, str]) -> Iterator[_Stage]:
    for name, key in keys.items():
        if name == "evaluate" or name.startswith(ATTACK):
            yield _Stage(model=model, trial=trial, attack=name.removeprefix("evaluate").removeprefix(ATTACK), key=key)


def _named(stage: _Stage) -> str:
    return f"{stage.model} under {stage.attack}" if stage.attack else stage.model


def _long(rows: pd.DataFrame, stage: _Stage) -> pd.DataFrame:
    """Return the rows with an answer, in the columns of `Answers.table` without the texts."""
    import pandas as pd

    rows = rows.loc[rows["generation"].notna()]
    table = pd.DataFrame({"row_id": rows["row_id"], "split": rows["split"], "answer": rows["generation"]})
    thoughts = rows["thought"] if "thought" in rows.columns else pd.Series([None] * len(rows), index=rows.index)
    table["thought"] = thoughts.astype("object").where(thoughts.notna(), None)
    table["model"], table["attack"] = stage.model, stage.attack
    table["trial"] = pd.array([stage.trial] * len(rows), dtype="Int64")
    table["strength"] = rows["strength"].astype("float64") if stage.attack else float("nan")
    table["unit"] = rows["unit"] if stage.attack else ""
    return table


def keep_questions(benchmark: Benchmark, directory: Path) -> None:
    """Write question and reference of every judged row into a sweep's folder, where views read them later.

    So they stay readable on another machine, without the hub, and after the benchmark's files or code changed.
    """
    import pandas as pd

    rows = [row for split in benchmark.evaluation.values() for row in split]
    columns = {"row_id": [row.row_id for row in rows], "question": [row.question for row in rows]}
    table = pd.DataFrame({**columns, "reference": [row.answer for row in rows]})
    path = directory / QUESTIONS_FILE
    scratch = path.with_name(f".{QUESTIONS_FILE}.{os.getpid()}.tmp")
    table.to_parquet(scratch, index=False)
    scratch.replace(path)


def _texts(snapshot: Snapshot, data: Sequence[str], problems: list[str]) -> dict[str, tuple[str, str]]:
    """Return question and reference by row id: from the sweep's folder, or the benchmark if an older version ran it."""
    import pandas as pd

    path = snapshot.folder / QUESTIONS_FILE
    if not path.is_file():
        return _texts_of_benchmark(snapshot, data, problems)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow errors are ValueErrors
        problems.append(f"questions and references: {path} cannot be read ({why_unreadable(error)})")
        return {}
    texts = zip(table["question"].map(str), table["reference"].map(str), strict=True)
    return dict(zip(table["row_id"].map(str), texts, strict=True))


def _texts_of_benchmark(snapshot: Snapshot, data: Sequence[str], problems: list[str]) -> dict[str, tuple[str, str]]:
    """Load the benchmark again. Texts of other content than the stages measured are not shown.

    A plugin's benchmark is found if the plugin is in use in this process: reading a folder runs no code named in it.
    """
    from unlearn_sweep.evaluators.benchmarks.catalog import BENCHMARKS, load_benchmark
    from unlearn_sweep.plugins import PluginError

    try:
        settings = BenchmarkSettings.model_validate(snapshot.spec.get("benchmark"))
        if settings.name not in BENCHMARKS and snapshot.spec.get("plugins"):
            problems.append(f"questions and references: {settings.name} is a plugin's; give its file with --plugin")
            return {}
        benchmark = load_benchmark(settings.name, settings.params)
    except (ValueError, TypeError, OSError, KeyError, PluginError) as error:
        reason = first_line(error)
        problems.append(f"questions and references: the benchmark cannot be read here ({reason})")
        return {}
    if any(found != benchmark.digest() for found in data):
        problems.append("questions and references: the benchmark's content or code changed after the sweep measured it")
        return {}
    return {row.row_id: (row.question, row.answer) for rows in benchmark.evaluation.values() for row in rows}
